"""Stage records: what a stage of a pipeline left behind, as JSON beside its results."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robodistill.files import WriteError, finite_or_none, read_json, write_json, writing
from robodistill.runs import RunFolder
from robodistill_deploy.errors import RobodistillError

_PATH = "$path"


@dataclass
class StageRecord:
    """The state of one stage of one run, as ``stage.json`` holds it."""

    stage: str
    hash: str
    status: str = "partial"
    """partial or complete"""
    wall_s: float = 0.0
    """[s] of all sessions together"""
    outputs: dict[str, Any] = field(default_factory=dict)
    """JSON values and Paths by name."""
    digests: dict[str, str] = field(default_factory=dict)
    """File that it gives to the run's own folder, by name -> SHA-256 when it was made."""
    origin: str = "ran"
    """What happened in this session: ran, resumed, cached (done before) or copied (from another run)."""

    @property
    def summary(self) -> dict[str, Any]:
        """Return what the stage adds to the run's summary."""
        return self.outputs.get("summary") or {}

    @property
    def env_steps(self) -> int:
        """Return the environment steps that the stage reported."""
        return int(self.summary.get("env_steps", 0))

    def whole(self) -> bool:
        """Return whether the stage ended and every file it named is still there."""
        return self.status == "complete" and all(path.exists() for path in _paths(self.outputs))

    def within(self, folder: Path) -> bool:
        """Return whether every file it named lies in ``folder``, so that the folder can be copied alone."""
        return all(path.is_relative_to(folder) for path in _paths(self.outputs))

    def finish(self, outputs: Mapping[str, Any], run: RunFolder) -> None:
        """Take a stage's outputs in the form a later session will read them back in."""
        try:
            text = json.dumps(_pack(finite_or_none(_with_paths(outputs)), run.path))
        except TypeError as error:
            raise RobodistillError(
                f"stage {self.stage!r}: an output is no JSON value or Path: {error}"
            ) from error
        self.outputs = _unpack(json.loads(text), run.path)
        for path in _paths(self.outputs):
            if not path.exists():
                raise RobodistillError(f"stage {self.stage!r}: its output {path} was not written")
        self.digests = {path.name: _sha256(path) for path in self.files}

    @property
    def files(self) -> list[Path]:
        """Return the files that it gives to the run's own folder."""
        return [Path(path) for path in self.summary.get("files", {}).values()]

    def verified(self, path: Path) -> Path:
        """Return ``path``, one of ``files``; refuse it when it is no longer what the stage made."""
        if self.digests.get(path.name, "") not in ("", _sha256(path)):
            raise RobodistillError(
                f"{path} was damaged or changed since stage {self.stage!r} made it; "
                f"restore it, or delete {path.parent} to make it again"
            )
        return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_record(record: StageRecord, run: RunFolder) -> None:
    """Write ``stage.json`` in one step."""
    fields = {"stage": record.stage, "hash": record.hash, "status": record.status, "wall_s": record.wall_s}
    outputs = _pack(record.outputs, run.path)
    write_json(
        run.stage(record.stage).path / "stage.json", {**fields, "outputs": outputs, "digests": record.digests}
    )


def read_record(run: RunFolder, stage: str) -> StageRecord | None:
    """Return the record of a stage of ``run``; None when it never began."""
    path = run.stage(stage).path / "stage.json"
    if not path.exists():
        return None
    data = read_json(path, "stage record")
    try:
        outputs = _unpack(data["outputs"], run.path)
        digests = data.get("digests", {})
        return StageRecord(
            data["stage"], data["hash"], data["status"], float(data["wall_s"]), outputs, digests, "cached"
        )
    except (KeyError, TypeError) as error:
        raise RobodistillError(
            f"stage record {path}: is not one of this version; delete {path.parent}"
        ) from error


def copy_stage(source: RunFolder, target: RunFolder, stage: str) -> None:
    """Copy a stage's folder from one run to another, whole or not at all."""
    final = target.stage(stage).path
    aside = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    with writing(final):
        shutil.copytree(source.stage(stage).path, aside)
        shutil.rmtree(final, ignore_errors=True)  # what was killed before it had a record
        os.rename(aside, final)


@contextmanager
def recorded(record: StageRecord, run: RunFolder) -> Iterator[None]:
    """Keep the record on disk around a stage's work, with the time spent even when the work is interrupted."""
    start, before = time.monotonic(), record.wall_s
    write_record(record, run)

    def spent() -> float:
        return round(before + time.monotonic() - start, 3)

    try:
        yield
    except BaseException:
        record.wall_s = spent()
        with suppress(WriteError):  # what stopped the work says more than that the disk is still full
            write_record(record, run)
        raise
    record.wall_s = spent()
    write_record(record, run)


def _with_paths(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Make Paths of the summary's files, which may be given as text."""
    summary = outputs.get("summary")
    if not isinstance(summary, Mapping) or "files" not in summary:
        return dict(outputs)
    files = {name: Path(file) for name, file in summary["files"].items()}
    return {**outputs, "summary": {**summary, "files": files}}


def _pack(value: Any, root: Path) -> Any:
    """Write paths relative to the run, so that its folder may move."""
    if isinstance(value, Path):
        inside = value.resolve().is_relative_to(root.resolve())
        return {_PATH: os.path.relpath(value, root) if inside else str(value.resolve())}
    if isinstance(value, Mapping):
        return {str(key): _pack(item, root) for key, item in value.items()}
    return [_pack(item, root) for item in value] if isinstance(value, (list, tuple)) else value


def _unpack(value: Any, root: Path) -> Any:
    if isinstance(value, dict):
        if set(value) == {_PATH}:
            return root / value[_PATH]
        return {key: _unpack(item, root) for key, item in value.items()}
    return [_unpack(item, root) for item in value] if isinstance(value, list) else value


def _paths(value: Any) -> list[Path]:
    if isinstance(value, Path):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [path for item in items for path in _paths(item)]
