"""Run folders: where a run keeps what it did, and why a second one never overwrites it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import yaml

from robodistill.files import read_json, write_json, write_text
from robodistill_deploy.errors import RobodistillError

Status = Literal["new", "partial", "complete"]

PROVENANCE = "provenance"
"""The key of ``config.yaml`` under which the state of the code stands; no part of the configuration."""


class RunFolder:
    """One folder of results; a pipeline's run holds one for each stage.

    In it: ``config.yaml``, ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/``, ``summary.json``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def config_path(self) -> Path:
        """Return where the resolved configuration stands."""
        return self.path / "config.yaml"

    @property
    def summary_path(self) -> Path:
        """Return where the results stand."""
        return self.path / "summary.json"

    @property
    def metrics_path(self) -> Path:
        """Return where the log of figures stands, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard_path(self) -> Path:
        """Return the folder of tensorboard's event files."""
        return self.path / "tensorboard"

    def checkpoint(self, name: str) -> Path:
        """Return the folder of the checkpoint called ``name``: ``last``, ``previous`` (the one before) or ``best``."""
        return self.path / "checkpoints" / name

    def stage(self, name: str) -> RunFolder:
        """Return the folder of a stage of this run."""
        return RunFolder(self.path / name)

    @property
    def status(self) -> Status:
        """Return ``new`` before ``prepare``, ``complete`` once the summary is, else ``partial``."""
        if self.summary_path.exists() and self.summary().get("status") == "complete":
            return "complete"
        return "partial" if self.config_path.exists() else "new"

    def prepare(self, config: Mapping[str, Any], free: Iterable[str] = ()) -> Status:
        """Take the folder for a run of ``config``, writing it when new; return what stands there.

        A run made with another configuration is a RobodistillError that says what differs. Keys in ``free``
        (dotted, with everything below them) may differ: they change how a run is shown, not what it does.
        """
        if not self.config_path.exists():
            self.write_config(config)
            return "new"
        differing = differences(self.config(), plain(config), tuple(free))
        if differing:
            raise another_configuration(f"run {self.path}", differing)
        return self.status

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.yaml``, with the state of the code, in one step."""
        text = yaml.safe_dump({PROVENANCE: provenance(), **plain(config)}, sort_keys=False)
        write_text(self.config_path, text)

    def config(self) -> dict[str, Any]:
        """Return the configuration that the run was made with."""
        return {key: value for key, value in self._written().items() if key != PROVENANCE}

    def commit(self) -> str:
        """Return the commit that made the run, "+" behind it where files were changed; empty where none is known."""
        git = (self._written().get(PROVENANCE) or {}).get("git") or {}
        return f"{git.get('commit') or ''}{'+' if git.get('changed') else ''}"

    def _written(self) -> dict[str, Any]:
        try:
            data = yaml.safe_load(self.config_path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise RobodistillError(f"run {self.path}: no readable config.yaml; name a run folder") from error
        if not isinstance(data, dict):
            raise RobodistillError(f"run {self.path}: config.yaml is not a mapping; restore it")
        return data

    def summary(self) -> dict[str, Any]:
        """Return the results written so far; a run without any is a RobodistillError."""
        data = read_json(self.summary_path, "summary")
        if not isinstance(data, dict):
            raise RobodistillError(f"summary {self.summary_path}: is not a mapping; delete it and run again")
        return data

    def write_summary(
        self, values: Mapping[str, Any], status: Literal["partial", "complete"] = "complete"
    ) -> None:
        """Write the results in one step; once ``complete``, later calls report them instead of resuming."""
        write_json(self.summary_path, {"status": status, **values})


def another_configuration(what: str, differing: Sequence[str], hint: str = "") -> RobodistillError:
    """Return the error for results that another configuration made; ``differing`` as from ``differences``."""
    more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
    return RobodistillError(
        f"{what} was made with another configuration: {'; '.join(differing[:3])}{more}; "
        f"choose another name with run=<name>{hint}, or delete the folder"
    )


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` with tuples as lists and keys as text, as YAML will give it back."""

    def convert(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): convert(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [convert(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return convert(config)


def differences(there: Mapping[str, Any], here: Mapping[str, Any], free: tuple[str, ...] = ()) -> list[str]:
    """Return one phrase for each key whose value in a run's configuration differs from the wanted one."""
    old, new = flatten(there), flatten(here)
    found: list[str] = []
    for key in sorted({*old, *new}):
        if any(key == name or key.startswith(name + ".") for name in free):
            continue
        was, now = (repr(side[key]) if key in side else "absent" for side in (old, new))
        if was != now:
            found.append(f"{key} is {was} there, {now} here")
    return found


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree's leaves by dotted key; an empty mapping is a leaf."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def provenance() -> dict[str, Any]:
    """Return what the code and the machine were: versions, and the git state when run from a clone."""
    versions: dict[str, str] = {}
    for name in ("robodistill", "torch", "mujoco", "mjbatch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "git": git_state(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": versions,
    }


@lru_cache(maxsize=1)  # of the code as it was loaded, not of edits since
def git_state() -> dict[str, Any] | None:
    """Return the commit this code stands at and whether files were changed since; None outside a clone."""
    here = Path(__file__)
    # An installed copy inside somebody's repository is not of that repository: only tracked code counts.
    if shutil.which("git") is None or _git(here, "ls-files", "--error-unmatch", here.name) is None:
        return None
    changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _git(here, "rev-parse", "HEAD"), "changed": bool(changed)}


def _git(here: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(here.parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
