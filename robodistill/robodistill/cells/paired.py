"""Differences between rows, seed by seed: what teachers and worlds do to both is not in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robodistill.cells.table import Row
from robodistill.evaluation.statistics import Interval, over_seeds


def differences(rows: Sequence[Row], to: Row) -> dict[str, dict[str, Interval]]:
    """Return, by label and range, each other row's score minus that of ``to``: mean and 95 % interval over seeds."""
    return {
        row.label: {name: over_seeds(found) for name in to.figures if (found := _each(row, to, name))}
        for row in rows if row is not to and row.seeds
    }  # fmt: skip


def _each(row: Row, to: Row, name: str) -> list[float]:
    ours, theirs = (r.figures.get(name, {}).get("score", {}).get("each", {}) for r in (row, to))
    both = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    return [difference for difference in both if math.isfinite(difference)]
