"""A task's scores as a picture: a line for each method, a colour for each range, a dot for each seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from robodistill.cells.table import Row, ranges_of
from robodistill.files import writing

_COLORS = ("#3b6fb6", "#d98324", "#a83f4b", "#5d8a4a", "#7a5ea6", "#6b6b6b")
_MARGIN = 0.05
"""Of the width, beyond the outermost dot."""


def draw_scores(task: str, rows: Sequence[Row], path: Path) -> Path:
    """Write the picture. Intervals end at its edge where they are wider than all that was measured."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.seeds]
    names = ranges_of(shown)
    drawing = Figure(figsize=(7.0, 1.4 + 0.45 * len(shown)), layout="constrained")
    axes = drawing.subplots()
    apart = min(0.18, 0.5 / len(names))  # a method's ranges stay closer to each other than to the next method's
    for k, name in enumerate(names):
        color = _COLORS[k % len(_COLORS)]
        for i, row in enumerate(shown):
            score = row.figures.get(name, {}).get("score", {"mean": math.nan, "ci95": (math.nan,) * 2, "each": {}})
            at = i + apart * (k - 0.5 * (len(names) - 1))
            axes.plot(score["ci95"], [at, at], color=color, linewidth=1.0, alpha=0.45)
            axes.plot(list(score["each"].values()), [at] * len(score["each"]), "o", color=color, markersize=2.2)
            axes.plot(score["mean"], at, "|", color=color, markersize=9, markeredgewidth=2.2, label="" if i else name)
    scores = [found["score"]["each"].values() for row in shown for found in row.figures.values()]
    each = [value for of_a_range in scores for value in of_a_range if math.isfinite(value)]
    low, high = min([1.0, *each]), max([1.0, *each])
    axes.set_xlim(low - _MARGIN * (high - low), high + _MARGIN * (high - low))
    axes.axvline(1.0, color="#999999", linewidth=0.8, linestyle=":", zorder=0)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)), [row.label for row in shown])
    axes.set_xlabel(f"score on {task}: 0 does nothing, 1 is the teacher in the same range\n"
                    "dots: seeds, stroke: their mean, line: its 95 % interval", fontsize="small")  # fmt: skip
    axes.legend(frameon=False, fontsize="small", ncols=len(names), loc="lower left", bbox_to_anchor=(0.0, 1.0))
    with writing(path):
        drawing.savefig(path, dpi=130)
    return path
