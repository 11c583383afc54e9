"""Rewards: ``function(world, **params) -> (num_envs,)``, weighted in YAML [1/s]."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill_envs import rotations
from robodistill_envs.world import World, from_sensors

Vector = Tensor | list[float]
"""Numbers from YAML; a task hands them over as a tensor."""
FOOT_RADIUS = 0.022
"""[m] of the Go2's feet"""
_QUARTER_TURN = torch.tensor([-1.0, 1.0])


def _moving(world: World, still: float) -> Tensor:
    return world.command.norm(dim=1) > still


@from_sensors
def gravity(world: World) -> Tensor:
    """Return the true gravity direction (num_envs, 3) in the IMU frame: (0, 0, -1) when level."""
    return rotations.projected_gravity(world.true("imu_quat_wxyz"))


@from_sensors
def heading(world: World) -> Tensor:
    """Return cos and sin (num_envs, 2) of the robot's true heading."""
    return rotations.heading(world.true("imu_quat_wxyz"))


@from_sensors
def heading_velocity(world: World) -> Tensor:
    """Return the true horizontal base velocity (num_envs, 2) [m/s] in the frame of the robot's heading."""
    return rotations.to_heading(heading(world), world.true("base_velocity_w"))


@from_sensors
def touching(world: World) -> Tensor:
    """Return which feet (num_envs, 4) press on the floor with more than 1 N, bool."""
    return world.true("foot_force") > 1.0


def velocity_error(world: World) -> Tensor:
    """Return commanded minus true (vx, vy) [m/s] in the frame of the robot's heading, (num_envs, 2)."""
    return world.command[:, :2] - heading_velocity(world)


@from_sensors
def yaw_rate(world: World) -> Tensor:
    """Return the true yaw rate (num_envs,) [rad/s] about the world's vertical."""
    return (gravity(world) * world.true("imu_gyro")).sum(dim=1).neg_()


def yaw_rate_error(world: World) -> Tensor:
    """Return commanded minus true yaw rate [rad/s] about the world's vertical, (num_envs,)."""
    return world.command[:, 2] - yaw_rate(world)


def track_velocity(world: World, *, sigma: float) -> Tensor:
    """Return exp(-|error|^2 / sigma^2) of the horizontal velocity."""
    return torch.exp(-velocity_error(world).square().sum(dim=1) / sigma**2)


def track_yaw_rate(world: World, *, sigma: float) -> Tensor:
    """Return exp(-error^2 / sigma^2) of the yaw rate."""
    return torch.exp(-yaw_rate_error(world).square() / sigma**2)


def vertical_velocity(world: World) -> Tensor:
    """Return the squared vertical speed [m^2/s^2] of the base."""
    return world.true("base_velocity_w")[:, 2].square()


def roll_pitch_rate(world: World) -> Tensor:
    """Return the squared roll and pitch rates [rad^2/s^2]."""
    return world.true("imu_gyro")[:, :2].square().sum(dim=1)


def lean(world: World) -> Tensor:
    """Return the squared horizontal part of gravity in the base frame: 0 when level."""
    return gravity(world)[:, :2].square().sum(dim=1)


def base_height(world: World, *, target: float) -> Tensor:
    """Return the squared distance [m^2] of the base from its target height."""
    return (world.true("base_position_w")[:, 2] - target).square()


def torque(world: World) -> Tensor:
    """Return the sum of squared joint torques [N^2 m^2]."""
    return world.true("joint_torque").square().sum(dim=1)


def power(world: World) -> Tensor:
    """Return the sum of absolute mechanical joint powers [W]."""
    return (world.true("joint_torque") * world.true("joint_vel")).abs().sum(dim=1)


def joint_acceleration(world: World) -> Tensor:
    """Return the sum of squared joint accelerations [rad^2/s^4] over the control step."""
    if world.last_joint_vel is None:
        return torch.zeros(world.num_envs)
    return ((world.true("joint_vel") - world.last_joint_vel) / world.dt).square().sum(dim=1)


def action_rate(world: World) -> Tensor:
    """Return the squared change of the raw action since the tick before."""
    return (world.action - world.last_action).square().sum(dim=1)


def contact(world: World, *, sensor: str) -> Tensor:
    """Return how many of the watched bodies touch the floor."""
    return (world.true(sensor) > 0.0).float().sum(dim=1)


def pose(world: World, *, scale: Vector, still: float, still_gain: float) -> Tensor:
    """Return the weighted squared distance [rad^2] from the default pose, ``still_gain`` times when standing."""
    action = world.task.robot.actions[0]
    error = (world.true("joint_pos") - torch.tensor(action.default)).square() * torch.as_tensor(scale)
    return error.sum(dim=1) * torch.where(_moving(world, still), 1.0, still_gain)


def gait_contact(world: World, *, offsets: Vector, stance: float, still: float) -> Tensor:
    """Return in [-1, 1] how well the feet's contacts follow the gait clock (stance share ``stance``).

    Foot i should touch while frac(phase + offsets[i]) < stance; all feet should when standing still.
    """
    leg_phase = _leg_phase(world, offsets)
    wanted = (leg_phase < stance) | ~_moving(world, still).unsqueeze(1)
    return 2.0 * (touching(world) == wanted).float().mean(dim=1) - 1.0


def _leg_phase(world: World, offsets: Vector) -> Tensor:
    """Return frac(gait phase + offset) of each leg, (num_envs, legs)."""
    phase = world.internals["gait_phase"] + torch.as_tensor(offsets)
    return phase.sub_(phase.floor())


def foot_reference(
    world: World,
    *,
    offsets: Vector,
    stance: float,
    frequency: float,
    nominal: Vector,
    height: float,
    still: float,
) -> Tensor:
    """Return the squared distance [m^2] of the feet from a trot that would follow the command, summed.

    In stance a foot moves against the commanded velocity at its place, centred on ``nominal`` (x, y per foot,
    heading frame, about the base); in swing it returns along a half-sine of ``height`` [m] (Raibert 1986, ch. 2).
    """
    place, command = torch.as_tensor(nominal).view(-1, 2), world.command
    speed = torch.addcmul(command[:, None, :2], command[:, 2:, None], place.flip(1) * _QUARTER_TURN)
    phase = _leg_phase(world, offsets)
    swing = (phase - stance).clamp_min_(0.0).div_(1.0 - stance)
    eased = swing - torch.sin(swing * (2.0 * torch.pi)).div_(2.0 * torch.pi)
    moving = _moving(world, still).float().unsqueeze(1)
    # in stance from 1/2 to -1/2, where nothing is eased yet; in swing back
    along = (eased + 0.5 - (phase / stance).clamp_max_(1.0)) * (moving * (stance / frequency))
    foot_w = world.true("foot_position_w").view(world.num_envs, -1, 3)
    relative = foot_w[..., :2] - world.true("base_position_w")[:, None, :2]
    at = rotations.to_heading(heading(world).unsqueeze(1), relative)
    miss = torch.addcmul(at - place, speed, along.unsqueeze(-1), value=-1.0)
    miss_z = foot_w[..., 2] - FOOT_RADIUS - torch.sin(torch.pi * swing) * (height * moving)
    return miss.flatten(1).square().sum(dim=1) + miss_z.square().sum(dim=1)


def foot_slip(world: World) -> Tensor:
    """Return the squared horizontal speed [m^2/s^2] of feet that touch, summed."""
    velocity = world.true("foot_velocity_w").view(world.num_envs, -1, 3)[..., :2]
    return (velocity.square().sum(dim=2) * touching(world)).sum(dim=1)


def fell(world: World) -> Tensor:
    """Return 1 where the episode ends by a termination."""
    return world.terminated.float()


def upright(world: World, *, sensor: str, sharpness: float) -> Tensor:
    """Return ((1 + cos angle) / 2)^sharpness of a joint angle that is zero when upright."""
    return (0.5 * (1.0 + torch.cos(world.true(sensor)[:, 0]))).pow(sharpness)


def squared(world: World, *, sensor: str) -> Tensor:
    """Return the sum of squares of a sensor."""
    return world.true(sensor).square().sum(dim=1)


def effort(world: World) -> Tensor:
    """Return the squared raw action, clipped to what the motors can do."""
    return world.action.clamp(-1.0, 1.0).square().sum(dim=1)
