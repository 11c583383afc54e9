"""Rewards and terms of the DeepMind Control Suite's tasks (Tassa et al. 2018, arXiv 1801.00690), on our worlds.

Each reward lies in 0..1 and is weighted by one over the control step, so that 1000 steps give 0..1000.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robodistill_envs.terms import rewards
from robodistill_envs.world import World


def at_least(value: Tensor, bound: float, margin: float = 0.0, value_at_margin: float = 0.0) -> Tensor:
    """Return 1 where ``value`` >= ``bound``, below it what the suite's linear sigmoid gives.

    That falls in a straight line to ``value_at_margin`` at a distance of ``margin`` and on to 0; without a margin it
    is 0 at once.
    """
    if margin == 0.0:
        return (value >= bound).float()
    return (1.0 - (1.0 - value_at_margin) * (bound - value) / margin).clamp(0.0, 1.0)


def swung_up(world: World, *, sensor: str, within_degrees: float) -> Tensor:
    """Return 1 where a joint that is upright at 0 rad lies within ``within_degrees`` of it."""
    return at_least(torch.cos(world.true(sensor)[:, 0]), math.cos(math.radians(within_degrees)))


def spinning(world: World, *, sensor: str, element: int, speed: float) -> Tensor:
    """Return 1 where a joint turns backwards faster than ``speed`` [rad/s]."""
    return at_least(-world.true(sensor)[:, element], speed)


def walking(world: World, *, sensor: str, speed: float) -> Tensor:
    """Return how upright the torso is, in 0..1, times how near its own forward velocity is to ``speed`` [m/s].

    ``sensor`` is a velocimeter, in the torso's frame; standing still gives half.
    """
    upright = at_least(-rewards.gravity(world)[:, 2], 1.0, margin=2.0)
    return upright * at_least(world.true(sensor)[:, 0], speed, margin=speed, value_at_margin=0.5)


def swing_energy(world: World, *, angle: str, speed: str, unit: float, gravity: str) -> Tensor:
    """Return a pendulum's energy (num_envs, 1) over m g l: -1 hanging at rest, 1 upright at rest (Astrom, Furuta 2000).

    ``unit`` is sqrt(m g l / I) [rad/s] where the parameter ``gravity``, a factor, is 1; mass cancels.
    """
    rate = world.true(speed) / unit
    return 0.5 * rate.square() / world.parameter(gravity) + torch.cos(world.true(angle))


def plane_offset(position: Tensor, *, origin: Tensor | list[float]) -> Tensor:
    """Return x and z (..., 2) of a position [m] (..., 3) about ``origin``."""
    return (position - torch.as_tensor(origin, dtype=position.dtype, device=position.device))[..., ::2]


def log_one_plus(signal: Tensor) -> Tensor:
    """Return log(1 + signal), for forces [N] that span decades."""
    return torch.log1p(signal)


def arcsinh(signal: Tensor) -> Tensor:
    """Return the inverse hyperbolic sine: a logarithm for both signs."""
    return torch.asinh(signal)
