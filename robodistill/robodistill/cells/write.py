"""A benchmark's results as files: CSV and JSON for programs, Markdown and two plots for each task for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robodistill.cells.page import as_markdown, differences_picture, scores_picture
from robodistill.cells.paired import compare
from robodistill.cells.plot import draw_differences, draw_scores
from robodistill.cells.records import FIGURES
from robodistill.cells.table import Row, by_task
from robodistill.files import write_json, write_text

NAME = "methods"


def write_results(rows: Sequence[Row], folder: Path, about: Mapping[str, Any], against: str = "") -> list[Path]:
    """Write everything into ``folder`` and return the paths.

    ``about`` says how it was measured, ``against`` labels the row that the page compares the others with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"{NAME}.json"
    write_json(data, {"about": dict(about), "rows": [{**vars(row), "seeds": row.seeds} for row in rows]})
    table = folder / f"{NAME}.csv"
    write_text(table, as_csv(rows))
    measured = {task: own for task, own in by_task(rows).items() if any(row.seeds for row in own)}
    compared = {task: found for task, own in measured.items() if (found := compare(own, against))}
    plots = [draw_scores(task, own, folder / scores_picture(task)) for task, own in measured.items()]
    plots += [draw_differences(task, found, folder / differences_picture(task)) for task, found in compared.items()]
    page = folder / f"{NAME}.md"
    write_text(page, as_markdown(rows, about, compared))
    return [page, table, data, *plots]


def as_csv(rows: Sequence[Row]) -> str:
    """Return one line for each task, method and range."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ends = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    writer.writerow(["task", "method", "range", "rank", "mean_rank", "seeds", *ends, "wall_s", "env_steps", "failures"])
    for row in rows:
        for name in row.figures or ("",):
            values = [v for figure in FIGURES for v in row.interval(name, figure)]
            told = [_number(v) for v in (*values, row.wall_s, row.env_steps)]
            ranks = row.rank or "", _number(row.mean_rank)
            writer.writerow([row.task, row.label, name, *ranks, row.seeds, *told, "; ".join(row.reasons)])
    return out.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
