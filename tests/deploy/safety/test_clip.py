"""Limits that a command can keep: what is changed, by how much, and what is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robodistill_deploy.safety import FilterState, Sensors

DT = 0.005
HIP, THIGH, WHEEL, ARM, VX = 0, 1, 2, 3, 4


@pytest.fixture
def walking(rig: Any) -> FilterState:
    return rig.run(0.2, FilterState(), 0.0)[0]


def follow(rig: Any, state: FilterState, values: Any, steps: int, **own: Any) -> tuple[FilterState, Any, list[Any]]:
    said, command = [], None
    for _ in range(steps):
        t = state.t + DT
        before = state
        state, command, events = rig.filter.step(state, Sensors(rig.reading(t, **own), t), rig.target(t, values), t)
        rig.check(before, state, command)
        said += events
    return state, command, said


def changed(rig: Any, **values: float) -> np.ndarray:
    places = {"hip": HIP, "thigh": THIGH, "wheel": WHEEL, "arm": ARM, "vx": VX}
    out = rig.default.copy()
    for name, value in values.items():
        out[places[name]] = value
    return out


def test_a_target_within_all_limits_passes_bit_for_bit(rig: Any, walking: FilterState) -> None:
    wanted = changed(rig, hip=0.123456789, wheel=0.3, arm=0.7, vx=0.03)
    state, command, said = follow(rig, walking, wanted, 2)
    np.testing.assert_array_equal(state.previous, wanted)
    assert said == []
    joints = rig.layout.joints
    assert command.position[joints.index("hip")] == 0.123456789
    assert command.kp[joints.index("hip")] == 35.0
    assert command.velocity[joints.index("wheel")] == 0.3
    assert command.effort[joints.index("arm")] == 0.7
    np.testing.assert_array_equal(command.twist, [0.03, 0.0, 0.0])


@pytest.mark.parametrize(
    ("name", "asked", "limit"), [("hip", 0.99, 0.95), ("wheel", 11.0, 10.0), ("arm", 3.9, 3.0), ("vx", 2.0, 1.5)]
)
def test_soft_limits_hold_each_kind(rig: Any, walking: FilterState, name: str, asked: float, limit: float) -> None:
    follows = {"joint_vel": {"wheel": 9.9}, "joint_pos": {"hip": 0.9}} if name in ("hip", "wheel") else {}
    state, _, said = follow(rig, walking, changed(rig, **{name: asked}), 400, **follows)
    place = {"hip": HIP, "wheel": WHEEL, "arm": ARM, "vx": VX}[name]
    assert state.previous is not None
    assert state.previous[place] == pytest.approx(limit)
    lines = [str(e) for e in said if e.rule == "soft_limit"]
    assert lines == [f"soft_limit: target of {name!r} is {asked:.4g}, limit {limit:.4g}"]  # said once
    assert state.trip is None


def test_a_jump_becomes_a_slope(rig: Any, walking: FilterState) -> None:
    """The hip may move its target by 2 * 30 rad/s; its effort limit alone would allow the whole jump."""
    state, _, said = follow(rig, walking, changed(rig, hip=0.6), 1)
    assert state.previous is not None
    assert state.previous[HIP] == pytest.approx(0.1 + 60.0 * DT)
    assert [e.rule for e in said] == ["rate"]
    assert said[0].value == pytest.approx(0.5 / DT)
    assert str(said[0]) == f"rate: target of 'hip' changes at {0.5 / DT:.4g} rad/s, limit 60"
    state, _, said = follow(rig, state, changed(rig, hip=0.6), 1)
    assert state.previous is not None
    assert state.previous[HIP] == pytest.approx(0.6)
    assert said == []


def test_a_long_pause_opens_no_window_for_a_jump(rig: Any, walking: FilterState) -> None:
    t = walking.t + 0.045
    state, _, _ = rig.filter.step(walking, Sensors(rig.reading(t), t), rig.target(t, changed(rig, vx=1.5)), t)
    rate = rig.limits.max_target_rate["base"][0]
    assert state.previous is not None
    assert state.previous[VX] == pytest.approx(rate * rig.face.control_dt)


@pytest.mark.parametrize(
    ("name", "asked", "own", "expected"),
    [
        # thigh: 40 (q* - 0.8) - 0.9 dq <= 20
        ("thigh", 2.0, {}, 0.8 + 20.0 / 40.0),
        ("thigh", 2.0, {"joint_vel": {"thigh": -10.0}}, 0.8 + (20.0 - 9.0) / 40.0),
        ("thigh", -1.0, {"joint_vel": {"thigh": -10.0}}, 0.8 + (-20.0 - 9.0) / 40.0),
        # the wheel's effort is 0.7 (v* - v), at most 3
        ("wheel", 9.0, {"joint_vel": {"wheel": 2.0}}, 2.0 + 3.0 / 0.7),
        # arm: e - 0.2 v >= -3
        ("arm", -2.9, {"joint_vel": {"arm": 1.0}}, -2.8),
    ],
)  # fmt: skip
def test_predicted_effort_holds_each_kind(
    rig: Any, walking: FilterState, name: str, asked: float, own: Any, expected: float
) -> None:
    state, command, said = follow(rig, walking, changed(rig, **{name: asked}), 60, **own)
    place = {"thigh": THIGH, "wheel": WHEEL, "arm": ARM}[name]
    assert state.previous is not None
    assert state.previous[place] == pytest.approx(expected)
    assert [e.rule for e in said if e.rule == "effort"] == ["effort"]
    assert command.kd[rig.layout.joints.index(name)] == [0.8, 0.9, 0.7, 0.2][place]  # gains as they were


def test_gains_shrink_where_no_target_is_weak_enough(rig: Any, walking: FilterState) -> None:
    """A wheel spun at 40 rad/s from outside: standing still would brake with 28 N m, the limit is 3."""
    state, command, said = follow(rig, walking, rig.default, 1, joint_vel={"wheel": 40.0})
    assert state.previous is not None
    wheel = rig.layout.joints.index("wheel")
    braking = command.kd[wheel] * (command.velocity[wheel] - 40.0)
    assert braking == pytest.approx(-3.0)
    assert 0.0 < command.kd[wheel] < 0.7
    assert [e.rule for e in said] == ["effort"]


def test_begins_where_the_robot_is(rig: Any) -> None:
    """The first command of a ramp holds the measured pose, whatever the target."""
    pose = {"hip": -0.4, "thigh": 1.2, "wheel": 3.0, "arm": 0.0}
    state, command, _ = rig.filter.step(
        FilterState(), Sensors(rig.reading(0.0, joint_pos=pose), 0.0), rig.target(0.0, by_policy=False), 0.0
    )
    hip = rig.layout.joints.index("hip")
    assert abs(command.position[hip] - -0.4) <= 60.0 * rig.face.control_dt + 1e-12
    assert state.previous is not None
