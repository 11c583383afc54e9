"""A benchmark's results as a page: for each task a table, a plot, and the differences between its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robodistill.cells.paired import Differences, without_zero
from robodistill.cells.table import Row, by_task, ranges_of, same_teachers
from robodistill.evaluation.statistics import MIN_SEEDS


def scores_picture(task: str) -> str:
    """Return the file name of the picture of a task's scores."""
    return f"methods_{task}.png"


def differences_picture(task: str) -> str:
    """Return the file name of the picture of the differences between a task's rows."""
    return f"methods_{task}_differences.png"


def as_markdown(rows: Sequence[Row], about: Mapping[str, Any], compared: Mapping[str, Differences]) -> str:
    """Return a page with a table for each task, one row a method; ``compared`` are differences by task."""
    lines = ["# Methods, measured", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += [
        "",
        f"A cell shows the mean score over training seeds and its 95 % interval (Student's t; none below {MIN_SEEDS} "
        "seeds). The score compares with the teacher on the same worlds of the same range; 0 is doing nothing. The "
        "rank goes by the mean rank by return over ranges and seeds, which does not tell apart what lies in each "
        "other's intervals. All seeds are evaluated on the same worlds, so intervals hold what training does, not the "
        "choice of those. Wall time is that of one thread beside the other cells, the teacher's included where a "
        "method needs one, and so are env steps.",
    ]
    lines += _overview(by_task(rows))
    for task, own in by_task(rows).items():
        lines += ["", f"## {task}", "", *_table(own)]
        if any(row.seeds for row in own):
            lines += ["", f"![Scores on {task}]({scores_picture(task)})"]
        lines += ["", *_teachers(own)]
        if task in compared:
            lines += [*_differences(compared[task]), "", f"![Differences on {task}]({differences_picture(task)})"]
        lines += _failures(own)
    return "\n".join(lines).rstrip() + "\n"


def _overview(tasks: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return a table of mean scores over all tasks; nothing for one task, or where scores do not compare."""
    if len(tasks) < 2 or not all(map(same_teachers, tasks.values())):
        return []
    columns = [(task, name) for task, rows in tasks.items() for name in ranges_of(rows)]
    lines = [
        "", "## All tasks", "", "Mean scores; their intervals are in the tables below.", "",
        _line(["method", *(f"{task}, {name}" for task, name in columns)]), "|" + "---|" * (1 + len(columns)),
    ]  # fmt: skip
    rows = {(row.label, task): row for task, own in tasks.items() for row in own}
    for label in dict.fromkeys(label for label, _ in rows):
        found = ((rows.get((label, task)), name) for task, name in columns)
        means = (row.interval(name, "score")[0] if row else math.nan for row, name in found)
        lines.append(_line([f"`{label}`", *(_score(mean, math.nan, math.nan) for mean in means)]))
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    names = ranges_of(rows)
    head = [
        "method", *(f"score, {name}" for name in names), "return, train", "wall time", "env steps", "seeds",
        "rank", "mean rank",
    ]  # fmt: skip
    lines = [_line(head), "|" + "---|" * len(head)]
    for row in rows:
        scores = [_score(*row.interval(name, "score")) for name in names]
        back, _, _ = row.interval("train", "return")
        cells = [
            f"`{row.label}`", *scores, "–" if math.isnan(back) else f"{back:.4g}", _time(row.wall_s),
            "–" if math.isnan(row.env_steps) else f"{row.env_steps:,.0f}", str(row.seeds),
            str(row.rank or "–"), "–" if row.rank is None else f"{row.mean_rank:.1f}",
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
    measured = [row for row in rows if row.seeds]
    if not same_teachers(measured):
        head = "Mean return of the teachers, which are not the same: returns and ranks compare, scores do not."
        return [head, "", *(f"- `{row.label}`: {row.teachers}.{_floor(row)}" for row in measured)]
    return [f"Mean return of the teachers: {row.teachers}.{_floor(row)}" for row in measured][:1]


def _floor(row: Row) -> str:
    """Say whose teachers are not good enough for scores to count."""
    if not row.below_floor:
        return ""
    return (
        f" With seeds {', '.join(map(str, row.below_floor))} it is below the task's floor of {row.floor:.4g} in "
        "training's range: these scores compare students of one teacher, and do not say how near they come to what is "
        "possible."
    )


def _differences(found: Differences) -> list[str]:
    """Return a table of differences to one row."""
    shown = [cell for row in found.by_label.values() for cell in row.values() if math.isfinite(cell["ci95"][0])]
    lines = [
        "", f"### Differences to `{found.to}`", "",
        f"Score of the row minus that of `{found.to}`, seed by seed, with the 95 % interval of the mean; bold where "
        f"zero lies outside of it: {sum(map(without_zero, shown))} of {len(shown)}. Chance alone would make about "
        f"{0.05 * len(shown):.1f} bold if nothing differed from `{found.to}`.", "",
        _line(["method", *found.ranges]), "|" + "---|" * (1 + len(found.ranges)),
    ]  # fmt: skip
    for label, row in found.by_label.items():
        lines.append(_line([f"`{label}`", *(_difference(row.get(name)) for name in found.ranges)]))
    return lines


def _difference(found: dict[str, Any] | None) -> str:
    if found is None or math.isnan(found["ci95"][0]):
        return "–"
    low, high = found["ci95"]
    text = f"{found['mean']:+.3f} ({low:+.3f} to {high:+.3f})"
    return f"**{text}**" if without_zero(found) else text


def _failures(rows: Sequence[Row]) -> list[str]:
    lines = [f"- `{row.label}`, {reason}" for row in rows for reason in row.reasons]
    return ["", "Cells without a result:", "", *lines] if lines else []


def _time(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{seconds / 60.0:.1f} min"
