"""Dense rewards to learn by where the task's own are sparse; their weight falls to 0, and evaluation never has them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robodistill.segment import Segment
from robodistill_deploy.errors import RobodistillError, unknown


def approach(
    segment: Segment, networks: Mapping[str, nn.Module], *, group: str, element: int, low: float, high: float
) -> Tensor:
    """Return (T, N) in 0..1: how far one element of a group has come on the straight way from ``low`` to ``high``.

    Both are in the group's own scale, and ``high`` may be the lower number. The cosine of an angle from -1 to 1 is
    the uprightness (1 + cos) / 2; a speed from 0 to what a task asks for is the share of it. It is read where a step
    begins, which the step before has led to.
    """
    if low == high:
        raise RobodistillError(f"bonus: low and high must differ, both are {low}")
    return ((_observed(segment, group, element) - low) / (high - low)).clamp(0.0, 1.0)


def swing_energy(
    segment: Segment, networks: Mapping[str, nn.Module], *, group: str, cosine: int, speed: int, unit: float
) -> Tensor:
    """Return (T, N) in 0..1: how near a pendulum's energy is to that of standing still on top (Astrom, Furuta 2000).

    With e = (w / w0)^2 / 2 + cos, 1 upright at rest and -1 hanging, it is 1 - |e - 1| / 2. ``cosine`` and ``speed``
    are elements of a group; ``unit`` is what one of the speed's own scale is of w0 = sqrt(g / l). Unlike uprightness
    alone it has no local optimum in turning over and over.
    """
    cos, turns = _observed(segment, group, cosine), unit * _observed(segment, group, speed)
    return (1.0 - 0.5 * (0.5 * turns.square() + cos - 1.0).abs()).clamp_min(0.0)


def swing_work(
    segment: Segment, networks: Mapping[str, nn.Module], *, group: str, cosine: int, speed: int, unit: float
) -> Tensor:
    """Return (T, N): by how much each step raises ``swing_energy``, so that an action is paid at once.

    It is potential-based (Ng, Harada, Russell 1999) up to the discount, and but for a segment's last step, whose
    successor is not in it, and an episode's last one: those have 0.
    """
    level = swing_energy(segment, networks, group=group, cosine=cosine, speed=speed, unit=unit)
    work = torch.zeros_like(level)
    work[:-1] = (level[1:] - level[:-1]).masked_fill(segment.resets[1:], 0.0)
    return work


def _observed(segment: Segment, group: str, element: int) -> Tensor:
    """Return one element (T, N) of a group, as it is before networks normalise it."""
    if group not in segment.obs:
        raise RobodistillError(f"bonus: {unknown('group', group, segment.obs)}")
    observed = segment.obs[group]
    if not 0 <= element < observed.shape[-1]:
        raise RobodistillError(f"bonus: group {group!r} has elements 0..{observed.shape[-1] - 1}, not {element}")
    return observed[..., element]
