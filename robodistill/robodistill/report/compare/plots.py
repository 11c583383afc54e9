"""Plots of a comparison: figures with intervals for each variant, learning curves with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robodistill.evaluation.statistics import MIN_SEEDS
from robodistill.report.compare.curves import Band, Curve, curve
from robodistill.report.compare.figures import Comparison, Spread
from robodistill.report.compare.variants import is_finished
from robodistill.report.plots.base import (
    COLORS,
    NEUTRAL,
    OTHERS,
    Figure,
    Trace,
    axis,
    duration,
    errors,
    faded,
    figure,
    line,
    numbers,
)
from robodistill.report.plots.curves import POINTS
from robodistill.report.statistics import thin
from robodistill.report.verdicts import Estimate

PALETTE = (COLORS["student"], COLORS["teacher"], COLORS["onnx"], *OTHERS)
_TIMES = ((7200.0, 3600.0, "h"), (600.0, 60.0, "min"), (0.0, 1.0, "s"))
"""From so many seconds on -> seconds in one -> unit"""


def color_at(index: int) -> str:
    """Return the colour of the variant at ``index``."""
    return PALETTE[index % len(PALETTE)]


def learning_curves(found: Comparison, stage: str, over: str) -> Figure | None:
    """Return a stage's training return of all variants over ``env_steps`` or ``wall_s``; None without any."""
    curves = [[(run, curve(run, stage, over)) for run in each.variant.runs] for each in found.variants]
    ends = [float(one[0][-1]) for each in curves for _, one in each if one is not None]
    if not ends:
        return None
    size, unit = (1.0, "") if over == "env_steps" else _time_unit(max(ends))
    traces: list[Trace] = []
    for index, (each, own) in enumerate(zip(found.variants, curves, strict=True)):
        done = len(each.variant.trained(stage))
        alone = [(r, c) for r, c in own if c is not None and (done < MIN_SEEDS or not is_finished(r, stage))]
        traces += [_seed_line(c, r.run.name, each.variant.name, color_at(index), size) for r, c in alone]
        mean = each.bands[stage].get(over)
        if mean is not None:
            traces += _band_lines(mean, each.variant.name, color_at(index), size, over)
    title = f"wall time of the stage [{unit}]" if unit else "environment steps of the stage"
    return figure(traces, title, "return of an episode", hovermode="x unified", showlegend=False)


def _time_unit(longest: float) -> tuple[float, str]:
    return next((size, unit) for least, size, unit in _TIMES if longest >= least)


def _seed_line(found: Curve, run: str, variant: str, color: str, size: float) -> Trace:
    x, y = found
    kept = thin(len(x), POINTS)
    more = {"hoverinfo": "skip", "legendgroup": variant}
    return line(numbers(x[kept] / size, 8), numbers(y[kept]), run, faded(color, 0.35), 1, **more)


def _band_lines(found: Band, name: str, color: str, size: float, over: str) -> list[Trace]:
    """Return the mean, above its band where there is one."""
    x = numbers(found.x / size, 8)
    at = [duration(v) if over == "wall_s" else f"{v:,.0f} steps" for v in found.x]
    mean = line(x, numbers(found.mean), name, color, 2.4, legendgroup=name, customdata=at,
                hovertemplate=f"%{{y:.4g}} after %{{customdata}}<extra>{name}</extra>")  # fmt: skip
    if not np.isfinite(found.low).any():
        return [mean]
    more = {"hoverinfo": "skip", "legendgroup": name, "line": {"width": 0}}
    low = line(x, numbers(found.low), name, color, **more)
    high = line(x, numbers(found.high), name, color, **more, fill="tonexty", fillcolor=faded(color, 0.16))
    return [low, high, mean]


def spread_figure(labels: Sequence[str], values: Mapping[int, Spread], x: str) -> Figure | None:
    """Return one figure of all variants, a row each: mean and interval, and a small dot for each run.

    ``labels`` are those of all variants; ``values`` goes by the index among them.
    """
    if not values:
        return None
    rows = [labels[index] for index in values]
    colors = [color_at(index) for index in values]
    traces: list[Trace] = []
    for row, color, value in zip(range(len(rows)), colors, values.values(), strict=True):
        if len(value.values) > 1:
            traces.append(_dots(row, value, color))
        traces.append(_point(row, value.estimate, color))
    plot = figure(traces, x, showlegend=False)
    plot["layout"]["yaxis"] = _rows(rows)
    return plot


def difference_figure(rows: Sequence[tuple[str, Estimate, str]], x: str) -> Figure | None:
    """Return differences with their intervals against zero: (what, difference, colour) a row."""
    if not rows:
        return None
    plot = figure([_point(row, value, color) for row, (_, value, color) in enumerate(rows)], x, showlegend=False)
    style = {"color": NEUTRAL, "width": 1.5, "dash": "dot"}
    plot["layout"]["shapes"] = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "line": style}
    ]
    plot["layout"]["yaxis"] = _rows([name for name, _, _ in rows])
    return plot


def _rows(names: Sequence[str]) -> dict[str, object]:
    """Return an axis of names from top to bottom."""
    ticks = {"tickvals": list(range(len(names))), "ticktext": list(names), "range": [len(names) - 0.5, -0.5]}
    return axis("", **ticks, showgrid=False, zeroline=False)


def _dots(row: int, value: Spread, color: str) -> Trace:
    return {
        "type": "scatter", "mode": "markers", "text": list(value.values), "x": numbers(value.values.values()),
        "y": [row + 0.22] * len(value.values), "marker": {"color": color, "size": 6, "opacity": 0.55},
        "hovertemplate": "%{text}: %{x:.4g}<extra></extra>",
    }  # fmt: skip


def _point(row: int, value: Estimate, color: str) -> Trace:
    told = f"{value.text} ({value.interval})" if value.interval else value.text
    trace: Trace = {
        "type": "scatter", "mode": "markers", "x": numbers([value.mean]), "y": [row],
        "marker": {"color": color, "size": 10}, "hovertemplate": f"{told}<extra></extra>",
    }  # fmt: skip
    if value.interval:
        mean, low, high = (np.array([v]) for v in (value.mean, value.low, value.high))
        trace["error_x"] = errors(mean, low, high, color)
    return trace
