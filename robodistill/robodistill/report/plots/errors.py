"""A tracking error by what was asked for: over one element of the command, or over two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill.report.plots.base import Figure, Trace, color_of, figure, label_of, line, numbers
from robodistill.report.statistics import equal_count_bins, grouped_ratio

_SCALE = [[0.0, "#e6eff9"], [0.5, "#6aa5e0"], [1.0, "#174a86"]]


@dataclass(frozen=True)
class Segments:
    """A metric over every held command of every episode, as sums to divide."""

    top: NDArray[Any]
    """(E, S), or any shape of commands"""
    bottom: NDArray[Any]
    """of the same shape"""
    rooted: bool
    """Whether the metric is the root of the ratio, as an RMSE is."""

    def grouped(self, index: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """Return the metric of each of ``count`` groups of the commands."""
        ratio = grouped_ratio(self.top.ravel(), self.bottom.ravel(), index, count)
        return np.sqrt(ratio) if self.rooted else ratio

    def only(self, held: NDArray[np.bool_]) -> Segments:
        """Return the commands in ``held`` (E, S) alone, in a row."""
        return Segments(self.top[held], self.bottom[held], self.rooted)

    def total(self, held: NDArray[np.bool_]) -> float:
        """Return the metric over the commands in ``held`` (E, S); nan for none."""
        only = self.only(held)
        return float(only.grouped(np.zeros(len(only.top), np.int64), 1)[0])


def moving(command: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which of the commands (E, S, c) ask to move: (E, S)."""
    return np.asarray((np.asarray(command) != 0).any(axis=-1))


def segments_of(
    episodes: Mapping[str, NDArray[Any]], policy: str, metric: str, rooted: bool
) -> Segments | None:
    """Return a policy's sums of a metric per held command; None where they were not kept."""
    top, bottom = (episodes.get(f"{policy}.segment.{metric}.{end}") for end in ("num", "den"))
    return None if top is None or bottom is None else Segments(top, bottom, rooted)


def error_by_command(
    command: NDArray[Any], element: int, by_policy: Mapping[str, Segments], x: str, y: str, bins: int = 8
) -> Figure | None:
    """Return a metric by bins of one element of the held ``command`` (E, S, c), a line for each policy.

    Commands to stand still are left out: they are zero in all elements, and easy.
    """
    kept = moving(command)
    groups = equal_count_bins(np.asarray(command, np.float64)[kept][:, element], bins)
    if groups is None:
        return None
    by_policy = {policy: data.only(kept) for policy, data in by_policy.items()}
    sizes = np.bincount(groups.index, minlength=groups.count)
    told = [f"{n} commands, {label}" for n, label in zip(sizes, groups.labels, strict=True)]
    traces = [
        line(
            numbers(groups.centers), numbers(data.grouped(groups.index, groups.count)),
            label_of(policy), color_of(policy),
            mode="lines+markers", marker={"size": 6}, customdata=told,
            hovertemplate=f"%{{y:.3f}} (%{{customdata}})<extra>{label_of(policy)}</extra>",
        )
        for policy, data in by_policy.items()
    ]  # fmt: skip
    plot = figure(traces, x, y, hovermode="x unified", showlegend=False)
    plot["layout"]["yaxis"] |= {"rangemode": "tozero"}
    return plot


def error_heatmap(
    command: NDArray[Any], pair: tuple[int, int], data: Segments, titles: tuple[str, str], bins: int = 5
) -> Figure | None:
    """Return a metric over two elements of the held commands (E, S, c) that ask to move, told in every cell."""
    kept = moving(command)
    flat, data = np.asarray(command, np.float64)[kept], data.only(kept)
    columns, rows = (equal_count_bins(flat[:, i], bins) for i in pair)
    if columns is None or rows is None:
        return None
    cells = rows.index * columns.count + columns.index
    values = data.grouped(cells, rows.count * columns.count).reshape(rows.count, columns.count)
    below = [label.replace(" to ", "<br>to ") for label in columns.labels]
    trace: Trace = {
        "type": "heatmap", "x": below, "y": rows.labels, "z": [numbers(row, 3) for row in values],
        "colorscale": _SCALE, "showscale": False, "texttemplate": "%{z:.2f}", "xgap": 3, "ygap": 3,
        "hovertemplate": f"{titles[0]}: %{{x}}<br>{titles[1]}: %{{y}}<br>%{{z:.3f}}<extra></extra>",
    }  # fmt: skip
    plot = figure([trace], *titles)
    for name in ("xaxis", "yaxis"):
        plot["layout"][name] |= {"type": "category", "showgrid": False, "zeroline": False, "tickangle": 0}
    return plot
