"""A benchmark's results as a page: for each task a table, a plot, and the differences between its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robodistill.cells.paired import differences
from robodistill.cells.table import Row, by_task, ranges_of
from robodistill.evaluation.statistics import MIN_SEEDS


def as_markdown(rows: Sequence[Row], about: Mapping[str, Any], plots: Mapping[str, str], against: str = "") -> str:
    """Return a page with a table for each task, one row a method; ``plots`` are file names by task.

    ``against`` labels the row that the others are compared with, seed by seed; the first one of a task unless given.
    """
    lines = ["# Methods, measured", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += [
        "",
        f"A cell shows the mean score over training seeds and its 95 % interval (Student's t; none below {MIN_SEEDS} "
        "seeds). The score compares with the teacher on the same worlds of the same range; 0 is doing nothing. Rows "
        "are in the order of their mean rank by return over ranges and seeds, which does not tell apart what lies in "
        "each other's intervals. Wall time is that of one thread beside the other cells, the teacher's included "
        "where a method needs one, and so are env steps.",
    ]
    for task, own in by_task(rows).items():
        lines += ["", f"## {task}", "", *_table(own)]
        if task in plots:
            lines += ["", f"![Scores on {task}]({plots[task]})"]
        lines += ["", *_teachers(own), *_differences(own, against), *_failures(own)]
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    names = ranges_of(rows)
    head = [
        "rank", "mean rank", "method", *(f"score, {name}" for name in names),
        "return, train", "wall time", "env steps", "seeds",
    ]  # fmt: skip
    lines = [_line(head), "|" + "---|" * len(head)]
    for row in rows:
        scores = [_score(*row.interval(name, "score")) for name in names]
        back, _, _ = row.interval("train", "return")
        cells = [
            str(row.rank or "–"), "–" if row.rank is None else f"{row.mean_rank:.1f}", f"`{row.label}`", *scores,
            "–" if math.isnan(back) else f"{back:.4g}", _time(row.wall_s),
            "–" if math.isnan(row.env_steps) else f"{row.env_steps:,.0f}", str(row.seeds),
        ]  # fmt: skip
        lines.append(_line(cells))
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _score(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.3f}" if math.isnan(low) else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _teachers(rows: Sequence[Row]) -> list[str]:
    """Return what the teachers reach, which every score is a share of: a line, or one a row where they differ."""
    told = _teachers_of(rows)
    if len(set(told.values())) > 1:
        head = "Mean return of the teachers, which are not the same: returns and ranks compare, scores do not."
        return [head, "", *(f"- `{row.label}`: {told[row.label]}.{_floor(row)}" for row in rows if row.seeds)]
    return [f"Mean return of the teachers: {told[row.label]}.{_floor(row)}" for row in rows if row.seeds][:1]


def _teachers_of(rows: Sequence[Row]) -> dict[str, str]:
    return {
        row.label: ", ".join(f"{name} {row.interval(name, 'teacher_return')[0]:.4g}" for name in row.figures)
        for row in rows if row.seeds
    }  # fmt: skip


def _floor(row: Row) -> str:
    """Say whose teachers are not good enough for scores to count."""
    if not row.below_floor:
        return ""
    return (
        f" With seeds {', '.join(map(str, row.below_floor))} it is below the task's floor of {row.floor:.4g} in "
        "training's range: these scores compare students of one teacher, and do not say how near they come to what is "
        "possible."
    )


def _differences(rows: Sequence[Row], against: str) -> list[str]:
    """Return a table of differences to one row; nothing where there are too few seeds, or teachers of their own."""
    measured = [row for row in rows if row.seeds >= MIN_SEEDS]
    to = next((row for row in measured if row.label == against), measured[0] if measured else None)
    if to is None or len(measured) < 2 or len(set(_teachers_of(measured).values())) > 1:
        return []
    names = ranges_of([to])
    lines = [
        "", f"### Differences to `{to.label}`", "",
        f"Score of the row minus that of `{to.label}`, seed by seed, with the 95 % interval of the mean; bold where "
        "zero lies outside of it, which chance alone does once in twenty times.", "",
        _line(["method", *names]), "|" + "---|" * (1 + len(names)),
    ]  # fmt: skip
    for label, found in differences(measured, to).items():
        lines.append(_line([f"`{label}`", *(_difference(found.get(name)) for name in names)]))
    return lines


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None or math.isnan(found["ci95"][0]):
        return "–"
    low, high = found["ci95"]
    text = f"{found['mean']:+.3f} ({low:+.3f} to {high:+.3f})"
    return f"**{text}**" if low > 0.0 or high < 0.0 else text


def _failures(rows: Sequence[Row]) -> list[str]:
    lines = [f"- `{row.label}`, {reason}" for row in rows for reason in row.reasons]
    return ["", "Cells without a result:", "", *lines] if lines else []


def _time(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{seconds / 60.0:.1f} min"
