"""Terminations and metrics against values worked out by hand, and what the environment makes of rewards."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robodistill.config import groups
from robodistill_deploy.resolve import resolve
from robodistill_envs import rotations
from robodistill_envs.terms import metrics, rewards, terminations
from robodistill_envs.vector import VecEnv
from robodistill_envs.world import World

MakeEnv = Callable[..., VecEnv]
Say = Callable[..., World]


def turned(axis: tuple[float, float, float], angle: float) -> Tensor:
    return rotations.from_rotation_vector(angle * torch.tensor(axis))


Z = (0.0, 0.0, 1.0)
LEFT = turned(Z, math.pi / 2)


# -- terminations ------------------------------------------------------------------------------


def test_tilt(say: Say) -> None:
    for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)):
        for angle, over in ((0.0, False), (0.85, False), (0.95, True), (3.1, True)):
            assert bool(terminations.tilt(say(imu_quat_wxyz=turned(axis, angle)), limit=0.9)) is over
    assert not terminations.tilt(say(imu_quat_wxyz=turned(Z, 2.0)), limit=0.9)


def test_contact_and_range(say: Say) -> None:
    assert bool(terminations.contact(say(leg_contact=[0.0, 1.0]), sensor="leg_contact"))
    assert not terminations.contact(say(leg_contact=[0.0]), sensor="leg_contact")
    for value, over in ((0.79, False), (-0.79, False), (0.81, True), (-0.81, True)):
        assert (
            bool(terminations.out_of_range(say(joint_pos=[0.0, value]), sensor="joint_pos", limit=0.8))
            is over
        )


def test_contacts_are_seen_where_they_are(make_env: MakeEnv) -> None:
    """Standing, only the feet touch; dropped flat, the trunk and the legs do."""
    env = make_env("go2_flat", 2, quiet=True)
    env.reset(0)
    for _ in range(30):
        env.step(torch.zeros(2, 12))
    world = env.world
    assert (world.true("foot_force") > 10.0).all()
    assert not world.true("trunk_contact").any()
    assert not world.true("leg_contact").any()
    env.engine.state("qpos")[1, 2] = 0.06
    env.engine.step(1)
    assert terminations.contact(world, sensor="trunk_contact").tolist() == [False, True]
    assert rewards.contact(world, sensor="leg_contact")[1] >= 1.0


# -- metrics -----------------------------------------------------------------------------------


def test_metrics(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = say().task.robot.actions[0].effort_limit
    monkeypatch.setitem(say().parameters, "payload", torch.tensor([[2.0]]))
    world = say(
        (1.0, 0.5, 0.3),
        imu_quat_wxyz=LEFT,
        base_velocity_w=[-0.3, 0.4, 1.0],
        imu_gyro=[0.0, 0.0, 0.2],
        joint_torque=[-limit[0] / 2, limit[1] / 4],
        joint_vel=[2.0],
    )
    assert metrics.base_twist(world)[0].tolist() == pytest.approx([0.4, 0.3, 0.2], abs=1e-5)
    error, count = metrics.velocity_error(world)
    assert (float(error), float(count)) == pytest.approx((0.36 + 0.04, 1.0), rel=1e-4)
    assert float(metrics.yaw_rate_error(world)[0]) == pytest.approx(0.01, rel=1e-4)
    assert float(metrics.torque_peak(world)[0]) == pytest.approx(0.5)
    energy, work = metrics.cost_of_transport(world, mass=15.0, payload="payload")
    assert float(energy) == pytest.approx(limit[0] * 0.02, rel=1e-5)
    assert float(work) == pytest.approx(17.0 * 9.81 * 0.5 * 0.02, rel=1e-5)
    for angle, share in ((0.05, 1.0), (0.15, 0.0), (2 * math.pi, 1.0)):
        inside = metrics.upright_share(say(joint_pos=[angle]), sensor="joint_pos", limit=0.1)
        assert float(inside[0]) == share


# -- in the environment ------------------------------------------------------------------------


WORLDS = 32


@pytest.mark.parametrize("name", sorted(groups()["task"]))
def test_the_environment_adds_weighted_rates(name: str, make_env: MakeEnv) -> None:
    """reward = dt * sum of weight * value, at the instant before any reset; each term is logged by itself."""
    env = make_env(name, WORLDS)
    env.reset(0)
    if not env.task.reset.height:  # without a free base all joints at speed break nothing, and meet sparse rewards
        speeds = env.engine.state("qvel")
        speeds[:] = 60.0 * (2.0 * torch.rand(speeds.shape, generator=torch.Generator().manual_seed(1)) - 1.0)
    expected: list[Tensor] = []

    def account() -> None:
        values = [r.weight * resolve(r.type)(env.world, **r.params) for r in env.task.rewards]
        expected.append(torch.stack(values, dim=1) * env.task.control_dt)

    env.before_reset = account
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        _, reward, *_ = env.step(torch.randn(WORLDS, env.action_dim, generator=generator))
        assert torch.allclose(reward, expected[-1].sum(dim=1), atol=1e-6)
    paid = torch.stack(expected).abs().amax(dim=(0, 1)) > 0.0
    assert paid.sum() >= max(1, len(env.task.rewards) - 2)
