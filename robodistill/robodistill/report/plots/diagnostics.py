"""Plots of the diagnostics: return against error, errors by joint, terms, differences that grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robodistill.report.inputs import mapping
from robodistill.report.plots.base import (
    NEUTRAL,
    PUSH,
    Figure,
    Trace,
    color_of,
    errors,
    faded,
    figure,
    label_of,
    line,
    numbers,
    words,
)
from robodistill.report.plots.curves import Lines, curve_traces

_SCALE = [[0.0, "#e6eff9"], [0.5, "#6aa5e0"], [1.0, "#174a86"]]
RETURN, ERROR = "return of the student", "imitation error, in the teacher's σ"


def golden_figure(lines: Lines, golden: str, proxy: str, window: tuple[float, float] | None) -> Figure | None:
    """Return the student's return (left) and its imitation error (right) over a stage's environment steps.

    ``window`` [environment steps] is shaded: where the two parted.
    """
    returns = curve_traces(lines, golden, RETURN, color_of("student"))
    error = curve_traces(lines, proxy, ERROR, color_of("teacher"))
    if not returns or not error:
        return None
    plot = figure(
        [*returns, *(trace | {"yaxis": "y2"} for trace in error)],
        "environment steps of the stage", "return of an episode", hovermode="x unified", showlegend=True,
    )  # fmt: skip
    largest = max(float(value) for trace in error for value in trace["y"] if value is not None)
    plot["layout"]["yaxis2"] = {
        "title": {"text": "error over σ"}, "overlaying": "y", "side": "right", "showgrid": False,
        "range": [0.0, 1.05 * largest], "tickmode": "auto", "automargin": True,
    }  # fmt: skip
    if window is not None:
        shade = {"type": "rect", "xref": "x", "yref": "paper", "x0": window[0], "x1": window[1], "y0": 0, "y1": 1}
        plot["layout"]["shapes"] = [shade | {"fillcolor": faded(PUSH, 0.15), "line": {"width": 0}}]
    return plot


def interval_bars(found: Mapping[str, Any], y: str, color: str) -> Figure | None:
    """Return a bar for each ``{"mean", "ci95"}`` by name, with whiskers where an interval is known."""
    known = {name: value for name, value in found.items() if mapping(found, name).get("mean") is not None}
    if not known:
        return None
    mean = np.array([value["mean"] for value in known.values()], np.float64)
    ends = np.array([value.get("ci95") or [value["mean"]] * 2 for value in known.values()], np.float64)
    trace: Trace = {
        "type": "bar", "x": [words(name) for name in known], "y": numbers(mean), "marker": {"color": color},
        "error_y": errors(mean, ends[:, 0], ends[:, 1], NEUTRAL), "hovertemplate": "%{x}: %{y:.3g}<extra></extra>",
    }  # fmt: skip
    return figure([trace], "", y)


def term_bars(by_term: Mapping[str, float], x: str) -> Figure | None:
    """Return a horizontal bar for each term, the longest on top."""
    if not by_term:
        return None
    order = sorted(by_term, key=lambda name: by_term[name])
    trace: Trace = {
        "type": "bar", "orientation": "h", "y": [words(name) for name in order],
        "x": numbers(by_term[name] for name in order), "marker": {"color": color_of("student")},
        "hovertemplate": "%{y}: %{x:.3g}<extra></extra>",
    }  # fmt: skip
    return figure([trace], x)


def time_map(time_s: Sequence[float], rows: Mapping[str, Sequence[float]], form: str = ".3g") -> Figure | None:
    """Return a heat map of named rows over time; darker is more."""
    if not rows or not time_s:
        return None
    names = list(rows)[::-1]
    trace: Trace = {
        "type": "heatmap", "x": numbers(time_s), "y": [words(name) for name in names],
        "z": [numbers(rows[name], 3) for name in names], "colorscale": _SCALE, "showscale": True,
        "hovertemplate": f"%{{y}}, %{{x:.1f}} s: %{{z:{form}}}<extra></extra>",
    }  # fmt: skip
    plot = figure([trace], "time in the episode [s]")
    plot["layout"]["yaxis"] |= {"type": "category", "showgrid": False, "zeroline": False}
    return plot


def growth_figure(growth: Mapping[str, Any]) -> Figure | None:
    """Return the rate at which differences grow over time, a line for each policy with its band over worlds."""
    traces: list[Trace] = []
    for policy in growth:
        found = mapping(growth, policy)
        time_s = found.get("time_s") or []
        if not time_s:
            continue
        color, name = color_of(policy), label_of(policy)
        band = {"hoverinfo": "skip", "showlegend": False, "legendgroup": policy}
        traces += [
            line(numbers(time_s), numbers(found["low"]), name, faded(color, 0.0), 0, **band),
            line(
                numbers(time_s), numbers(found["high"]), name, faded(color, 0.0), 0,
                fill="tonexty", fillcolor=faded(color, 0.15), **band,
            ),
            line(
                numbers(time_s), numbers(found["median"]), name, color, legendgroup=policy,
                hovertemplate=f"%{{y:.2f}} 1/s<extra>{name}</extra>",
            ),
        ]  # fmt: skip
    if not traces:
        return None
    plot = figure(traces, "time in the episode [s]", "growth rate [1/s]", hovermode="x unified", showlegend=True)
    plot["layout"]["yaxis"] |= {"zeroline": True}
    return plot
