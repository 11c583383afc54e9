"""How long a Go2 waits for the command that answers its state: DDS on the loopback interface, two processes.

    python benchmarks/dds_round_trip.py runs/demo/policy.onnx          # 20 s at 500 Hz

The robot's process publishes ``rt/lowstate`` at 500 Hz and waits for ``rt/lowcmd``. The runner's waits for a state,
checks its sum, ticks the policy, filters the target for safety and publishes the command: at every state, which is
ten times the rate that a policy runs at. A command names the state that it answers in its velocities, so that late
ones count as late. Processor time is that of all threads of a process, DDS's too, as a share of one core.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.drivers.unitree.dds import Participant, Reader, configuration, try_write
from robodistill_deploy.drivers.unitree.go2 import (
    COMMAND_TOPIC,
    JOINTS,
    STATE_TOPIC,
    LowCmd_,
    LowState_,
    UnitreeDriver,
)
from robodistill_deploy.drivers.unitree.messages import LOW_CMD, LOW_STATE
from robodistill_deploy.runtime import Policy, load_policy
from robodistill_deploy.safety import FilterState, SafetyFilter, Sensors, Target
from robodistill_deploy.safety.layout import Layout

RATE, DOMAIN, PORTS = 500.0, 77, 19000
WARM_UP_S, RUN_S = 2.0, 20.0


def robot(default: list[float]) -> None:
    """Be the robot: publish, wait, and print the round trips [s] as JSON."""
    participant = Participant(DOMAIN, configuration("lo", PORTS))
    commands = participant.reader(COMMAND_TOPIC, LowCmd_)
    states = participant.writer(STATE_TOPIC, LowState_)
    record, rng = LOW_STATE.zeros(), np.random.default_rng(0)
    record["imu_state"]["quaternion"] = (1.0, 0.0, 0.0, 0.0)
    sent: dict[int, float] = {}
    trips: dict[int, float] = {}
    while commands.writers() == 0 or not commands.wait(0.0):  # until the runner is there
        publish(states, record, default, rng, 0)
        time.sleep(1.0 / RATE)
    begin = time.monotonic()
    cpu = time.process_time()
    due, tick = begin, 0
    while due < begin + WARM_UP_S + RUN_S:
        tick += 1
        if due < begin + WARM_UP_S:
            cpu, since = time.process_time(), due
        sent[tick] = time.monotonic()
        publish(states, record, default, rng, tick)
        due += 1.0 / RATE
        collect(commands, sent, trips, due)
    used = (time.process_time() - cpu) / (time.monotonic() - since)
    warm = int(WARM_UP_S * RATE)
    counted = [trip for number, trip in trips.items() if number > warm]
    print(json.dumps({"trips": counted, "states": tick - warm, "cpu": used}), flush=True)


def publish(states: object, record: np.ndarray, default: list[float], rng: np.random.Generator, tick: int) -> None:
    """Send a state near the default pose."""
    record["tick"] = tick
    record["motor_state"]["q"][: len(JOINTS)] = default + rng.normal(0.0, 0.01, len(JOINTS))
    record["imu_state"]["gyroscope"] = rng.normal(0.0, 0.01, 3)
    record["crc"] = LOW_STATE.crc(record)
    try_write(states, LowState_(LOW_STATE.encode(record)))  # type: ignore[arg-type]


def collect(commands: Reader, sent: dict[int, float], trips: dict[int, float], until: float) -> None:
    """Note the round trip of each command that comes before ``until``."""
    while (left := until - time.monotonic()) > 0.0:
        if not commands.wait(left):
            continue
        now = time.monotonic()
        for sample in commands.take():
            heard = LOW_CMD.decode(sample.wire)
            if heard is None or LOW_CMD.crc(heard) != heard["crc"]:
                raise SystemExit("a command has a wrong check sum")
            tick = int(heard["motor_cmd"]["dq"][0])
            start = sent.pop(tick, None)
            if start is not None:
                trips[tick] = now - start


def responder(policy: Policy, driver: UnitreeDriver, tripped: list[str]) -> Callable[[Reading], Command]:
    """Return what makes a command out of a reading: the policy, then the safety filter; note why it ``tripped``."""
    interface = policy.spec.interface
    layout = Layout(interface, driver.joints, driver.signals)
    safety = SafetyFilter(layout, policy.spec.safety, policy.spec.envelope.observations)
    sources, sinks, start = [], [], 0
    for signal in interface.signals:
        if signal.source != "command":
            sources += layout.place(signal.name, signal.elements).tolist()
            sinks += range(start, start + signal.dim)
        start += signal.dim
    inputs = np.zeros(start, np.float32)
    state = FilterState()

    def respond(reading: Reading) -> Command:
        nonlocal state
        now = time.monotonic()
        state = safety.admit(state, reading)
        if state.measurement is None:
            raise SystemExit("the reading is incomplete")
        inputs[sinks] = state.measurement[sources]
        target = Target(policy.tick_vector(inputs), now, by_policy=True)
        state, command, _ = safety.step(state, Sensors(reading, now), target, now)
        if state.trip is not None:
            tripped.append(str(state.trip))
            state = FilterState()
        return command

    return respond


def run(path: Path) -> None:
    """Be the runner, with a robot in a process of its own, and print the table."""
    policy = load_policy(path)
    part = policy.spec.interface.actions[0]
    default = [part.default[part.names.index(name)] for name in JOINTS]
    driver = UnitreeDriver(
        domain=DOMAIN, config=configuration("lo", PORTS), release_sport_mode=False, timeout=60.0
    )
    tripped: list[str] = []
    respond = responder(policy, driver, tripped)
    child = subprocess.Popen(
        [sys.executable, __file__, "robot", json.dumps(default)], stdout=subprocess.PIPE, text=True
    )
    driver.open()
    busy: list[float] = []
    cpu = since = last = 0.0
    while driver.wait(1.0):
        woke = time.monotonic()
        reading = driver.read()
        if reading is None:
            raise SystemExit("no reading")
        command = dataclasses.replace(respond(reading), velocity=np.full(len(JOINTS), float(reading.tick)))
        driver.write(command)
        last = time.monotonic()
        if reading.tick <= WARM_UP_S * RATE:
            cpu, since = time.process_time(), last
        else:
            busy.append(last - woke)
    used = (time.process_time() - cpu) / (last - since)
    output, _ = child.communicate(timeout=30.0)
    report(json.loads(output), np.array(busy), used)
    print(f"Dropped by the driver: {dict(driver.rejected) or 'nothing'}.")
    print(f"Trips of the filter: {len(tripped)}.", *tripped[:3])


def report(robot: dict, busy: np.ndarray, used: float) -> None:
    """Print what both sides measured."""
    trips = np.array(robot["trips"])
    print("| [us] | p50 | p99 | p99.9 | max |\n|---|---|---|---|---|")
    for name, values in (("state to command, round trip", trips), ("of that in the runner", busy)):
        figures = [*np.quantile(values, [0.5, 0.99, 0.999]), values.max()]
        print(f"| {name} | " + " | ".join(f"{1e6 * figure:.0f}" for figure in figures) + " |")
    print(f"\n{len(trips)} of {robot['states']} states answered, the others overwritten by the next one before a late")
    print(f"reader woke. Processor: robot {100 * robot['cpu']:.1f} %, runner {100 * used:.1f} % of a core.")


if __name__ == "__main__":
    if sys.argv[1] == "robot":
        robot(json.loads(sys.argv[2]))
    else:
        run(Path(sys.argv[1]))
