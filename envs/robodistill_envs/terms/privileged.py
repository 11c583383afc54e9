"""Privileged terms: what only a simulator knows. ``function(world, **params) -> (num_envs, elements)``."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill_envs import rotations
from robodistill_envs.terms import rewards
from robodistill_envs.world import World


def truth(world: World, *, sensor: str) -> Tensor:
    """Return a sensor's value without noise, delay or bias."""
    return world.true(sensor)


def parameter(world: World, *, name: str) -> Tensor:
    """Return a drawn physical parameter, mapped from its range to [-1, 1]."""
    return world.normalised_parameter(name)


def base_velocity(world: World) -> Tensor:
    """Return the base's linear velocity [m/s] in its own frame."""
    return rotations.rotate_inverse(world.true("imu_quat_wxyz"), world.true("base_velocity_w"))


def base_height(world: World) -> Tensor:
    """Return the base's height [m] above the floor."""
    return world.true("base_position_w")[:, 2:3]


def push(world: World) -> Tensor:
    """Return the last push [m/s] in the frame of the robot's heading, faded to a thirtieth half a second later."""
    return rotations.to_heading(rewards.heading(world), world.push)


def sin_cos(world: World, *, sensor: str) -> Tensor:
    """Return sin and cos of a true joint angle [rad]."""
    angle = world.true(sensor)
    return torch.cat((torch.sin(angle), torch.cos(angle)), dim=1)


def gravity(world: World) -> Tensor:
    """Return the true gravity direction (num_envs, 3) in the IMU frame."""
    return rewards.gravity(world)
