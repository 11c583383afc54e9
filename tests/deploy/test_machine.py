"""The modes of a robot: every way from passive to the policy, and the one that leads out of everything."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from robodistill_deploy.errors import SpecError
from robodistill_deploy.machine import RAMP_SECONDS, Machine, MachineState, Mode
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.spec import InterfaceSpec

DEFAULT = np.array([0.1, 0.8, -1.5, 0.0])
LYING = np.array([0.0, 1.3, -2.6, 0.0])
DT = 0.005


@dataclasses.dataclass(frozen=True)
class Pose:
    seconds: float
    position: tuple[float, ...]


STAND_UP = (Pose(0.5, (0.0, 1.36, -2.65, 0.0)), Pose(1.0, (0.1, 0.9, -1.6, 0.0)))


@pytest.fixture
def face(spec: PolicySpec) -> InterfaceSpec:
    return spec.interface


def drive(machine: Machine, measured: Any, seconds: float, **changes: Any) -> list[Any]:
    """Step with a robot that follows its goal at once; ``changes`` are passed at every step."""
    state, steps, t = MachineState(), [], 0.0
    now = {"arm": True, "tripped": False} | changes
    for i in range(round(seconds / DT) + 1):
        t = 5.0 + i * DT
        step = machine.step(state, measured, t=t, **now)
        state = step.state
        measured = step.goal if step.goal is not None else measured
        steps.append(step)
    return steps


def modes(steps: list[Any]) -> list[Mode]:
    seen = [step.state.mode for step in steps]
    return [mode for i, mode in enumerate(seen) if i == 0 or seen[i - 1] is not mode]


def test_stays_passive_until_armed_and_measured(face: InterfaceSpec) -> None:
    machine = Machine(face)
    assert modes(drive(machine, DEFAULT, 3.0, arm=False)) == [Mode.PASSIVE]
    assert modes(drive(machine, None, 3.0)) == [Mode.PASSIVE]
    assert all(step.goal is None for step in drive(machine, DEFAULT, 3.0, arm=False))


def test_ramps_from_the_measured_pose(face: InterfaceSpec) -> None:
    begin = np.add(DEFAULT, [0.2, -0.3, 0.4, 0.0])
    steps = drive(Machine(face), begin, RAMP_SECONDS + 0.1)
    assert modes(steps) == [Mode.RAMP, Mode.POLICY]
    goals = np.array([step.goal for step in steps if step.goal is not None])
    np.testing.assert_array_equal(goals[0], begin)
    np.testing.assert_allclose(goals[-1], DEFAULT, atol=1e-4)
    assert (np.diff(goals, axis=0) * np.sign(DEFAULT - begin) >= 0.0).all()  # straight there
    assert np.abs(np.diff(goals, axis=0)).max() <= 1.5 * 0.4 * DT / RAMP_SECONDS + 1e-9  # no jump
    assert sum(step.state.mode is Mode.RAMP for step in steps) * DT == pytest.approx(RAMP_SECONDS)


def test_stands_up_from_lying_through_every_pose(face: InterfaceSpec) -> None:
    steps = drive(Machine(face, STAND_UP), LYING, 5.0)
    assert modes(steps) == [Mode.STAND_UP, Mode.RAMP, Mode.POLICY]
    goals = [step.goal for step in steps if step.goal is not None]
    for pose in STAND_UP:
        assert any(np.array_equal(goal, pose.position) for goal in goals)
    assert sum(step.state.mode is Mode.STAND_UP for step in steps) * DT == pytest.approx(1.5, abs=2 * DT)
    assert np.abs(np.diff(goals, axis=0)).max() < 0.05  # no jump where one pose ends and the next begins


def test_a_robot_that_stands_does_not_lie_down_to_stand_up(face: InterfaceSpec) -> None:
    assert modes(drive(Machine(face, STAND_UP), DEFAULT + 0.1, 3.0)) == [Mode.RAMP, Mode.POLICY]


def test_damping_comes_from_any_mode_and_stays(face: InterfaceSpec) -> None:
    machine = Machine(face, STAND_UP)
    for step in drive(machine, LYING, 5.0)[:: round(0.1 / DT)]:
        after = machine.step(step.state, DEFAULT, arm=True, tripped=True, t=20.0)
        assert after.state.mode is Mode.DAMPING
        assert after.goal is None
        again = machine.step(after.state, DEFAULT, arm=True, tripped=False, t=21.0)
        assert again.state.mode is Mode.DAMPING


def test_a_joint_that_does_not_follow_is_named(face: InterfaceSpec) -> None:
    machine = Machine(face)
    stuck = np.add(DEFAULT, [0.0, 0.6, 0.0, 0.0])
    state = machine.step(MachineState(), stuck, arm=True, tripped=False, t=0.0).state
    step = machine.step(state, stuck, arm=True, tripped=False, t=RAMP_SECONDS + DT)
    assert step.state.mode is Mode.RAMP
    assert "'thigh' is 0.6 rad from" in step.fault
    near = machine.step(state, np.add(DEFAULT, [0.0, 0.4, 0.0, 0.0]), arm=True, tripped=False, t=RAMP_SECONDS + DT)
    assert near.fault == ""
    assert near.state.mode is Mode.POLICY


def test_what_is_not_driven_by_position_needs_no_ramp(face: InterfaceSpec) -> None:
    wheel = dataclasses.replace(face, actions=face.actions[1:])
    steps = drive(Machine(wheel), np.zeros(1), 0.02)
    assert modes(steps) == [Mode.POLICY]


def test_refuses_a_stand_up_for_another_robot(face: InterfaceSpec) -> None:
    with pytest.raises(SpecError, match=r"4 positions, one has 1\.0 s and 2"):
        Machine(face, (Pose(1.0, (0.0, 0.0)),))
    with pytest.raises(SpecError, match="above 0"):
        Machine(face, (Pose(0.0, (0.0, 0.0, 0.0, 0.0)),))
