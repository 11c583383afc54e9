"""Differences between rows, seed by seed: what teachers and worlds do to both is not in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robodistill.cells.table import Row, same_teachers
from robodistill.evaluation.statistics import MIN_SEEDS, over_seeds


@dataclass(frozen=True)
class Differences:
    """What each other row scores above one, with the same seeds."""

    to: str
    """Label of the row that the others are compared with"""
    ranges: list[str]
    by_label: dict[str, dict[str, dict[str, Any]]]
    """Label -> range -> {"mean", "ci95"} over seeds, and "each", by seed"""


def without_zero(difference: dict[str, Any]) -> bool:
    """Return whether zero lies outside of the interval; never where there is none."""
    low, high = difference["ci95"]
    return bool(low > 0.0 or high < 0.0)


def compare(rows: Sequence[Row], against: str = "") -> Differences | None:
    """Compare the rows of one task with the one labelled ``against``; empty is the first with seeds enough.

    None where that row or all others have too few seeds, or where teachers differ.
    """
    measured = [row for row in rows if row.seeds >= MIN_SEEDS]
    to = next((row for row in measured if against in ("", row.label)), None)
    others = [row for row in measured if row is not to]
    if to is None or not others or not same_teachers(measured):
        return None
    return Differences(to.label, list(to.figures), {row.label: _of_ranges(row, to) for row in others})


def _of_ranges(row: Row, to: Row) -> dict[str, dict[str, Any]]:
    each = {name: _each(row, to, name) for name in to.figures}
    return {name: {**over_seeds(list(found.values())), "each": found} for name, found in each.items() if found}


def _each(row: Row, to: Row, name: str) -> dict[int, float]:
    ours, theirs = (r.figures.get(name, {}).get("score", {}).get("each", {}) for r in (row, to))
    both = {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}
    return {seed: difference for seed, difference in both.items() if math.isfinite(difference)}
