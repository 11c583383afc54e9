"""Every rule trips where it must, holds its peace just before, latches damping and says why."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from robodistill_deploy.safety import FilterState, Sensors, Target
from robodistill_deploy.safety.rules import AT_ONCE, PERSISTENT

DT = 0.005


def tilted(angle: float) -> dict[str, dict[str, float]]:
    return {"imu_quat_wxyz": {"w": math.cos(angle / 2), "x": 0.0, "y": math.sin(angle / 2), "z": 0.0}}


def held(rig: Any, state: FilterState, seconds: float, own: dict[str, Any]) -> FilterState:
    return rig.run(seconds, state, state.t, **own)[0]


def stepped(
    rig: Any, state: FilterState, *, t: float | None = None, reading: Any = "new", operator: float = 0.0,
    late: float = 0.0, values: Any = None,
) -> FilterState:  # fmt: skip
    """One step of DT with one thing wrong."""
    t = state.t + DT if t is None else t
    reading = rig.reading(t) if reading == "new" else reading
    target = rig.target(t - late, values)
    before = state
    state, command, _ = rig.filter.step(state, Sensors(reading, t - operator), target, t)
    rig.check(before, state, command)
    return state


def silent(rig: Any, state: FilterState, seconds: float, reading: Callable[[float], Any]) -> FilterState:
    """Step while the driver offers what ``reading(t)`` makes."""
    begin = state.t
    for i in range(1, round(seconds / DT) + 1):
        t = begin + i * DT
        state = stepped(rig, state, t=t, reading=reading(t))
    return state


def repeated(rig: Any, state: FilterState, seconds: float) -> FilterState:
    signals = rig.signals()
    return silent(rig, state, seconds, lambda t: rig.reading(t).__class__(t, round(t / DT), signals))


# rule -> (what trips it, the same a little milder, what the message says)
CASES: dict[str, tuple[Callable[..., FilterState], Callable[..., FilterState], str]] = {
    "clock": (
        lambda rig, s: stepped(rig, s, t=s.t - 0.001, reading=None),
        lambda rig, s: stepped(rig, s, t=s.t, reading=None),
        "clock went back",
    ),
    "stale": (
        lambda rig, s: silent(rig, s, 0.055, lambda t: None),
        lambda rig, s: silent(rig, s, 0.050, lambda t: None),
        "newest reading: age",
    ),
    "finite": (
        lambda rig, s: stepped(rig, s, reading=rig.reading(s.t + DT, joint_vel={"arm": math.nan})),
        lambda rig, s: stepped(rig, s, reading=rig.reading(s.t + DT, joint_vel={"arm": 9.0})),
        "reading: largest number is nan",
    ),
    "frozen": (
        lambda rig, s: repeated(rig, s, 0.06),
        lambda rig, s: repeated(rig, s, 0.05),
        "repeat the same numbers",
    ),
    "attitude": (
        lambda rig, s: stepped(rig, s, reading=rig.reading(s.t + DT, imu_quat_wxyz={"w": 0.85})),
        lambda rig, s: stepped(rig, s, reading=rig.reading(s.t + DT, imu_quat_wxyz={"w": 0.95})),
        "norm of imu_quat_wxyz is 0.85",
    ),
    "dead_man": (
        lambda rig, s: stepped(rig, s, operator=0.51),
        lambda rig, s: stepped(rig, s, operator=0.49),
        "operator last heard",
    ),
    "deadline": (
        lambda rig, s: stepped(rig, s, late=0.061),
        lambda rig, s: stepped(rig, s, late=0.059),
        "age in control periods is 3.05, limit 3",
    ),
    "position_range": (
        lambda rig, s: held(rig, s, 0.025, {"joint_pos": {"thigh": 3.51}}),
        lambda rig, s: held(rig, s, 0.025, {"joint_pos": {"thigh": 3.49}}),
        "joint_pos of 'thigh' is 3.51, limit 3.5",
    ),
    "tilt": (
        lambda rig, s: held(rig, s, 0.025, tilted(1.02)),
        lambda rig, s: held(rig, s, 0.025, tilted(-0.98)),
        "tilt [rad] is 1.02, limit 1",
    ),
    "fall": (
        # leaning about +y and turning on about +y: 0.9 + 0.1 s * 5 rad/s = 1.4 rad
        lambda rig, s: held(rig, s, 0.025, {**tilted(0.9), "imu_gyro": {"y": 5.0}}),
        # the same speed, but back to the upright
        lambda rig, s: held(rig, s, 0.025, {**tilted(0.9), "imu_gyro": {"y": -5.0}}),
        "tilt to come [rad] is 1.4",
    ),
    "training_range": (
        lambda rig, s: held(rig, s, 0.105, {"imu_gyro": {"z": 16.1}}),
        lambda rig, s: held(rig, s, 0.105, {"imu_gyro": {"z": 15.9}}),
        "imu_gyro of 'z' is 16.1, limit 16",
    ),
}  # fmt: skip


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == {name for name, _ in (*AT_ONCE, *PERSISTENT)}


@pytest.fixture
def walking(rig: Any) -> FilterState:
    state, events = rig.run(0.2, FilterState(), 0.0)
    assert events == []
    return state


@pytest.mark.parametrize("rule", list(CASES))
def test_trips_latches_and_says_why(rig: Any, walking: FilterState, rule: str) -> None:
    cause, _, said = CASES[rule]
    state = cause(rig, walking)
    assert state.trip is not None
    assert state.trip.rule == rule
    assert state.trip.trip
    line = str(state.trip)
    assert line.startswith(f"{rule}: ")
    assert said in line
    assert "\n" not in line
    first = state.trip
    for i in range(1, 200):  # all is well again, for a second
        t = walking.t + 1.0 + i * DT
        state, command, events = rig.filter.step(state, Sensors(rig.reading(t), t), rig.target(t), t)
        rig.check_damping(command)
        assert events == ()
    assert state.trip is first


@pytest.mark.parametrize("rule", list(CASES))
def test_holds_its_peace_just_before(rig: Any, walking: FilterState, rule: str) -> None:
    _, mild, _ = CASES[rule]
    assert mild(rig, walking).trip is None


@pytest.mark.parametrize("rule", [name for name, _ in PERSISTENT])
def test_a_glitch_does_not_trip(rig: Any, walking: FilterState, rule: str) -> None:
    """Shorter than the persistence, with a break, again and again."""
    own = {"position_range": {"joint_pos": {"hip": 1.2}}, "training_range": {"imu_gyro": {"z": 50.0}}}
    own |= {"tilt": tilted(2.0), "fall": {**tilted(0.9), "imu_gyro": {"y": 9.0}}}
    state = walking
    for _ in range(20):
        state = held(rig, state, 0.02 if rule != "training_range" else 0.095, own[rule])
        state = held(rig, state, DT, {})
    assert state.trip is None


def test_what_only_binds_the_policy_leaves_a_stand_up_alone(rig: Any, walking: FilterState) -> None:
    state = walking
    for i in range(1, 60):
        t = walking.t + i * DT
        reading = rig.reading(t, imu_gyro={"z": 16.1})
        state, _, _ = rig.filter.step(state, Sensors(reading, t), Target(rig.default, t - 1.0, False), t)
    assert state.trip is None


def test_readings_out_of_order_are_ignored_and_trip_when_nothing_else_comes(rig: Any, walking: FilterState) -> None:
    late = rig.reading(walking.t + DT, tick=3, joint_pos={"hip": 0.9})
    state = stepped(rig, walking, reading=late)
    assert state.trip is None
    assert state.reading is walking.reading  # the jump to 0.9 was not believed
    state = silent(rig, walking, 0.06, lambda t: rig.reading(t, tick=3))
    assert "go back in the robot's count" in str(state.trip)
    still = walking.reading.tick  # pyright: ignore[reportOptionalMemberAccess]
    state = silent(rig, walking, 0.06, lambda t: rig.reading(t, tick=still))
    assert "count stands still" in str(state.trip)


def test_before_the_first_reading_nothing_moves(rig: Any) -> None:
    state, command, events = rig.filter.step(FilterState(), Sensors(None, 0.0), rig.target(0.0), 0.0)
    rig.check_damping(command)
    assert events[0].rule == "stale"
    assert "no reading" in str(events[0])
    state, command, events = rig.filter.step(FilterState(), Sensors(None, 0.0), None, 0.0)
    rig.check_damping(command)
    assert state.trip is None  # nothing was wanted
    assert events == ()


def test_the_target_is_checked_as_well(rig: Any, walking: FilterState) -> None:
    for bad in (math.nan, math.inf, 1e7):
        values = rig.default.copy()
        values[5] = bad
        state = stepped(rig, walking, values=values)
        assert state.trip is not None
        assert str(state.trip).startswith("finite: target: largest number")
    assert "how many" in str(stepped(rig, walking, values=np.zeros(3)).trip)
    lacking = rig.reading(walking.t + DT)
    del lacking.signals["imu_gyro"]
    assert "lacks signals" in str(stepped(rig, walking, reading=lacking).trip)


def test_a_trip_from_outside_latches_too(rig: Any, walking: FilterState) -> None:
    state, events = rig.filter.trip(walking, "stop", "the operator pressed stop", walking.t)
    assert str(events[0]) == "stop: the operator pressed stop"
    again, none = rig.filter.trip(state, "other", "later", walking.t)
    assert none == ()
    assert again.trip is events[0]
    _, command, _ = rig.filter.step(state, Sensors(rig.reading(0.3), 0.3), rig.target(0.3), 0.3)
    rig.check_damping(command)


def test_passive_is_damping_without_a_trip(rig: Any, walking: FilterState) -> None:
    t = walking.t + DT
    state, command, _ = rig.filter.step(walking, Sensors(rig.reading(t), t), None, t)
    rig.check_damping(command)
    state, events = rig.run(0.1, state, t)
    assert state.trip is None
    assert [e for e in events if e.trip] == []
