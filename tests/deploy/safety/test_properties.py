"""No sequence of inputs, however hostile, yields a command outside the limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.safety import FilterState, Sensors, Target

HOSTILE = st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 1e30, -1e7, 5e-324, -0.0])
NUMBER = st.one_of(st.floats(-1e3, 1e3), st.floats(-4.0, 4.0), HOSTILE)
SMALL = st.floats(-2.0, 2.0)
LATE = st.one_of(st.just(0.0), st.floats(-0.1, 0.1), HOSTILE)
TIME_STEP = st.one_of(st.just(0.005), st.just(0.005), st.floats(0.0, 0.06), st.floats(-0.1, 2.0), HOSTILE)
QUIET = {"imu_quat_wxyz": (0.0, 0.0, 0.0, 1.0)}


@st.composite
def steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Steps of a robot that is mostly well, with one or two kinds of trouble, or of one that is all trouble."""
    number = draw(st.sampled_from([SMALL, SMALL, NUMBER]))
    trouble = draw(st.sampled_from(["none", "none", "time", "stamp", "tick", "shape", "all"]))
    one = {
        "dt": TIME_STEP if trouble in ("time", "all") else st.just(0.005),
        "late": LATE if trouble in ("stamp", "all") else st.just(0.0),
        "tick": st.integers(-3, 3) if trouble in ("tick", "all") else st.just(1),
        "drop": st.booleans() if trouble in ("tick", "all") else st.just(False),
        "short": st.booleans() if trouble in ("shape", "all") else st.just(False),
        "q": st.lists(number, min_size=4, max_size=4),
        "dq": st.lists(st.one_of(number, st.floats(-80.0, 80.0)), min_size=4, max_size=4),
        "quat": st.just(None) if trouble != "all" else st.lists(NUMBER, min_size=4, max_size=4),
        "target": st.lists(st.one_of(number, st.floats(-30.0, 30.0)), min_size=7, max_size=7),
        "operator": LATE if trouble in ("stamp", "all") else st.just(0.0),
        "by_policy": st.booleans(),
        "passive": st.integers(0, 9).map(lambda i: i == 0),
    }
    return draw(st.lists(st.fixed_dictionaries(one), min_size=1, max_size=12))


def play(rig: Any, sequence: list[dict[str, Any]]) -> list[tuple[FilterState, FilterState, Command]]:
    state, t, tick, seen = FilterState(), 10.0, 0, []
    for i, step in enumerate(sequence):
        t, tick = t + step["dt"], tick + step["tick"]
        signals = rig.signals()
        signals["joint_pos"], signals["joint_vel"] = np.array(step["q"]), np.array(step["dq"]) + 1e-9 * i
        if step["quat"] is not None:
            signals["imu_quat_wxyz"] = np.array(step["quat"])
        if step["short"]:
            signals["imu_gyro"] = signals["imu_gyro"][:2]
        reading = None if step["drop"] else Reading(t + step["late"], tick, signals)
        target = None if step["passive"] else Target(np.array(step["target"]), t + step["late"], step["by_policy"])
        before = state
        state, command, _ = rig.filter.step(state, Sensors(reading, t + step["operator"]), target, t)
        seen.append((before, state, command))
    return seen


@pytest.mark.filterwarnings("error")
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=steps())
def test_no_inputs_yield_a_command_outside_the_limits(rig: Any, sequence: list[dict[str, Any]]) -> None:
    tripped = False
    for before, after, command in play(rig, sequence):
        rig.check(before, after, command)
        tripped = tripped or after.trip is not None
        assert (after.trip is not None) == tripped  # latched
        if tripped:
            rig.check_damping(command)


def test_the_check_itself_sees_a_violation(rig: Any) -> None:
    """The negative control: a filter that lets values through fails the property, for each limit."""
    state, _ = rig.run(0.02, FilterState(), 0.0)
    after, command, _ = rig.filter.step(state, Sensors(rig.reading(0.025), 0.025), rig.target(0.025), 0.025)
    rig.check(state, after, command)
    joints = rig.layout.joints
    for name, joint, value in (
        ("position", "hip", 0.999), ("kp", "hip", 36.0), ("kd", "thigh", 1.0), ("velocity", "wheel", 10.5),
        ("effort", "arm", 3.1), ("effort", "hip", 0.1), ("kd", "arm", math.nan),
    ):  # fmt: skip
        arrays = {f: getattr(command, f).copy() for f in ("position", "velocity", "kp", "kd", "effort", "twist")}
        arrays[name][joints.index(joint)] = value
        with pytest.raises(AssertionError):
            rig.check(state, after, Command(**arrays))
    for i, value in ((0, 0.99), (2, 10.1), (3, 3.1), (4, 1.6)):
        values = after.previous.copy()
        values[i] = value
        with pytest.raises(AssertionError):
            rig.check(state, after._replace(previous=values), command)
    moved = after.previous.copy()
    moved[0] += 60.0 * 0.005 * 1.01
    with pytest.raises(AssertionError):
        rig.check(state, after._replace(previous=moved), command)


def test_a_step_is_pure(rig: Any) -> None:
    """The same inputs give the same command bit for bit, and nothing that went in is changed."""
    state, _ = rig.run(0.05, FilterState(), 0.0)
    reading, wanted = rig.reading(0.06, joint_vel={"hip": 60.0}), rig.default + 0.3
    kept = wanted.copy(), state.previous.copy(), {k: v.copy() for k, v in reading.signals.items()}
    outcomes = [rig.filter.step(state, Sensors(reading, 0.06), rig.target(0.06, wanted), 0.06) for _ in range(2)]
    for a, b in zip(outcomes[0][1].__dict__.values(), outcomes[1][1].__dict__.values(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(wanted, kept[0])
    np.testing.assert_array_equal(state.previous, kept[1])
    for name, values in reading.signals.items():
        np.testing.assert_array_equal(values, kept[2][name])
    with pytest.raises(ValueError, match="read-only"):
        rig.filter.damping.kd[:] = 0.0
