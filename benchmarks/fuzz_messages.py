"""Damage the messages between a robot and its runner: nobody may crash, no command may break a limit of the file.

  python benchmarks/fuzz_messages.py policy.onnx --messages 1000000

Four ends of the two links take what comes: the drivers ``unitree`` and ``udp`` with all that follows in the runner (the
safety filter, and the command that it makes of it), the simulated robot's two links with what its motors would do.
Half of the messages are damaged as they are, so that lengths and check sums are tried; half have single numbers or bits
replaced and a correct check sum, so that what lies behind is. Prints how many were refused and why, how many were
taken, how often the filter tripped, and the first crash with its seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import struct
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from fuzz_policy_file import mutated_bytes
from numpy.typing import NDArray

from robodistill_deploy import udp_protocol as protocol
from robodistill_deploy.drivers.base import Command, Reading, Remote
from robodistill_deploy.drivers.udp import UdpDriver
from robodistill_deploy.drivers.unitree.go2 import JOINTS, SIGNALS, UnitreeDriver, fill, low_level_command
from robodistill_deploy.drivers.unitree.messages import (
    HEADER,
    LOW_CMD,
    LOW_STATE,
    WIRELESS_CONTROLLER,
    Message,
)
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runtime import load_policy
from robodistill_deploy.safety import FilterState, SafetyFilter, Sensors, Target
from robodistill_deploy.safety.layout import Layout
from robodistill_deploy.safety_limits import soft_range
from robodistill_envs.simrobot.links.unitree import commanded

Random = np.random.Generator
Outcome = Counter[str]
Mutate = Callable[[Random], bytes]
_NUMBERS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e6, -1e30, 3.4e38, 4.0, -4.0, 2.146e9)
_DT = 0.005
_AT: dict[str, int] = {}
"""The message at hand."""
SLOTS = np.arange(len(JOINTS))


class _Topic:
    """A reader of DDS with what this script puts into it."""

    def __init__(self) -> None:
        self.wires: list[bytes] = []

    def take(self) -> list[Any]:
        """Return what has arrived."""
        wires, self.wires = self.wires, []
        return [SimpleNamespace(wire=wire) for wire in wires]


class FedUnitree(UnitreeDriver):
    """The driver, open, its network replaced by ``states`` and ``remotes``."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.remotes = _Topic(), _Topic()
        self._topics = cast("Any", SimpleNamespace(states=self.states, remotes=self.remotes))

    def feed(self, wire: bytes, random: Random) -> None:
        """Let ``wire`` arrive, as a state or, seldom, as the remote's own topic."""
        if random.random() < 0.05:
            self.remotes.wires.append(wire[: WIRELESS_CONTROLLER.size])
        self.states.wires.append(wire)


class FedUdp(UdpDriver):
    """The driver, open, its socket replaced by ``feed``."""

    def __init__(self, layout: protocol.Layout) -> None:
        super().__init__()
        self._layout, self._socket = layout, cast("Any", SimpleNamespace())
        self._queue: list[bytes] = []

    def feed(self, wire: bytes, _: Random) -> None:
        """Let ``wire`` arrive, as the first state."""
        self._newest = None
        self._queue.append(wire)

    def _received(self) -> list[bytes]:
        queue, self._queue = self._queue, []
        return queue


class Watch:
    """What the runner does with a reading, and whether the command that comes of it keeps the file's limits."""

    def __init__(self, spec: PolicySpec, driver: UnitreeDriver | UdpDriver) -> None:
        part = spec.interface.actions[0]
        self._filter = SafetyFilter(
            Layout(spec.interface, driver.joints, driver.signals), spec.safety, spec.envelope.observations
        )
        order = [part.names.index(name) for name in driver.joints]
        self._low, self._high = (np.array(bound)[order] for bound in soft_range(part, spec.safety))
        damping = np.array(spec.safety.damping_kd[part.name])
        self._kp, self._kd = np.array(part.kp)[order], np.maximum(np.array(part.kd), damping)[order]
        self._default = np.array(part.default)
        self._state, self._t, self._tick = FilterState(), 0.0, 0

    def take(self, reading: Reading | None, random: Random) -> str:
        """Return ``followed``, ``damped``, or the rule that tripped; raise where a command breaks a limit."""
        self._t += _DT
        self._tick += 1
        # as if it came in time: late and repeated ones are benchmarks/faults.py's matter
        if reading is not None:
            reading = dataclasses.replace(reading, stamp=self._t, tick=self._tick)
        wanted = Target(self._default + random.normal(0.0, 0.5, len(self._default)), self._t, by_policy=True)
        self._state, command, _ = self._filter.step(self._state, Sensors(reading, self._t), wanted, self._t)
        self._check(command)
        trip, followed = self._state.trip, bool(command.kp.any())
        if trip is not None:
            self._state = FilterState()  # the next message meets a filter that has not latched
            return f"trip: {trip.rule}"
        return "followed" if followed else "damped"

    def _check(self, command: Command) -> None:
        finite = all(
            np.isfinite(v).all() for v in (command.position, command.velocity, command.kp, command.kd)
        )
        stiff = command.kp > 0.0
        within = (command.position >= self._low - 1e-9) & (command.position <= self._high + 1e-9)
        weak = (command.kp <= self._kp + 1e-9) & (command.kd <= self._kd + 1e-9) & (command.kd > 0.0)
        if not (finite and within[stiff].all() and weak.all() and not command.effort.any()):
            raise AssertionError(f"a command outside the limits: {command}")


def standing(spec: PolicySpec) -> dict[str, NDArray[np.float64]]:
    """Return the signals of a robot that stands in its default pose."""
    part = spec.interface.actions[0]
    pose = np.array([part.default[part.names.index(name)] for name in JOINTS])
    own = {
        "imu_quat_wxyz": np.array([1.0, 0, 0, 0]),
        "imu_accelerometer": np.array([0, 0, 9.81]),
        "joint_pos": pose,
    }
    return {name: own.get(name, np.zeros(len(elements))) for name, elements in SIGNALS.items()}


def _with_number(wire: bytes, places: NDArray[np.intp], random: Random) -> bytes:
    """Return ``wire`` with one to three of the float32 or float64 at ``places`` replaced, or with a bit flipped."""
    data = bytearray(wire)
    for _ in range(int(random.integers(1, 4))):
        at = int(random.choice(places))
        if random.random() < 0.3:
            data[at + int(random.integers(4))] ^= 1 << int(random.integers(8))
        else:
            value = float(
                np.float32(random.choice(_NUMBERS) * (random.random() if random.random() < 0.3 else 1.0))
            )
            data[at : at + 4] = struct.pack("<f", value)
    return bytes(data)


def unitree_messages(message: Message, wire: bytes) -> Mutate:
    """Return what damages ``wire``; where its check sum is made to fit, as a robot with such readings would."""
    places = np.arange(len(HEADER), message.size - 8, 4)

    def mutate(random: Random) -> bytes:
        if random.random() < 0.5:
            return mutated_bytes(wire, random)
        record = message.decode(_with_number(wire, places, random))
        assert record is not None
        record["tick" if "tick" in (record.dtype.names or ()) else "reserve"] = random.integers(1 << 32)
        record["crc"] = message.crc(record)
        return message.encode(record)

    return mutate


def udp_messages(wire: bytes) -> Mutate:
    """Return what damages ``wire``; see ``unitree_messages``."""
    places = np.arange(protocol.HEADER.itemsize, len(wire) - 12, 4)
    at = cast("Mapping[str, Any]", protocol.HEADER.fields)["sequence"][1]

    def mutate(random: Random) -> bytes:
        if random.random() < 0.5:
            return mutated_bytes(wire, random)
        data = bytearray(_with_number(wire, places, random)[:-4])
        data[at : at + 8] = struct.pack("<Q", int(random.integers(1, 1 << 40)))
        return bytes(data) + struct.pack("<I", zlib.crc32(bytes(data)))

    return mutate


def fuzz_driver(
    driver: FedUnitree | FedUdp, watch: Watch, mutate: Mutate, rounds: Iterator[Random]
) -> Outcome:
    """Return what became of the messages that a runner received."""
    outcome: Outcome = Counter()
    for random in rounds:
        before, refused = driver.read(), sum(driver.rejected.values())
        driver.feed(mutate(random), random)
        reading = driver.read()
        outcome["refused" if sum(driver.rejected.values()) > refused else "taken"] += 1
        if reading is not before:
            outcome[watch.take(reading, random)] += 1
    return outcome + Counter({f"refused: {reason}": count for reason, count in driver.rejected.items()})


def fuzz_robot(read: Callable[[bytes], Command | None], mutate: Mutate, rounds: Iterator[Random]) -> Outcome:
    """Return what became of the messages that a simulated robot received."""
    outcome: Outcome = Counter()
    for random in rounds:
        try:
            command = read(mutate(random))
        except RobodistillError as error:
            outcome[f"refused: {error}"] += 1
        else:
            outcome["refused: no such message" if command is None else "taken"] += 1
    return outcome


def read_low_cmd(wire: bytes) -> Command | None:
    """Return what the simulated Go2 makes of ``wire``."""
    record = LOW_CMD.decode(wire)
    if record is None or LOW_CMD.crc(record) != record["crc"]:
        return None
    with np.errstate(invalid="ignore"):  # as the link does
        return commanded(record, SLOTS)


def read_command(layout: protocol.Layout, wire: bytes) -> Command | None:
    """Return what a simulated robot makes of ``wire`` over UDP."""
    return (
        protocol.unpack_command(layout, wire).command if protocol.kind_of(wire) == protocol.COMMAND else None
    )


def ends(spec: PolicySpec) -> dict[str, Callable[[Iterator[Random]], Outcome]]:
    """Return the four ends, by name."""
    signals = standing(spec)
    state = LOW_STATE.zeros()
    state["head"], state["imu_state"]["quaternion"] = (0xFE, 0xEF), signals["imu_quat_wxyz"]
    state["imu_state"]["accelerometer"] = signals["imu_accelerometer"]
    state["motor_state"]["q"][: len(JOINTS)] = signals["joint_pos"]
    state["crc"] = LOW_STATE.crc(state)
    layout = protocol.Layout("unitree_go2", JOINTS, SIGNALS)
    none = np.zeros(len(JOINTS))
    command = Command(signals["joint_pos"], none, none + 25.0, none + 0.5, none, np.zeros(0))
    order = low_level_command()
    fill(order, command)
    held = Remote(np.zeros(4), frozenset({"A"}))
    packet = protocol.pack_state(layout, protocol.StatePacket(Reading(1.0, 1, signals, held), 1, 0))
    asked = protocol.pack_command(layout, protocol.CommandPacket(command, 1, 1.0))
    unitree, udp = FedUnitree(), FedUdp(layout)
    states = unitree_messages(LOW_STATE, LOW_STATE.encode(state))
    return {
        "unitree driver": lambda rounds: fuzz_driver(unitree, Watch(spec, unitree), states, rounds),
        "udp driver": lambda rounds: fuzz_driver(udp, Watch(spec, udp), udp_messages(packet), rounds),
        "unitree robot": lambda rounds: fuzz_robot(
            read_low_cmd, unitree_messages(LOW_CMD, LOW_CMD.encode(order)), rounds
        ),
        "udp robot": lambda rounds: fuzz_robot(
            lambda wire: read_command(layout, wire), udp_messages(asked), rounds
        ),
    }


def rounds(seed: int, count: int) -> Iterator[Random]:
    """Return the source of random numbers of each message."""
    for i in range(count):
        _AT.update(seed=seed, message=i)
        yield np.random.default_rng((seed, i))


def main() -> None:
    """Fuzz and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("policy", type=Path)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("error")  # a damaged number may not even raise a warning
    found = ends(load_policy(options.policy).spec)
    for name, run in found.items():
        began = time.perf_counter()
        try:
            outcome = run(rounds(options.seed, options.messages // len(found)))
        except BaseException:
            print(f"{name}: stopped at {_AT}")
            raise
        for what, count in sorted(outcome.items()):
            print(f"{name:<16}{what:<44}{count:>9}")
        print(f"{'':<16}{time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
