"""A task's rows as pictures: a panel for each range, a line for each row, a dot for each seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robodistill.cells.paired import Differences, without_zero
from robodistill.cells.table import Row, ranges_of
from robodistill.files import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLAIN, MARKED = "#3b6fb6", "#a83f4b"
_MARGIN, _BESIDE = 0.06, 0.5
"""Of the dots' width: what stays empty at the edges, and how far intervals are shown beyond the dots."""
_HOW = "dots: seeds, stroke: their mean, line: its 95 % interval, arrow: it goes on; each panel has its own scale"

Panel = Mapping[str, dict[str, Any]]
"""Label -> {"mean", "ci95", "each"}"""


def draw_scores(task: str, rows: Sequence[Row], path: Path) -> Path:
    """Write what each row scores."""
    panels = {
        name: {row.label: row.figures[name]["score"] for row in rows if name in row.figures} for name in ranges_of(rows)
    }
    words = f"score on {task}: 0 does nothing, 1 is the teacher in the same range\n{_HOW}"
    return _draw(panels, [row.label for row in rows if row.seeds], 1.0, words, path)


def draw_differences(task: str, found: Differences, path: Path) -> Path:
    """Write what each row scores above the one that they are compared with; marked where that is clear."""
    panels = {name: {k: row[name] for k, row in found.by_label.items() if name in row} for name in found.ranges}
    words = f"score on {task} minus that of '{found.to}', seed by seed; red: zero lies outside of the interval\n{_HOW}"
    return _draw(panels, list(found.by_label), 0.0, words, path, mark=without_zero)


def _draw(
    panels: Mapping[str, Panel], labels: Sequence[str], reference: float, words: str, path: Path,
    mark: Callable[[dict[str, Any]], bool] = lambda value: False,
) -> Path:  # fmt: skip
    from matplotlib.figure import Figure

    size = (1.8 + 2.1 * max(2, len(panels)), 1.3 + 0.24 * len(labels))
    drawing = Figure(figsize=size, layout="constrained")
    row = drawing.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for (name, panel), axes in zip(panels.items(), row, strict=True):
        axes.set_title(name, fontsize="medium")
        axes.axvline(reference, color="#999999", linewidth=0.8, linestyle=":", zorder=0)
        _limit(axes, reference, list(panel.values()))
        for at, label in enumerate(labels):
            if label in panel:
                _line(axes, at, panel[label], MARKED if mark(panel[label]) else PLAIN)
        axes.grid(axis="y", color="#eeeeee")
        axes.tick_params(labelsize="small")
    row[0].set_ylim(len(labels) - 0.4, -0.6)
    row[0].set_yticks(range(len(labels)), labels)
    drawing.supxlabel(words, fontsize="small")
    with writing(path):
        drawing.savefig(path, dpi=130)
    return path


def _limit(axes: Axes, reference: float, values: Sequence[Mapping[str, Any]]) -> None:
    """Show all dots, and of intervals what lies within half of the dots' width beside them."""
    dots = [reference, *(x for value in values for x in value["each"].values() if math.isfinite(x))]
    ends = [x for value in values for x in value["ci95"] if math.isfinite(x)]
    low, high = min(dots), max(dots)
    width = high - low if high > low else 1.0
    low, high = max(low - _BESIDE * width, min([low, *ends])), min(high + _BESIDE * width, max([high, *ends]))
    axes.set_xlim(low - _MARGIN * width, high + _MARGIN * width)


def _line(axes: Axes, at: float, value: Mapping[str, Any], color: str) -> None:
    """Draw one row in one panel, with an arrow where its interval goes on beyond the edge."""
    low, high = axes.get_xlim()
    inside = 0.015 * (high - low)
    axes.plot(value["ci95"], [at, at], color=color, linewidth=1.0, alpha=0.5)
    if value["ci95"][0] < low:
        axes.plot(low + inside, at, "<", color=color, markersize=4)
    if value["ci95"][1] > high:
        axes.plot(high - inside, at, ">", color=color, markersize=4)
    axes.plot(list(value["each"].values()), [at] * len(value["each"]), "o", color=color, markersize=2.5)
    axes.plot(value["mean"], at, "|", color=color, markersize=9, markeredgewidth=2.2)
