"""Reasons to end an episode early. ``function(world, **params) -> (num_envs,) bool``."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill_envs import rotations
from robodistill_envs.world import World


def tilt(world: World, *, limit: float) -> Tensor:
    """End when the base leans by more than ``limit`` [rad] from upright."""
    up = -rotations.projected_gravity(world.true("imu_quat_wxyz"))[:, 2]
    return torch.acos(up.clamp(-1.0, 1.0)) > limit


def contact(world: World, *, sensor: str) -> Tensor:
    """End when any body that ``sensor`` watches touches what it must not."""
    return (world.true(sensor) > 0.0).any(dim=1)


def out_of_range(world: World, *, sensor: str, limit: float) -> Tensor:
    """End when a sensor's value leaves +-``limit``."""
    return (world.true(sensor).abs() > limit).any(dim=1)
