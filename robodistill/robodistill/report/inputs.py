"""Read what the stages of a run left behind; whatever is missing stays empty, and its section says so."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from robodistill.files import read_json
from robodistill.metrics import read_metrics
from robodistill.runs import PROVENANCE
from robodistill_deploy.errors import RobodistillError

Arrays = dict[str, NDArray[Any]]
Line = dict[str, Any]

_STAGE_ORDER = ("teacher", "student")


@dataclass(frozen=True)
class Inputs:
    """Everything that a report is made of; an empty mapping stands for a file that is not there."""

    run: Path
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, list[Line]] = field(default_factory=dict)
    """Stage -> the lines of its ``metrics.jsonl``."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    episodes: Arrays = field(default_factory=dict)
    trajectories: Arrays = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> dict[str, Any]:
        """Return the task's part of the configuration."""
        return mapping(self.config, "task")

    @property
    def commands(self) -> list[str]:
        """Return the names of the command's elements."""
        return [str(name) for name in mapping(self.task, "command").get("elements") or ()]


def mapping(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the mapping at ``data[key][key]...``, empty where there is none."""
    node: Any = data
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return dict(node) if isinstance(node, Mapping) else {}


def control_dt(inputs: Inputs) -> float:
    """Return the control step [s] of what was recorded."""
    stored = inputs.trajectories.get("control_dt")
    if stored is not None:
        return float(np.ravel(stored)[0])
    return float(inputs.evaluation.get("control_dt") or inputs.task.get("control_dt") or 0.02)


def units_of(text: Any) -> list[str]:
    """Return the unit of each element of ``m/s, m/s, rad/s``."""
    return [part.strip() for part in str(text or "").split(",")]


def load_inputs(run: Path) -> Inputs:
    """Read all that a report can show of the run in folder ``run``; a damaged file is a RobodistillError."""
    run = Path(run)
    if not run.is_dir():
        raise RobodistillError(f"report: no run in {run}; name a run folder")
    config = _read_yaml(run / "config.yaml")
    provenance = config.pop(PROVENANCE, None)
    evaluation = run / "evaluation"
    return Inputs(
        run=run,
        summary=_read_mapping(run / "summary.json"),
        config=config,
        provenance=provenance if isinstance(provenance, dict) else {},
        metrics=_read_stages(run),
        evaluation=_with_ranges(evaluation),
        episodes=read_arrays(evaluation / "episodes.npz"),
        trajectories=read_arrays(evaluation / "trajectories.npz"),
        check=_read_mapping(run / "check" / "check.json"),
    )


def _with_ranges(folder: Path) -> dict[str, Any]:
    """Return ``evaluation.json``, with the ranges that were evaluated after it."""
    found, later = _read_mapping(folder / "evaluation.json"), _read_mapping(folder / "ranges.json")
    return {**found, "ranges": {**mapping(found, "ranges"), **later}} if later else found


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of an ``.npz`` by name; none without the file."""
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RobodistillError(f"report: {path} cannot be read ({error}); evaluate again") from error


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    data = read_json(path, "report:")
    if not isinstance(data, dict):
        raise RobodistillError(f"report: {path} is not a mapping; delete it and make it again")
    return data


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise RobodistillError(f"report: {path} is not YAML; restore it") from error
    return data if isinstance(data, dict) else {}


def _read_stages(run: Path) -> dict[str, list[Line]]:
    """Return the log of every stage that has one, teacher and student first; a plain run is a stage itself."""
    paths = {path.parent.name: path for path in sorted(run.glob("*/metrics.jsonl"))}
    if (run / "metrics.jsonl").exists():
        paths[run.name] = run / "metrics.jsonl"
    order = [*(s for s in _STAGE_ORDER if s in paths), *(s for s in paths if s not in _STAGE_ORDER)]
    stages = {name: read_metrics(paths[name]) for name in order}
    return {name: lines for name, lines in stages.items() if lines}
