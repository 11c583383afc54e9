"""Two policies in the same worlds, episode by episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill.report.plots.base import (
    NEUTRAL,
    Figure,
    Trace,
    color_of,
    faded,
    figure,
    label_of,
    line,
    numbers,
)

Arrays = Mapping[str, NDArray[Any]]

_STYLES = {
    (False, False): ("neither fell", "#2f7fd6", "circle"),
    (False, True): ("only the {policy} fell", "#d6455d", "x"),
    (True, False): ("only the {against} fell", "#e0861f", "diamond"),
    (True, True): ("both fell", NEUTRAL, "square"),
}


def paired_returns(episodes: Arrays, policy: str, against: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return the returns (E,) of ``policy`` and ``against``; None where one is missing or they are no pairs."""
    mine, theirs = episodes.get(f"{policy}.return"), episodes.get(f"{against}.return")
    if mine is None or theirs is None or len(mine) != len(theirs) or not len(mine):
        return None
    return np.asarray(mine, np.float64), np.asarray(theirs, np.float64)


def paired_scatter(episodes: Arrays, policy: str = "student", against: str = "teacher") -> Figure | None:
    """Return one point per episode: a policy's return over another's in the same world, marked by who fell."""
    pair = paired_returns(episodes, policy, against)
    if pair is None:
        return None
    y, x = pair
    none = np.zeros(len(x), bool)
    first, second = (np.asarray(episodes.get(f"{p}.fell", none), bool) for p in (against, policy))
    ends = [float(np.nanmin(pair)), float(np.nanmax(pair))]
    equal = line(ends, ends, "equal", NEUTRAL, 1.5, line={"dash": "dot"}, hoverinfo="skip", showlegend=False)
    traces: list[Trace] = [equal]
    told = f"{label_of(against)} %{{x:.2f}}<br>{label_of(policy)} %{{y:.2f}}"
    hover = f"episode %{{customdata}}<br>{told}<extra></extra>"
    names = {"policy": label_of(policy).lower(), "against": label_of(against).lower()}
    for (one, other), (text, color, symbol) in _STYLES.items():
        picked = np.flatnonzero((first == one) & (second == other))
        if len(picked):
            traces.append({
                "type": "scatter", "mode": "markers", "name": f"{text.format(**names)} ({len(picked)})",
                "x": numbers(x[picked]), "y": numbers(y[picked]), "customdata": picked.tolist(), "hovertemplate": hover,
                "marker": {"color": color, "symbol": symbol, "size": 6, "opacity": 0.6},
            })  # fmt: skip
    return figure(traces, f"{label_of(against)}'s return", f"{label_of(policy)}'s return", showlegend=True)


def difference_histogram(
    episodes: Arrays, policy: str = "student", against: str = "teacher"
) -> Figure | None:
    """Return how the difference of the returns is spread over the episodes."""
    pair = paired_returns(episodes, policy, against)
    if pair is None:
        return None
    difference = pair[0] - pair[1]
    finite = difference[np.isfinite(difference)]
    if not finite.size:
        return None
    counts, edges = np.histogram(finite, bins=min(60, max(10, finite.size // 8)))
    color = color_of(policy)
    bars: Trace = {
        "type": "bar", "x": numbers((edges[:-1] + edges[1:]) / 2), "y": counts.tolist(), "name": "episodes",
        "width": float(edges[1] - edges[0]) * 0.95, "marker": {"color": faded(color, 0.7)},
        "hovertemplate": "%{x:.2f}: %{y} episodes<extra></extra>",
    }  # fmt: skip
    middle = float(np.median(finite))
    title = f"{label_of(policy)}'s return minus {label_of(against).lower()}'s"
    plot = figure([bars], title, "episodes", showlegend=False)
    plot["layout"]["shapes"] = [_vertical(0.0, NEUTRAL, "dot"), _vertical(middle, color, "solid")]
    return plot


def _vertical(x: float, color: str, dash: str) -> dict[str, Any]:
    style = {"color": color, "width": 1.5, "dash": dash}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": style}
