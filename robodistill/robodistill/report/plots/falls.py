"""Falls by what was randomised, one parameter at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill.evaluation.statistics import wilson
from robodistill.report.plots.base import (
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
from robodistill.report.statistics import Array, Bins, equal_count_bins

MAX_ELEMENTS = 3
"""A parameter with more elements is shown as their mean."""


@dataclass(frozen=True)
class Factor:
    """A number per episode that results may depend on."""

    name: str
    unit: str
    values: NDArray[np.float64]
    """(E,)"""


def factors(episodes: Mapping[str, NDArray[Any]], units: Mapping[str, str]) -> list[Factor]:
    """Return what was randomised, element by element; what did not vary is left out."""
    found: list[Factor] = []
    for key, table in episodes.items():
        if not key.startswith("parameter."):
            continue
        name = key.removeprefix("parameter.")
        data = np.asarray(table, np.float64).reshape(len(table), -1)
        unit, count = units.get(name, ""), data.shape[1]
        if count > MAX_ELEMENTS:
            found.append(Factor(f"{words(name)}, mean of {count}", unit, data.mean(axis=1)))
        elif count > 1:
            found += [Factor(f"{words(name)} {'xyz'[i]}", unit, data[:, i]) for i in range(count)]
        else:
            found.append(Factor(words(name), unit, data[:, 0]))
    return [factor for factor in found if equal_count_bins(factor.values, 2) is not None]


def falls_by(factor: Factor, fallen: Mapping[str, NDArray[Any]], bins: int = 6) -> Figure | None:
    """Return the share of episodes that ended in a fall by bins of a factor, with Wilson 95% intervals.

    ``fallen`` is policy -> (E,) bool. Bins hold equally many episodes.
    """
    groups = equal_count_bins(factor.values, bins)
    if groups is None:
        return None
    traces = [_falls_trace(policy, fell, groups, i) for i, (policy, fell) in enumerate(fallen.items())]
    unit = "" if factor.unit == "1" else factor.unit
    plot = figure(traces, unit, "", hovermode="x unified", showlegend=False)
    plot["layout"]["yaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    return plot


def _falls_trace(policy: str, fell: NDArray[Any], bins: Bins, place: int) -> Trace:
    fell = np.asarray(fell, bool)
    counts = [(int(fell[bins.index == b].sum()), int((bins.index == b).sum())) for b in range(bins.count)]
    share, low, high = (np.array(values) for values in zip(*(wilson(*c) for c in counts), strict=True))
    text = [f"{k} of {n} episodes, {label}" for (k, n), label in zip(counts, bins.labels, strict=True)]
    return _binned_line(policy, bins, place, share, (low, high), text, "%{y:.1%}")


def _binned_line(
    policy: str,
    bins: Bins,
    place: int,
    middle: Array,
    interval: tuple[Array, Array],
    text: list[str],
    form: str,
) -> Trace:
    """Return a line through the bins with whiskers; ``place`` moves it aside, lest whiskers hide each other."""
    shift = (place - 0.5) * 0.012 * np.ptp(bins.edges)
    color, name = color_of(policy), label_of(policy)
    return line(
        numbers(bins.centers + shift), numbers(middle), name, color, 1.6, mode="lines+markers", customdata=text,
        error_y=errors(middle, *interval, faded(color, 0.75)), marker={"size": 6},
        hovertemplate=f"{form} (%{{customdata}})<extra>{name}</extra>",
    )  # fmt: skip


def return_by(factor: Factor, returns: Mapping[str, NDArray[Any]], bins: int = 6) -> Figure | None:
    """Return the mean return by bins of a factor, with normal 95% intervals; ``returns`` is policy -> (E,)."""
    groups = equal_count_bins(factor.values, bins)
    if groups is None:
        return None
    traces = [_return_trace(policy, values, groups, i) for i, (policy, values) in enumerate(returns.items())]
    return figure(
        traces, "" if factor.unit == "1" else factor.unit, "", hovermode="x unified", showlegend=False
    )


def _return_trace(policy: str, values: NDArray[Any], bins: Bins, place: int) -> Trace:
    cells = [np.asarray(values, np.float64)[bins.index == b] for b in range(bins.count)]
    mean = np.array([cell.mean() for cell in cells])
    half = np.array(
        [1.96 * cell.std(ddof=1) / np.sqrt(len(cell)) if len(cell) > 1 else np.nan for cell in cells]
    )
    return _binned_line(policy, bins, place, mean, (mean - half, mean + half), bins.labels, "%{y:.3g}")
