"""The runner: its two clocks, what it tells an observer, and that the last thing a robot hears is damping."""

from __future__ import annotations

import dataclasses
import gc
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from robodistill_deploy.clock import MonotonicClock
from robodistill_deploy.errors import DriverError, RobodistillError, SpecError
from robodistill_deploy.machine import RAMP_SECONDS, Mode
from robodistill_deploy.operators import Fixed, Operation, Scripted
from robodistill_deploy.runner import FAREWELL, Record, Runner, Settings
from robodistill_deploy.runtime import Policy
from robodistill_deploy.safety import limits_for

COMMAND = (0.5, 0.2)
STILL = {"imu_gyro": np.zeros(3), "joint_vel": np.zeros(4), "joint_pos": np.array([0.1, 0.0, 0.8, -1.5])}
FRESH = math.nan


@pytest.fixture
def records() -> list[Record]:
    return []


@pytest.fixture
def make(policy: Policy, driver: Any, clock: Any, records: list[Record]) -> Callable[..., Runner]:
    """``make(**changes)``: a runner whose records are kept (inputs copied)."""

    def keep(record: Record) -> None:
        records.append(record._replace(inputs=None if record.inputs is None else record.inputs.copy()))

    def call(operator: Any = None, **changes: Any) -> Runner:
        operator = Fixed(COMMAND) if operator is None else operator
        settings = Settings(**{"preflight_seconds": 0.0, **changes})
        return Runner(policy, driver, operator, settings, clock=clock, observer=keep)

    return call


def is_damping(command: Any) -> bool:
    silent = (command.position, command.velocity, command.kp, command.effort, command.twist)
    return not any(array.any() for array in silent) and bool((command.kd > 0.0).all())


def farewell(driver: Any) -> None:
    """The robot was damped for a while, then let go."""
    assert driver.calls == ["open", "close"]
    last = driver.written[-1][0]
    ending = [command for t, command in driver.written if t > last - FAREWELL + 0.02]
    assert len(ending) >= 90
    assert all(is_damping(command) for command in ending)


def test_drives_the_robot_by_the_policy(
    make: Callable[..., Runner], policy: Policy, driver: Any, records: list[Record]
) -> None:
    summary = make().run(RAMP_SECONDS + 1.0)
    assert summary.trip is None
    assert summary.mode is Mode.POLICY
    assert (summary.missed_commands, summary.missed_policies) == (0, 0)
    assert summary.command_ticks == 200 * (RAMP_SECONDS + 1.0)
    assert summary.policy_ticks == 50
    ran = [record for record in records if record.inputs is not None]
    twin = policy.clone()
    for record in ran:  # the same inputs, one after another, give the same targets bit for bit
        assert record.inputs is not None
        np.testing.assert_array_equal(twin.tick_vector(record.inputs), record.targets)
        measured = dict(zip(driver.signals["joint_pos"], record.reading.signals["joint_pos"], strict=True))  # pyright: ignore[reportOptionalMemberAccess]
        expected = [np.float32(measured[name]) for name in ("hip", "thigh", "calf", "wheel")]
        np.testing.assert_array_equal(record.inputs[3:7], expected)
    np.testing.assert_array_equal(ran[-1].inputs[-2:], np.array(COMMAND, np.float32))  # pyright: ignore[reportOptionalSubscript]
    farewell(driver)


def test_targets_reach_the_joints_that_they_are_named_for(
    make: Callable[..., Runner], policy: Policy, driver: Any, records: list[Record]
) -> None:
    make().run(RAMP_SECONDS + 0.5)
    legs, wheel = policy.spec.interface.actions
    last = [record for record in records if record.targets is not None][-1]
    for name, kp in zip(legs.names, legs.kp, strict=True):
        assert last.command.kp[driver.joints.index(name)] == kp
    assert last.targets is not None
    for name, wanted in zip(legs.names, last.targets, strict=False):  # the wheel's comes last
        assert abs(last.command.position[driver.joints.index(name)] - wanted) < 0.5  # as rate and effort allow
    assert last.command.kd[driver.joints.index("wheel")] == wheel.kd[0]


def test_ticks_stand_on_absolute_time(make: Callable[..., Runner], records: list[Record]) -> None:
    make().run(RAMP_SECONDS + 2.0)
    stamps = np.array([record.stamp for record in records]) - 100.0
    np.testing.assert_allclose(stamps, np.arange(len(stamps)) / 200.0, atol=1e-9)
    ran = np.array([record.stamp for record in records if record.inputs is not None])
    np.testing.assert_allclose(np.diff(ran), 0.02, atol=1e-9)


def test_a_rate_that_is_no_multiple_keeps_both_clocks(make: Callable[..., Runner], records: list[Record]) -> None:
    summary = make(command_rate=70.0).run(RAMP_SECONDS + 2.0)
    ran = np.array([record.stamp for record in records if record.inputs is not None])
    np.testing.assert_allclose(np.diff(ran), 0.02, atol=6e-4)
    assert ran[-1] - ran[0] == pytest.approx(0.02 * (len(ran) - 1), abs=6e-4)  # no drift
    assert summary.policy_ticks == pytest.approx(100, abs=2)
    assert (summary.missed_commands, summary.missed_policies) == (0, 0)
    with pytest.raises(SpecError, match="under the policy's 50 Hz"):
        make(command_rate=40.0)


def test_overruns_are_counted_and_do_not_shift_what_follows(
    make: Callable[..., Runner], driver: Any, clock: Any, records: list[Record]
) -> None:
    write = driver.write

    def slow(command: Any) -> None:
        write(command)
        if len(driver.written) == 300:
            clock.t += 0.012

    driver.write = slow
    summary = make().run(2.0)
    assert summary.missed_commands == 1  # one was skipped, the next came late
    steps = np.diff([record.stamp for record in records])
    assert sorted(set(np.round(steps, 6))) == [0.003, 0.005, 0.012]
    late = np.array([record.stamp for record in records])[-1] - 100.0
    assert late * 200.0 == pytest.approx(round(late * 200.0), abs=1e-6)


def test_commands_are_held_to_their_trained_ranges_and_rates(
    make: Callable[..., Runner], policy: Policy, records: list[Record]
) -> None:
    make(Fixed((9.0, -9.0))).run(RAMP_SECONDS + 1.5)
    commands = np.array([record.inputs[-2:] for record in records if record.inputs is not None])
    np.testing.assert_array_equal(commands[-1], np.array([1.5, -1.2], np.float32))
    rule = policy.spec.commands["command"]
    assert rule.rate_limit is not None
    first = np.add(rule.default, [0.02 * rule.rate_limit[0], -0.02 * rule.rate_limit[1]])
    np.testing.assert_allclose(commands[0], first, rtol=1e-6)
    assert (np.abs(np.diff(commands, axis=0)) <= 0.02 * np.array(rule.rate_limit) + 1e-6).all()


@pytest.mark.parametrize("command", [(1.0,), (math.nan, 0.0)])
def test_a_command_that_is_none_trips(make: Callable[..., Runner], driver: Any, command: tuple[float, ...]) -> None:
    summary = make(Fixed(command)).run(RAMP_SECONDS + 0.1)
    assert summary.trip is not None
    assert summary.trip.rule == "policy"
    assert "command" in str(summary.trip)
    farewell(driver)


def test_waits_for_arming_and_stops_at_the_button(
    make: Callable[..., Runner], driver: Any, records: list[Record]
) -> None:
    script = (
        (0.0, Operation(FRESH, COMMAND, arm=False, stop=False)),
        (0.5, Operation(FRESH, COMMAND, arm=True, stop=False)),
        (3.0, Operation(FRESH, COMMAND, arm=False, stop=True)),
        (3.1, Operation(FRESH, COMMAND, arm=True, stop=False)),
    )
    summary = make(Scripted(script)).run(4.0)
    seen = [record.mode for record in records]
    order = [mode for i, mode in enumerate(seen) if i == 0 or seen[i - 1] is not mode]
    assert order == [Mode.PASSIVE, Mode.RAMP, Mode.POLICY, Mode.DAMPING]
    assert str(summary.trip) == "stop: the operator pressed stop"
    stopped = [record for record in records if record.stamp >= 103.0]
    assert all(is_damping(record.command) for record in stopped)
    assert len(stopped) == 200  # and it went on publishing
    assert [str(e) for record in stopped for e in record.events] == [str(summary.trip)]
    farewell(driver)


def test_a_silent_operator_trips(make: Callable[..., Runner], driver: Any) -> None:
    script = (
        (0.0, Operation(FRESH, COMMAND, arm=True, stop=False)),
        (2.5, Operation(102.5, COMMAND, arm=True, stop=False)),
    )
    summary = make(Scripted(script)).run(4.0)
    assert summary.trip is not None
    assert summary.trip.rule == "dead_man"
    assert summary.trip.t == pytest.approx(103.0, abs=0.011)
    farewell(driver)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("stale", lambda r: None),
        ("stale", lambda r: dataclasses.replace(r, tick=1)),
        ("finite", lambda r: dataclasses.replace(r, signals={**r.signals, "imu_gyro": np.full(3, np.nan)})),
        ("finite", lambda r: dataclasses.replace(r, signals={**r.signals, "joint_pos": np.zeros(3)})),
        ("frozen", lambda r: dataclasses.replace(r, signals=STILL)),
    ],
)  # fmt: skip
def test_a_fault_of_the_link_damps(make: Callable[..., Runner], driver: Any, rule: str, fault: Any) -> None:
    driver.faults = lambda r: fault(r) if r.stamp > 102.5 else r
    summary = make().run(3.5)
    assert summary.trip is not None
    assert summary.trip.rule == rule
    after = [command for t, command in driver.written if t > 102.57]
    assert len(after) > 100
    assert all(is_damping(command) for command in after)
    farewell(driver)


def test_a_program_that_is_held_up_before_it_reads_does_not_call_the_reading_stale(
    make: Callable[..., Runner], driver: Any, clock: Any, records: list[Record]
) -> None:
    read = driver.read

    def held_up() -> Any:
        if driver.count == 300:
            clock.t += 0.118
        return read()

    driver.read = held_up
    summary = make().run(RAMP_SECONDS + 1.0)
    assert summary.trip is None
    assert summary.missed_commands == 22  # the tick after came late
    assert all(record.reading is None or record.reading.stamp <= record.stamp for record in records)


def test_a_reading_that_grew_old_while_the_program_was_held_up_says_so(
    make: Callable[..., Runner], driver: Any, clock: Any
) -> None:
    read = driver.read

    def held_up() -> Any:
        reading = read()
        if driver.count == 300:
            clock.t += 0.118
        return reading

    driver.read = held_up
    trip = make().run(RAMP_SECONDS + 1.0).trip
    assert trip is not None
    assert str(trip).startswith("stale: this computer held the program up for 123 ms, newest reading: age [s] is 0.118")


@pytest.mark.parametrize(("shift", "says"), [(0.2, "is -0.2"), (-0.2, "is 0.2")])
def test_stamps_of_another_clock_trip(make: Callable[..., Runner], driver: Any, shift: float, says: str) -> None:
    driver.faults = lambda r: dataclasses.replace(r, stamp=r.stamp + shift)
    trip = make().run(1.0).trip
    assert trip is not None
    assert str(trip).startswith(f"stale: newest reading: age [s] {says}")  # nobody was held up


@pytest.mark.parametrize(
    "changes",
    [
        *({"command_rate": rate} for rate in (math.inf, math.nan, 0.0, -200.0, 1e300)),
        *({"ramp_seconds": seconds} for seconds in (math.inf, math.nan, -1.0)),
        *({"preflight_seconds": seconds} for seconds in (math.inf, math.nan, -1.0)),
    ],
)
def test_settings_that_no_clock_can_keep_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(changes))):
        Settings(**changes)


@pytest.mark.parametrize("seconds", [math.nan, 0.0, -1.0])
def test_a_run_of_no_time_opens_nothing(make: Callable[..., Runner], driver: Any, seconds: float) -> None:
    with pytest.raises(SpecError, match="must be above 0"):
        make().run(seconds)
    assert driver.calls == []


def test_a_joint_wired_to_another_name_never_gets_to_the_policy(
    make: Callable[..., Runner], driver: Any, records: list[Record]
) -> None:
    swap = driver.signals["joint_pos"].index("thigh"), driver.signals["joint_pos"].index("calf")

    def swapped(reading: Any) -> Any:
        q = reading.signals["joint_pos"].copy()
        q[list(swap)] = q[list(reversed(swap))]
        return dataclasses.replace(reading, signals={**reading.signals, "joint_pos": q})

    driver.faults = swapped
    summary = make().run(4.0)
    assert summary.trip is not None
    assert summary.policy_ticks == 0


def test_an_error_on_the_way_is_raised_after_damping(
    make: Callable[..., Runner], driver: Any, clock: Any
) -> None:
    def broken(t: float) -> None:
        if t > 102.5:
            clock.on_wake = lambda t: None
            raise ZeroDivisionError

    clock.on_wake = broken
    with pytest.raises(ZeroDivisionError):
        make().run(4.0)
    farewell(driver)


def test_an_observer_that_fails_does_not_leave_the_robot_stiff(policy: Policy, driver: Any, clock: Any) -> None:
    def observer(record: Record) -> None:
        if record.mode is Mode.POLICY:
            raise RobodistillError("the disk is full")

    settings = Settings(preflight_seconds=0.0)
    runner = Runner(policy, driver, Fixed(COMMAND), settings, clock=clock, observer=observer)
    with pytest.raises(RobodistillError, match="disk is full"):
        runner.run(4.0)
    farewell(driver)


def test_a_link_that_breaks_is_closed_all_the_same(make: Callable[..., Runner], driver: Any) -> None:
    def broken(command: Any) -> None:
        raise DriverError("the cable is out")

    driver.write = broken
    with pytest.raises(DriverError, match="cable is out"):
        make().run(1.0)
    assert driver.calls == ["open", "close"]


def test_stop_ends_the_run_with_damping(make: Callable[..., Runner], driver: Any, clock: Any) -> None:
    runner = make()
    clock.on_wake = lambda t: runner.stop("SIGTERM") if 102.5 < t < 102.51 else None
    summary = runner.run()
    assert summary.seconds == pytest.approx(2.5, abs=0.02)
    assert str(summary.trip) == "stop: SIGTERM"
    farewell(driver)


def test_names_are_matched_before_anything_is_opened(policy: Policy, driver: Any) -> None:
    right = driver.signals
    driver.signals = {name: right[name] for name in ("joint_pos", "joint_vel")}
    with pytest.raises(DriverError, match="unknown signal 'imu_gyro'"):
        Runner(policy, driver, Fixed(COMMAND))
    driver.signals, driver.joints = right, ("wheel", "calf", "hip", "thighh")
    with pytest.raises(RobodistillError, match="'thighh': did you mean 'thigh'"):
        Runner(policy, driver, Fixed(COMMAND))
    assert driver.calls == []


def test_limits_of_another_policy_are_refused(policy: Policy, driver: Any) -> None:
    limits = limits_for(policy.spec.interface)
    alien = dataclasses.replace(limits, damping_kd={"legs": (1.0, 1.0)})
    with pytest.raises(SpecError, match="'legs' has 2 values for 3 names"):
        Runner(policy, driver, Fixed(COMMAND), Settings(limits=alien))


def test_looks_at_the_robot_before_it_arms(make: Callable[..., Runner], driver: Any, records: list[Record]) -> None:
    make(preflight_seconds=1.0).run(2.0)
    assert [record.mode for record in records[:200]] == [Mode.PASSIVE] * 200
    assert records[201].mode is Mode.RAMP
    driver.calls.clear()
    driver.faults = lambda r: dataclasses.replace(r, signals={n: 57.3 * v for n, v in r.signals.items()})
    with pytest.raises(RobodistillError, match="calibrate its zero"):
        make(preflight_seconds=1.0).run(2.0)
    farewell(driver)
    assert all(is_damping(command) for t, command in driver.written if t > 102.5)


@pytest.mark.slow
def test_paces_itself_in_real_time(policy: Policy, new_driver: Callable[..., Any]) -> None:
    """About a second of the real clock: as many ticks as the rates say, none of them drifting, and no spinning."""
    real = MonotonicClock()

    class Timed:
        @property
        def t(self) -> float:
            return real.now()

    robot, stamps = new_driver(Timed()), []
    keep = lambda r: stamps.append(r.stamp)  # noqa: E731
    runner = Runner(policy, robot, Fixed(COMMAND), Settings(ramp_seconds=0.1, preflight_seconds=0.2), observer=keep)
    cpu = time.process_time()
    summary = runner.run(1.0)
    cpu = time.process_time() - cpu
    assert summary.trip is None
    assert summary.command_ticks + summary.missed_commands == pytest.approx(200, abs=8)
    phases = (np.array(stamps) - stamps[0]) * 200.0
    assert np.median(np.abs(phases - np.round(phases))) < 0.25  # on the grid of 5 ms
    assert cpu < 0.8 * (1.0 + FAREWELL)  # a loop that spins takes all of it


def test_stop_may_come_from_another_thread(policy: Policy, new_driver: Callable[..., Any]) -> None:
    real = MonotonicClock()
    robot = new_driver(type("Timed", (), {"t": property(lambda self: real.now())})())
    runner = Runner(policy, robot, Fixed(COMMAND))
    timer = threading.Timer(0.1, runner.stop, ["enough"])
    timer.start()
    summary = runner.run()
    timer.join()
    assert str(summary.trip) == "stop: enough"


def test_no_tick_waits_for_the_garbage_of_what_was_loaded_before(
    make: Callable[..., Runner], driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [[] for _ in range(1000)]
    walked: list[int] = []
    read = driver.read

    def seen() -> Any:
        walked.append(sum(any(held is thing for held in gc.get_objects()) for thing in loaded[:3]))
        return read()

    monkeypatch.setattr(driver, "read", seen)
    make().run(0.05)
    assert walked
    assert not any(walked)  # the collector does not even know of them
    assert any(held is loaded[0] for held in gc.get_objects())  # afterwards it does again
