"""Curves over training: any key of ``metrics.jsonl`` against environment steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill.report.plots.base import (
    Figure,
    Trace,
    color_of,
    duration,
    faded,
    figure,
    label_of,
    line,
    numbers,
)
from robodistill.report.statistics import smooth, thin

Lines = Sequence[Mapping[str, Any]]

POINTS = 500
"""At most so many points a curve: more than a screen shows."""
SMOOTHED = 0.03
"""Width of the smoothing window, as a share of a run."""


def column(lines: Lines, key: str) -> NDArray[np.float64]:
    """Return a key's value on every line, nan where it is missing or null."""
    values = (line.get(key) for line in lines)
    return np.array([float("nan") if value is None else float(value) for value in values], np.float64)


def keys(lines: Lines, prefix: str = "") -> list[str]:
    """Return the keys with ``prefix`` in order of appearance; those without one finite number are left out."""
    seen = dict.fromkeys(key for entry in lines for key in entry if key.startswith(prefix))
    return [key for key in seen if np.isfinite(column(lines, key)).any()]


def curve_traces(lines: Lines, key: str, name: str, color: str) -> list[Trace]:
    """Return a key against environment steps: bold and smoothed, as measured behind it. Hovering tells wall time."""
    known = [entry for entry, ok in zip(lines, np.isfinite(column(lines, key)), strict=True) if ok]
    if not known:
        return []
    values = column(known, key)
    width = max(1, round(SMOOTHED * len(values)))
    kept = thin(len(values), POINTS)
    steps = numbers(column(known, "env_steps")[kept], 8)
    wall = [duration(seconds) for seconds in column(known, "wall_s")[kept]]
    smoothed = line(
        steps, numbers(smooth(values, width)[kept]), name, color, 2.2, customdata=wall, legendgroup=name,
        hovertemplate=f"%{{y:.4g}} after %{{customdata}}<extra>{name}</extra>",
    )  # fmt: skip
    if width == 1:
        return [smoothed]
    more = {"hoverinfo": "skip", "showlegend": False, "legendgroup": name}
    return [line(steps, numbers(values[kept]), name, faded(color, 0.28), 1, **more), smoothed]


def metric_curves(stages: Mapping[str, Lines], key: str, x: str = "", y: str = "") -> Figure | None:
    """Return one key of every stage that has it against that stage's own environment steps; None without any."""
    return _curves([(lines, key, label_of(stage), color_of(stage)) for stage, lines in stages.items()], x, y)


def key_curves(lines: Lines, named: Mapping[str, tuple[str, str]], x: str = "", y: str = "") -> Figure | None:
    """Return several keys of one stage in one plot: key -> (name, colour)."""
    return _curves([(lines, key, name, color) for key, (name, color) in named.items()], x, y)


def _curves(wanted: Sequence[tuple[Lines, str, str, str]], x: str, y: str) -> Figure | None:
    found = [traces for item in wanted if (traces := curve_traces(*item))]
    traces = [trace for group in found for trace in group]
    if not traces:
        return None
    plot = figure(traces, x, y, hovermode="x unified", showlegend=True)
    shown = visible_range([value for group in found for value in group[-1]["y"] if value is not None])
    if shown is not None:
        plot["layout"]["yaxis"] |= {"range": list(shown)}
    return plot


def visible_range(values: Sequence[float], spike: float = 4.0) -> tuple[float, float] | None:
    """Return the range of all but the outermost 2% of values if these would hide the rest, else None."""
    if len(values) < 20:
        return None
    low, high = (float(v) for v in np.percentile(values, (2, 98)))
    if float(np.ptp(values)) <= spike * (high - low) or high <= low:
        return None
    margin = 0.15 * (high - low)
    return low - margin, high + margin
