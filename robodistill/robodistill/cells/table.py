"""From finished cells to rows: a method on a task, its scores by range with intervals over seeds, rank and cost."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robodistill.cells.perform import FAILURE
from robodistill.cells.plan import Cell
from robodistill.cells.records import FIGURES, Record
from robodistill.evaluation.statistics import over_seeds
from robodistill.files import read_json

NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Row:
    """A method, or a variant of one, on a task."""

    task: str
    label: str
    cells: dict[int, str]
    """Finished cells: seed -> name"""
    failures: dict[int, str]
    """Seed -> why its cell has no result"""
    figures: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Range -> figure -> {"mean", "ci95"} over seeds, and "each", by seed"""
    wall_s: float = math.nan
    env_steps: float = math.nan
    floor: float = 0.0
    """Return below which a teacher makes scores not count"""
    rank: int | None = None
    """By ``mean_rank``, 1 is the best and equals share one; None without a finished cell"""
    mean_rank: float = math.nan
    """Mean, over ranges and seeds, of its rank by return among the rows that ran with that seed; who failed is last"""

    @property
    def seeds(self) -> int:
        """Return the number of finished cells."""
        return len(self.cells)

    @property
    def below_floor(self) -> list[int]:
        """Return the seeds whose teachers are below the task's floor in training's range."""
        teachers = self.figures.get("train", {}).get("teacher_return", {}).get("each", {})
        return [seed for seed, back in teachers.items() if back < self.floor]

    @property
    def teachers(self) -> str:
        """Return the mean return of the teachers by range, in words."""
        return ", ".join(f"{name} {self.interval(name, 'teacher_return')[0]:.4g}" for name in self.figures)

    @property
    def reasons(self) -> list[str]:
        """Return why cells have no result, in words."""
        return [f"seed {seed}: {reason}" for seed, reason in self.failures.items()]

    def interval(self, name: str, figure: str) -> tuple[float, float, float]:
        """Return a figure's mean over seeds in a range, and the ends of its interval; nan where there is none."""
        found = self.figures.get(name, {}).get(figure, {"mean": math.nan, "ci95": (math.nan, math.nan)})
        low, high = found["ci95"]
        return found["mean"], low, high


def rows_of(cells: Sequence[Cell], records: Mapping[str, Record], folder: Path) -> list[Row]:
    """Return a row for each task and label, ranked within its task, the best first.

    ``records`` are the finished cells by name; why the others have none stands below ``folder``.
    """
    rows: list[Row] = []
    for task in dict.fromkeys(cell.task for cell in cells):
        mine = [cell for cell in cells if cell.task == task]
        found = [
            _row(task, label, [c for c in mine if c.label == label], records, folder)
            for label in dict.fromkeys(cell.label for cell in mine)
        ]
        rows += _ranked(found)
    return rows


def _row(task: str, label: str, cells: Sequence[Cell], records: Mapping[str, Record], folder: Path) -> Row:
    by_seed = {cell.seed: records[cell.name] for cell in cells if cell.name in records}
    measured = list(by_seed.values())
    failures = {cell.seed: _reason(cell, folder) for cell in cells if cell.name not in records}
    if not measured:
        return Row(task, label, {}, failures)
    figures = {
        name: {f: _figure({seed: _value(m.figures[name][f]) for seed, m in by_seed.items()}) for f in FIGURES}
        for name in measured[0].figures
    }
    count = len(measured)
    names = {cell.seed: cell.name for cell in cells if cell.name in records}
    return Row(
        task, label, names, failures, figures,
        sum(m.wall_s for m in measured) / count, sum(m.env_steps for m in measured) / count, cells[0].floor,
    )  # fmt: skip


def _figure(by_seed: dict[int, float]) -> dict[str, Any]:
    return {**over_seeds(list(by_seed.values())), "each": by_seed}


def _value(figure: float | None) -> float:
    return math.nan if figure is None else figure


def _reason(cell: Cell, folder: Path) -> str:
    for path in (folder / "cells" / cell.name / FAILURE, folder / "teachers" / cell.teacher / FAILURE):
        if path.exists():
            return str(read_json(path, "failure")["reason"])
    return NOT_RUN


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Rank rows of one task by mean rank: a mean of scores would be ruled by the range with the weakest teacher."""
    places = _places(rows)
    means = {row.label: sum(places[row.label]) / len(places[row.label]) for row in rows if row.seeds}
    scored = sorted((row for row in rows if row.label in means), key=lambda row: means[row.label])
    others = [row for row in rows if row.label not in means]
    ranks = {label: 1 + sum(other < mean for other in means.values()) for label, mean in means.items()}
    return [replace(row, rank=ranks[row.label], mean_rank=means[row.label]) for row in scored] + others


def _places(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Return the places of each row, one for each range and seed; who failed, or returned no number, is last."""
    places: dict[str, list[float]] = {row.label: [] for row in rows}
    for name in ranges_of(rows):
        for seed in sorted({seed for row in rows for seed in row.cells}):
            back = {row.label: _back(row, name, seed) for row in rows if row.failures.get(seed) != NOT_RUN}
            for label, value in back.items():
                ahead, alike = (sum(how(other, value) for other in back.values()) for how in (operator.gt, operator.eq))
                places[label].append(ahead + 0.5 * (alike + 1))  # who is alike shares the places
    return places


def _back(row: Row, name: str, seed: int) -> float:
    value = row.figures.get(name, {}).get("return", {}).get("each", {}).get(seed, math.nan)
    return value if math.isfinite(value) else -math.inf


def same_teachers(rows: Sequence[Row]) -> bool:
    """Return whether the teachers of the rows returned the same wherever two rows have the same seed."""
    found: dict[tuple[str, int], float] = {}
    for row in rows:
        for name, figures in row.figures.items():
            for seed, back in figures["teacher_return"]["each"].items():
                if not math.isclose(found.setdefault((name, seed), back), back, rel_tol=1e-3):
                    return False
    return True


def in_order(rows: Iterable[Row], labels: Sequence[str]) -> list[Row]:
    """Return the rows, of each task in the order of ``labels``."""
    return [row for own in by_task(rows).values() for row in sorted(own, key=lambda row: labels.index(row.label))]


def ranges_of(rows: Iterable[Row]) -> list[str]:
    """Return the ranges that any of the rows has, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.figures))


def by_task(rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    """Return the rows of each task."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.task, []).append(row)
    return found
