"""What finished cells gave, in one small file: a benchmark of days goes on from it, on another machine too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from robodistill.cells.plan import Cell
from robodistill.decode import decode
from robodistill.files import read_json, write_json
from robodistill.resume import cpu_kind
from robodistill.runs import RunFolder, provenance

TRAIN = "train"
FIGURES = ("score", "return", "teacher_return")


@dataclass(frozen=True)
class Record:
    """What one finished cell gave."""

    figures: dict[str, dict[str, float | None]]
    """Range -> score, return, teacher_return; None where there is no such number"""
    wall_s: float
    """[s] of training, its teacher's included if it needs one"""
    env_steps: int
    """Environment steps of the same"""
    made: str
    """What it ran on: processor and versions"""
    commit: str = ""
    """The code with which its training began, "+" where files were changed; empty where none is known"""


def read_records(path: Path) -> dict[str, Record]:
    """Return the records of a file by the names of their cells; none where there is no file."""
    if not path.exists():
        return {}
    return {name: decode(Record, fields, f"{path}: {name}") for name, fields in read_json(path, "records").items()}


def write_records(path: Path, records: Mapping[str, Record]) -> None:
    """Replace the file; names are sorted, so that two versions compare line by line."""
    write_json(path, {name: asdict(records[name]) for name in sorted(records)})


def finished(cells: Iterable[Cell], folder: Path) -> dict[str, Record]:
    """Return what the cells with a complete run below ``folder`` gave, by name; they were made here."""
    versions = provenance()["versions"]
    made = ", ".join((cpu_kind(), *(f"{name} {version}" for name, version in versions.items())))
    return {cell.name: _read_cell(cell, folder, made) for cell in cells if cell.done(folder)}


def _read_cell(cell: Cell, folder: Path, made: str) -> Record:
    path = folder / "cells" / cell.name
    summary = read_json(path / "summary.json", "summary")
    evaluation = read_json(path / "evaluation" / "evaluation.json", "evaluation")
    figures = {
        name: {
            "score": found["score"]["student"]["mean"],
            "return": found["policies"]["student"]["return"]["mean"],
            "teacher_return": found["policies"]["teacher"]["return"]["mean"],
        }
        for name, found in {TRAIN: evaluation, **evaluation.get("ranges", {})}.items()
    }
    costs = [summary["training"][who] for who in (("teacher", "student") if cell.needs_teacher else ("student",))]
    wall_s, env_steps = (sum(c[key] for c in costs) for key in ("wall_s", "env_steps"))
    return Record(figures, wall_s, env_steps, made, RunFolder(path).commit())
