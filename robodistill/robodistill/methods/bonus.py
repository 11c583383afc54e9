"""Dense rewards to learn by where the task's own are sparse; their weight falls to 0, and evaluation never has them."""

from __future__ import annotations

from collections.abc import Mapping

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


def near(
    segment: Segment,
    networks: Mapping[str, nn.Module],
    *,
    group: str,
    element: int,
    target: float,
    width: float,
    power: float = 1.0,
) -> Tensor:
    """Return (T, N) in 0..1: how near one element of a group is to ``target``, 1 - (|x - target| / width)^power.

    All in the group's own scale; 0 from ``width`` on. With a power below 1 there is a cusp at the target: the last
    bit of error costs the most. Of a pendulum's energy, with that of standing still on top as target, it is what one
    swings up by (Astrom, Furuta 2000), and unlike uprightness it pays less the faster the pendulum turns over.
    """
    if not (width > 0.0 and power > 0.0):
        raise RobodistillError(f"bonus: width and power must be above 0, got {width} and {power}")
    away = (_observed(segment, group, element) - target).abs() / width
    return (1.0 - away.pow(power)).clamp_min(0.0)


def _observed(segment: Segment, group: str, element: int) -> Tensor:
    """Return one element (T, N) of a group, as it is before networks normalise it."""
    if group not in segment.obs:
        raise RobodistillError(f"bonus: {unknown('group', group, segment.obs)}")
    observed = segment.obs[group]
    if not 0 <= element < observed.shape[-1]:
        raise RobodistillError(f"bonus: group {group!r} has elements 0..{observed.shape[-1] - 1}, not {element}")
    return observed[..., element]
