"""A pipeline's results: the summary that its run holds, and the table that a terminal shows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robodistill.progress import clock_time
from robodistill.records import StageRecord

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = {"ran": "done", "resumed": "resumed, done", "cached": "done before", "copied": "copied"}


def table(records: Mapping[str, StageRecord]) -> Table:
    """Return the stages with what happened to each and how long it took, for a terminal."""
    from rich.table import Table

    shown = Table("stage", "", box=None, pad_edge=False)
    for name in ("time", "env steps"):
        shown.add_column(name, justify="right")
    for record in records.values():
        steps = f"{record.env_steps:,}" if record.env_steps else ""
        shown.add_row(record.stage, _SHOWN[record.origin], clock_time(record.wall_s), steps)
    total, steps = sum(r.wall_s for r in records.values()), sum(r.env_steps for r in records.values())
    shown.add_row("all", "", clock_time(total), f"{steps:,}" if steps else "")
    return shown


def summarise(values: Mapping[str, Any], done: Mapping[str, StageRecord], verb: str) -> dict[str, Any]:
    """Return the run's summary: totals, then what the stages reported, later ones over earlier ones."""
    task = values.get("task")
    steps = sum(record.env_steps for record in done.values())
    stepping = sum(record.wall_s for record in done.values() if record.env_steps)
    reported: dict[str, Any] = {}
    for record in done.values():
        _merge(reported, record.summary)
    files = {name: Path(path).name for name, path in reported.pop("files", {}).items()}
    reported.pop("env_steps", None)
    return {
        "verb": verb,
        "task": task.get("name") if isinstance(task, Mapping) else task,
        "seed": values.get("seed"),
        "wall_s": sum(record.wall_s for record in done.values()),
        "env_steps": steps,
        "env_steps_per_s": steps / stepping if stepping else 0.0,
        **reported,
        "stages": {n: {"wall_s": r.wall_s, "env_steps": r.env_steps} for n, r in done.items()},
        "files": files,
    }


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)
