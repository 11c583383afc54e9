"""Reasons to end an episode early. ``function(world, **params) -> (num_envs,) bool``."""

from __future__ import annotations

import math

from torch import Tensor

from robodistill_envs.terms.rewards import gravity
from robodistill_envs.world import World


def tilt(world: World, *, limit: float) -> Tensor:
    """End when the base leans by more than ``limit`` [rad] from upright."""
    return -gravity(world)[:, 2] < math.cos(limit)


def contact(world: World, *, sensor: str) -> Tensor:
    """End when any body that ``sensor`` watches touches what it must not."""
    return (world.true(sensor) > 0.0).any(dim=1)


def out_of_range(world: World, *, sensor: str, limit: float) -> Tensor:
    """End when a sensor's value leaves +-``limit``."""
    return (world.true(sensor).abs() > limit).any(dim=1)
