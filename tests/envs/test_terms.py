"""Observation terms and internal states against values worked out by hand; scale, clip and order of a group."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robodistill_deploy.errors import SpecError
from robodistill_envs import rotations
from robodistill_envs.config import ParameterConfig, TaskConfig
from robodistill_envs.interface import interface_of, joint_mirror
from robodistill_envs.observation import SignalTerms
from robodistill_envs.robot_config import spread
from robodistill_envs.terms import internals, observations, privileged
from robodistill_envs.vector import VecEnv
from robodistill_envs.world import World

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
Say = Callable[..., World]


def turned(axis: tuple[float, float, float], angle: float) -> Tensor:
    return rotations.from_rotation_vector(angle * torch.tensor(axis))


LEFT = turned((0.0, 0.0, 1.0), math.pi / 2)


def listed(value: Tensor) -> object:
    return pytest.approx(value.flatten().tolist(), abs=1e-6)


# -- what a robot computes ---------------------------------------------------------------------


def test_observations() -> None:
    signal = torch.tensor([[1.0, 2.0]])
    assert observations.identity(signal).tolist() == [[1.0, 2.0]]
    assert observations.relative(signal, origin=[0.5, 3.0]).tolist() == [[0.5, -1.0]]
    angles = torch.tensor([0.0, math.pi / 2])
    assert listed(observations.sin_cos(angles)) == [0.0, 1.0, 1.0, 0.0]
    rolled = turned((1.0, 0.0, 0.0), 0.3)
    assert listed(observations.projected_gravity(rolled)) == [0.0, -math.sin(0.3), -math.cos(0.3)]


@pytest.mark.parametrize(
    ("phase", "command", "expected"),
    [
        (0.25, [1.0, 0.0, 0.0], [1.0, 0.0]),
        (0.5, [0.0, -0.2, 0.0], [0.0, -1.0]),
        (0.5, [0.05, 0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_gait_clock(phase: float, command: list[float], expected: list[float]) -> None:
    clock = observations.gait_clock(torch.tensor([phase]), torch.tensor(command), still=0.1)
    assert listed(clock) == expected


def test_internal_states() -> None:
    last = internals.LastAction(2, 0.02)
    assert last.initial().tolist() == [0.0, 0.0]
    assert last(torch.tensor([9.0, 9.0]), torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
    phase = internals.GaitPhase(1, 0.02, frequency=2.0)
    state, seen = phase.initial(), []
    for _ in range(25):
        state = phase(state, torch.zeros(1))
        seen.append(float(state))
    assert seen[0] == pytest.approx(0.04)
    assert seen[23] == pytest.approx(0.96)
    assert min(seen[24], 1.0 - seen[24]) == pytest.approx(0.0, abs=1e-5)  # two periods a second


# -- what only a simulator knows ---------------------------------------------------------------


def test_base_velocity_is_in_the_base_frame(say: Say) -> None:
    world = say(imu_quat_wxyz=LEFT, base_velocity_w=[1.0, 2.0, 3.0], base_position_w=[5.0, 6.0, 0.3])
    assert listed(privileged.base_velocity(world)) == [2.0, -1.0, 3.0]
    assert listed(privileged.base_height(world)) == [0.3]
    nose_down = say(imu_quat_wxyz=turned((0.0, 1.0, 0.0), math.pi / 2), base_velocity_w=[0.0, 0.0, -1.0])
    assert listed(privileged.base_velocity(nose_down)) == [1.0, 0.0, 0.0]  # falling is ahead


def test_gravity_truth_and_angles(say: Say) -> None:
    world = say(
        imu_quat_wxyz=turned((0.0, 1.0, 0.0), 0.2), foot_force=[1.0, 2.0, 3.0, 4.0], joint_pos=[math.pi / 2]
    )
    assert listed(privileged.gravity(world)) == [math.sin(0.2), 0.0, -math.cos(0.2)]
    assert listed(privileged.truth(world, sensor="foot_force")) == [1.0, 2.0, 3.0, 4.0]
    both = privileged.sin_cos(world, sensor="joint_pos")
    assert (float(both[0, 0]), float(both[0, 12])) == pytest.approx((1.0, 0.0), abs=1e-6)


def test_a_push_is_seen_in_the_heading_frame_and_fades(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    world = say(imu_quat_wxyz=LEFT)
    monkeypatch.setattr(world, "push", torch.tensor([[0.0, 0.7]]))
    assert listed(privileged.push(world)) == [0.7, 0.0]


def test_the_push_fades_in_half_a_second(make_env: MakeEnv) -> None:
    env = make_env("go2_flat", 1)
    env.reset(0)
    env.world.push[:] = torch.tensor([[0.8, 0.0]])
    for _ in range(25):
        env.step(torch.zeros(1, 12))
    assert 0.0 < float(env.world.push.norm()) < 0.05


def test_parameters_are_mapped_to_their_range(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    world = say()
    for name, value, expected in (("payload", -1.0, -1.0), ("payload", 3.0, 1.0), ("payload", 1.0, 0.0)):
        monkeypatch.setitem(world.parameters, name, torch.tensor([[value]]))
        assert listed(privileged.parameter(world, name=name)) == [expected]
    monkeypatch.setitem(world.parameters, "imu_tilt", torch.tensor([[0.03, 0.0, 0.0]]))
    assert listed(privileged.parameter(world, name="imu_tilt")) == [1.0, 0.0, 0.0]  # the last is never drawn


# -- groups ------------------------------------------------------------------------------------


def test_terms_are_scaled_then_clipped_and_stand_in_order(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    gyro, gravity, *_ = task.groups["sensors"]
    pair = (gravity, replace(gyro, scale=(0.25, 0.5, 1.0), clip=2.0))
    spec = interface_of(replace(task, groups={"sensors": pair}))
    terms = SignalTerms(spec, "sensors")
    signals = {
        "imu_quat_wxyz": torch.tensor([1.0, 0.0, 0.0, 0.0]),
        "imu_gyro": torch.tensor([4.0, -2.0, 50.0]),
    }
    assert terms(signals).tolist() == [0.0, 0.0, -1.0, 1.0, -1.0, 2.0]


def test_the_environment_shows_the_joints_in_the_order_of_the_actions(make_env: MakeEnv) -> None:
    """Each joint by itself: moving it moves its own number in position, velocity, torque and action, and no other."""
    env = make_env("go2_flat", 12, quiet=True)
    obs = env.reset(0)
    model, start = env.engine.model, [t.name for t in env.spec.terms("sensors")].index("joint_pos")
    offset = sum(t.dim for t in env.spec.terms("sensors")[:start])
    assert not obs["sensors"][:, offset : offset + 12].any()
    names = env.spec.actions[0].names
    default = env.engine.state("ctrl").clone()
    for i, joint in enumerate(names):
        env.engine.state("qpos")[i, int(model.joint(joint).qposadr[0])] += 0.2
        env.engine.state("qvel")[i, int(model.joint(joint).dofadr[0])] += 3.0
        env.engine.state("ctrl")[i, model.actuator(joint).id] += 0.3
    moved = env.engine.state("ctrl") - default
    env.engine.step(1)
    seen = env.observe()["sensors"]
    width = {
        "joint_pos": (seen[:, offset : offset + 12], 0.2),
        "joint_vel": (env.world.signals["joint_vel"], 3.0),
    }
    for value, size in width.values():
        assert torch.allclose(value, size * torch.eye(12), atol=1e-5)
    assert torch.allclose(moved.float(), 0.3 * torch.eye(12), atol=1e-6)
    kp, kd = (torch.tensor(getattr(env.spec.actions[0], gain)) for gain in ("kp", "kd"))
    torque = env.world.true("joint_torque").diagonal()
    assert torch.allclose(torque, kp * 0.1 - kd * 3.0, atol=1e-4)


def test_a_term_of_the_wrong_width_is_named(load_task: LoadTask, make_env: MakeEnv) -> None:
    task = load_task("pendulum_swingup")
    angle = replace(task.groups["sensors"][0], elements=3, scale=(1.0,))
    env = make_env(replace(task, groups={**task.groups, "sensors": (angle,)}), 2)
    with pytest.raises(SpecError, match=r"joint_angle.*\(2, 3\).*\(2, 2\)"):
        env.reset(0)


def test_spread_and_ranges() -> None:
    assert spread((2.0,), 3, "x") == (2.0, 2.0, 2.0)
    assert spread((1.0, 2.0), 2, "x") == (1.0, 2.0)
    with pytest.raises(SpecError, match="x: expected 1 or 3 values, got 2"):
        spread((1.0, 2.0), 3, "x")
    with pytest.raises(SpecError, match="above"):
        ParameterConfig(low=(2.0,), high=(1.0,), unit="", nominal=(1.0,))


def test_a_mirror_that_names_a_missing_joint(load_task: LoadTask) -> None:
    robot = load_task("go2_flat").robot
    wrong = replace(robot, mirror={**robot.mirror, "FL_hip_joint": "FX_hip_joint"})
    with pytest.raises(SpecError, match="FX_hip_joint"):
        joint_mirror(wrong, robot.actions[0].names)
