"""Every reward against values worked out by hand, on a World that says what we want."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robodistill_envs import rotations
from robodistill_envs.terms import rewards
from robodistill_envs.world import World

Say = Callable[..., World]
Z = (0.0, 0.0, 1.0)
TROT = [0.0, 0.5, 0.5, 0.0]


def turned(axis: tuple[float, float, float], angle: float) -> Tensor:
    return rotations.from_rotation_vector(angle * torch.tensor(axis))


LEVEL = [1.0, 0.0, 0.0, 0.0]
LEFT = turned(Z, math.pi / 2)


# -- tracking ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quat", "velocity", "expected"),
    [
        (LEVEL, [1.0, 0.0, 0.7], 1.0),  # the vertical speed does not matter
        (LEVEL, [0.5, 0.0, 0.0], math.exp(-1.0)),
        (LEFT, [0.0, 1.0, 0.0], 1.0),  # ahead is the world's y
        (LEFT, [1.0, 0.0, 0.0], math.exp(-8.0)),  # error (1, 1): in the world's frame it would be none
        (turned((0.0, 1.0, 0.0), 0.5), [1.0, 0.0, 0.0], 1.0),  # pitched: still 1 m/s over ground
    ],
)
def test_track_velocity(say: Say, quat: list[float], velocity: list[float], expected: float) -> None:
    world = say((1.0, 0.0, 0.0), imu_quat_wxyz=quat, base_velocity_w=velocity)
    assert float(rewards.track_velocity(world, sigma=0.5)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("quat", "gyro", "expected"),
    [
        (LEVEL, [5.0, 5.0, 1.0], 1.0),
        (LEVEL, [0.0, 0.0, 0.0], math.exp(-4.0)),
        (turned((1.0, 0.0, 0.0), math.pi / 2), [0.0, 1.0, 0.0], 1.0),  # lying on its side: its y is up
        (turned((1.0, 0.0, 0.0), math.pi / 2), [0.0, 0.0, 1.0], math.exp(-4.0)),
    ],
)
def test_track_yaw_rate(say: Say, quat: list[float], gyro: list[float], expected: float) -> None:
    world = say((0.0, 0.0, 1.0), imu_quat_wxyz=quat, imu_gyro=gyro)
    assert float(rewards.track_yaw_rate(world, sigma=0.5)) == pytest.approx(expected, rel=1e-4)


# -- posture and effort ------------------------------------------------------------------------


def test_base_motion(say: Say) -> None:
    world = say(base_velocity_w=[1.0, 2.0, -3.0], imu_gyro=[1.0, -2.0, 5.0], base_position_w=[9.0, 9.0, 0.25])
    assert float(rewards.vertical_velocity(world)) == 9.0
    assert float(rewards.roll_pitch_rate(world)) == 5.0
    assert float(rewards.base_height(world, target=0.31)) == pytest.approx(0.0036)


@pytest.mark.parametrize(
    ("axis", "angle", "expected"), [(Z, 1.0, 0.0), ((1.0, 0.0, 0.0), 0.3, math.sin(0.3) ** 2)]
)
def test_lean(say: Say, axis: tuple[float, float, float], angle: float, expected: float) -> None:
    world = say(imu_quat_wxyz=turned(axis, angle))
    assert float(rewards.lean(world)) == pytest.approx(expected, abs=1e-6)


def test_torque_and_power(say: Say) -> None:
    world = say(joint_torque=[1.0, -2.0], joint_vel=[3.0, 4.0, 5.0])
    assert float(rewards.torque(world)) == 5.0
    assert float(rewards.power(world)) == 11.0  # 3 + 8; the net power would be -5


def test_joint_acceleration(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    world = say(joint_vel=[0.5, 0.1])
    assert world.dt == pytest.approx(0.02)
    last = torch.zeros(1, 12)
    last[0, :2] = torch.tensor([0.1, 0.3])
    monkeypatch.setattr(world, "last_joint_vel", last)
    assert float(rewards.joint_acceleration(world)) == pytest.approx(20.0**2 + 10.0**2, rel=1e-5)
    monkeypatch.setattr(world, "last_joint_vel", None)
    assert rewards.joint_acceleration(world).tolist() == [0.0]


def test_actions(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    world = say()
    monkeypatch.setattr(world, "action", torch.tensor([[3.0, 0.5, -0.5]]))
    monkeypatch.setattr(world, "last_action", torch.tensor([[1.0, 0.5, 0.0]]))
    assert float(rewards.action_rate(world)) == 4.25
    assert float(rewards.effort(world)) == 1.5  # 3 is cut to 1


@pytest.mark.parametrize(("command", "expected"), [((0.5, 0.0, 0.0), 0.018), ((0.05, 0.0, 0.0), 0.09)])
def test_pose(say: Say, command: tuple[float, float, float], expected: float) -> None:
    default = torch.tensor(say().task.robot.actions[0].default)
    off = default + torch.tensor([0.1, -0.2] + [0.0] * 10)
    world = say(command, joint_pos=off)
    assert float(rewards.pose(world, scale=[1.0, 0.2, 0.2] * 4, still=0.1, still_gain=5.0)) == pytest.approx(
        expected
    )
    assert (
        float(rewards.pose(say(command, joint_pos=default), scale=[1.0] * 12, still=0.1, still_gain=5.0))
        == 0.0
    )


def test_contact_counts_bodies(say: Say) -> None:
    world = say(leg_contact=[0.0, 2.0, 1.0])
    assert float(rewards.contact(world, sensor="leg_contact")) == 2.0


# -- gait --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "force", "expected"),
    [
        ((1.0, 0.0, 0.0), [9.0, 0.0, 0.0, 9.0], 1.0),  # at phase 0.2 front left and rear right stand
        ((1.0, 0.0, 0.0), [9.0, 0.5, 0.5, 9.0], 1.0),  # half a newton is no contact
        ((1.0, 0.0, 0.0), [9.0, 9.0, 9.0, 9.0], 0.0),
        ((1.0, 0.0, 0.0), [0.0, 9.0, 9.0, 0.0], -1.0),
        ((0.0, 0.0, 0.0), [9.0, 9.0, 9.0, 9.0], 1.0),  # asked to stand, all four should
        ((0.0, 0.0, 0.0), [9.0, 0.0, 0.0, 9.0], 0.0),
    ],
)
def test_gait_contact(
    say: Say, command: tuple[float, float, float], force: list[float], expected: float
) -> None:
    world = say(command, phase=0.2, foot_force=force)
    assert float(rewards.gait_contact(world, offsets=TROT, stance=0.55, still=0.1)) == pytest.approx(expected)


PLACES = [0.2, 0.1, 0.2, -0.1, -0.2, 0.1, -0.2, -0.1]


def feet_miss(
    say: Say,
    command: tuple[float, float, float],
    phase: float,
    moved: dict[int, tuple[float, float, float]],
    **more: object,
) -> float:
    """Return foot_reference for feet at their nominal places on the ground, ``moved`` as given."""
    quat = torch.tensor(LEVEL) if "quat" not in more else more["quat"]
    assert isinstance(quat, Tensor)
    base = torch.tensor([3.0, -2.0, 0.28])
    feet = torch.tensor(PLACES).view(4, 2)
    feet = torch.cat((feet, torch.zeros(4, 1)), dim=1)
    for foot, by in moved.items():
        feet[foot] += torch.tensor(by)
    feet_w = rotations.rotate(quat.expand(4, 4), feet) + base
    feet_w[:, 2] = feet[:, 2] + rewards.FOOT_RADIUS
    world = say(command, phase, imu_quat_wxyz=quat, base_position_w=base, foot_position_w=feet_w.flatten())
    shape = {"offsets": TROT, "stance": 0.5, "frequency": 2.0, "height": 0.06, "still": 0.1}
    return float(rewards.foot_reference(world, nominal=PLACES, **shape))


def test_foot_reference_standing(say: Say) -> None:
    still = (0.0, 0.0, 0.0)
    for phase in (0.0, 0.3, 0.7):
        assert feet_miss(say, still, phase, {}) == pytest.approx(0.0, abs=1e-9)
        assert feet_miss(say, still, phase, {}, quat=LEFT) == pytest.approx(0.0, abs=1e-9)
    off = {2: (0.1, 0.0, 0.05)}
    assert feet_miss(say, still, 0.0, off) == pytest.approx(0.0125, rel=1e-4)
    assert feet_miss(say, still, 0.0, off, quat=LEFT) == pytest.approx(0.0125, rel=1e-4)


def test_foot_reference_walking(say: Say) -> None:
    """At 1 m/s a stance of 0.25 s carries a foot from 0.125 m ahead to 0.125 m behind; the others fly back."""
    ahead, behind, up = (0.125, 0.0, 0.0), (-0.125, 0.0, 0.0), (0.0, 0.0, 0.06)
    walk = (1.0, 0.0, 0.0)
    touchdown = {0: ahead, 3: ahead, 1: behind, 2: behind}
    assert feet_miss(say, walk, 0.0, touchdown) == pytest.approx(0.0, abs=1e-8)
    assert feet_miss(say, walk, 0.25, {1: up, 2: up}) == pytest.approx(0.0, abs=1e-8)
    assert feet_miss(say, walk, 0.75, {0: up, 3: up}) == pytest.approx(0.0, abs=1e-8)
    # the negative control: half a period later these feet are in the wrong places
    assert feet_miss(say, walk, 0.5, touchdown) == pytest.approx(4 * 0.25**2, rel=1e-4)
    # where stance ends and swing begins the reference does not jump
    assert feet_miss(say, walk, 0.499999, {0: behind, 3: behind, 1: ahead, 2: ahead}) == pytest.approx(
        0.0, abs=1e-6
    )


def test_foot_reference_turning(say: Say) -> None:
    """Turning left at 1 rad/s a place (x, y) moves by (-y, x): at touchdown a foot is 0.125 s of that ahead."""
    moved: dict[int, tuple[float, float, float]] = {}
    for foot, side in ((0, 1.0), (1, -1.0), (2, -1.0), (3, 1.0)):
        x, y = PLACES[2 * foot : 2 * foot + 2]
        moved[foot] = (-0.125 * side * y, 0.125 * side * x, 0.0)
    assert feet_miss(say, (0.0, 0.0, 1.0), 0.0, moved) == pytest.approx(0.0, abs=1e-8)
    assert feet_miss(say, (0.0, 0.0, -1.0), 0.0, moved) > 1e-3


def test_foot_slip(say: Say) -> None:
    world = say(
        foot_force=[9.0, 0.0, 0.9, 2.0], foot_velocity_w=[0.1, 0.2, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.3]
    )
    assert float(rewards.foot_slip(world)) == pytest.approx(0.05 + 0.09)


# -- toys --------------------------------------------------------------------------------------


def test_upright_and_squared(say: Say) -> None:
    for angle, expected in (
        (0.0, 1.0),
        (math.pi / 2, 0.25),
        (-math.pi / 2, 0.25),
        (math.pi, 0.0),
        (4 * math.pi, 1.0),
    ):
        world = say(joint_pos=[angle, 7.0])
        assert float(rewards.upright(world, sensor="joint_pos", sharpness=2.0)) == pytest.approx(
            expected, abs=1e-6
        )
    assert float(rewards.squared(say(joint_vel=[1.0, -2.0]), sensor="joint_vel")) == 5.0


def test_fell_is_a_termination(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    world = say()
    for ended in (False, True):
        monkeypatch.setattr(world, "terminated", torch.tensor([ended]))
        assert float(rewards.fell(world)) == float(ended)
