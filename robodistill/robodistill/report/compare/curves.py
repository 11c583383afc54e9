"""Learning curves of several seeds: one common grid, the mean with its interval, the time to a return."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robodistill.evaluation.statistics import t_half_width
from robodistill.report.inputs import Inputs
from robodistill.report.plots.curves import SMOOTHED, column
from robodistill.report.statistics import smooth

Array = NDArray[np.float64]
Curve = tuple[Array, Array]
"""(x, y), each (n,), x never falling."""

AXES = ("env_steps", "wall_s")
GRID = 200
"""Points of the common grid."""


@dataclass(frozen=True)
class Band:
    """The mean curve of a variant's seeds; its ends are nan for fewer than three."""

    x: Array
    mean: Array
    low: Array
    high: Array


def curve(run: Inputs, stage: str, axis: str) -> Curve | None:
    """Return a stage's training return over ``axis``, smoothed as in a run's own report; None without any.

    The return is that of the episodes which the stage's own policy drove, where the log tells it apart.
    """
    lines = run.metrics.get(stage, [])
    x = column(lines, axis)
    for key in (f"episode/return_{stage}", "episode/return"):
        y = column(lines, key)
        known = np.isfinite(x) & np.isfinite(y)
        if known.any():
            width = max(1, round(SMOOTHED * int(known.sum())))
            return np.maximum.accumulate(x[known]), smooth(y[known], width)
    return None


def on_common_grid(curves: Sequence[Curve], points: int = GRID) -> tuple[Array, Array] | None:
    """Return the grid (points,) where all curves are known, and each curve on it, (S, points), by linear interpolation.

    Nothing is extrapolated: the grid begins where the last curve does and ends where the first one does. None
    when there is no such place.
    """
    if not curves:
        return None
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if not first < last:
        return None
    grid = np.linspace(first, last, points)
    return grid, np.stack([np.interp(grid, x, y) for x, y in curves])


def band(curves: Sequence[Curve], points: int = GRID) -> Band | None:
    """Return the mean over seeds with its 95 % interval at every point, by Student's t."""
    found = on_common_grid(curves, points)
    if found is None:
        return None
    grid, values = found
    mean, half = values.mean(axis=0), t_half_width(values)
    return Band(grid, mean, mean - half, mean + half)


def first_reach(found: Curve, level: float) -> float:
    """Return the x where a curve first reaches ``level``, between its points by a line; inf when it never does."""
    x, y = found
    above = np.flatnonzero(y >= level)
    if not above.size:
        return math.inf
    i = int(above[0])
    if i == 0:
        return float(x[0])
    return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))
