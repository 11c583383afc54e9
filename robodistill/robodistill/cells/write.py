"""A benchmark's results as files: CSV and JSON for programs, Markdown and a plot for each task for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robodistill.cells.plot import draw_scores
from robodistill.cells.records import FIGURES
from robodistill.cells.table import Row, by_task, ranges_of
from robodistill.evaluation.statistics import MIN_SEEDS
from robodistill.files import write_json, write_text

NAME = "methods"


def write_results(rows: Sequence[Row], folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write everything into ``folder`` and return the paths; ``about`` says how it was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"{NAME}.json"
    write_json(data, {"about": dict(about), "rows": [{**vars(row), "seeds": row.seeds} for row in rows]})
    table = folder / f"{NAME}.csv"
    write_text(table, as_csv(rows))
    plots = [draw_scores(task, own, folder / f"{NAME}_{task}.png") for task, own in by_task(rows).items() if _any(own)]
    page = folder / f"{NAME}.md"
    write_text(page, as_markdown(rows, about))
    return [page, table, data, *plots]


def _any(rows: Sequence[Row]) -> bool:
    return any(row.seeds for row in rows)


def as_csv(rows: Sequence[Row]) -> str:
    """Return one line for each task, method and range."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ends = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    writer.writerow(["task", "method", "range", "rank", "mean_rank", "seeds", *ends, "wall_s", "env_steps", "failures"])
    for row in rows:
        for name, figures in row.figures.items() or [("", {})]:
            values = [v for figure in FIGURES for v in _triple(figures.get(figure))]
            told = [_number(v) for v in (*values, row.wall_s, row.env_steps)]
            ranks = row.rank or "", _number(row.mean_rank)
            writer.writerow([row.task, row.label, name, *ranks, row.seeds, *told, "; ".join(_reasons(row))])
    return out.getvalue()


def _reasons(row: Row) -> list[str]:
    return [f"seed {seed}: {reason}" for seed, reason in row.failures.items()]


def _triple(figure: Mapping[str, Any] | None) -> tuple[float, float, float]:
    if not figure:
        return math.nan, math.nan, math.nan
    low, high = figure["ci95"]
    return figure["mean"], low, high


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def as_markdown(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """Return a page with a table for each task, one row a method."""
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
        if _any(own):
            lines += ["", f"![Scores on {task}]({NAME}_{task}.png)"]
        lines += ["", *_teachers(own), *_failures(own)]
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    names = ranges_of(rows)
    head = [
        "rank", "mean rank", "method", *(f"score, {name}" for name in names),
        "return, train", "wall time", "env steps", "seeds",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        scores = [_score(row.figures.get(name, {}).get("score")) for name in names]
        back = row.mean("train", "return")
        cells = [
            str(row.rank or "–"), "–" if row.rank is None else f"{row.mean_rank:.1f}", f"`{row.label}`", *scores,
            "–" if math.isnan(back) else f"{back:.4g}", _time(row.wall_s),
            "–" if math.isnan(row.env_steps) else f"{row.env_steps:,.0f}", str(row.seeds),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _score(figure: Mapping[str, Any] | None) -> str:
    mean, low, high = _triple(figure)
    if math.isnan(mean):
        return "–"
    return f"{mean:.3f}" if math.isnan(low) else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _time(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{seconds / 60.0:.1f} min"


def _teachers(rows: Sequence[Row]) -> list[str]:
    """Return what the teachers reach, which every score is a share of: a line, or one a row where they differ."""
    told = {
        row.label: ", ".join(f"{name} {row.mean(name, 'teacher_return'):.4g}" for name in row.figures)
        for row in rows if row.seeds
    }  # fmt: skip
    if len(set(told.values())) > 1:
        head = "Mean return of the teachers, which are not the same: returns and ranks compare, scores do not."
        return [head, "", *(f"- `{row.label}`: {told[row.label]}.{_floor(row)}" for row in rows if row.seeds)]
    return [f"Mean return of the teachers: {told[row.label]}.{_floor(row)}" for row in rows if row.seeds][:1]


def _floor(row: Row) -> str:
    """Say whose teachers are not good enough for scores to count."""
    if not row.below_floor:
        return ""
    return (
        f" With seeds {', '.join(map(str, row.below_floor))} it is below the task's floor of {row.floor:.4g} in "
        "training's range: these scores compare students of one teacher, and do not say how near they come to what is "
        "possible."
    )


def _failures(rows: Sequence[Row]) -> list[str]:
    lines = [f"- `{row.label}`, {reason}" for row in rows for reason in _reasons(row)]
    return ["", "Cells without a result:", "", *lines] if lines else []
