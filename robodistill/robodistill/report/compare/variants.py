"""Which runs to compare, and which of them are the same but for the seed: a variant."""

from __future__ import annotations

import glob
import itertools
import os
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robodistill.dependencies import FREE
from robodistill.report.inputs import Inputs, load_inputs, mapping
from robodistill.runs import RunFolder, flatten
from robodistill_deploy.errors import RobodistillError, unknown

IGNORED = (*FREE, "seed")
"""Keys, with all below them, that make no variant of their own."""
MAX_KEYS = 3
"""Variants that differ in more keys than these are named by their runs."""
ABSENT = "–"
STAGES = ("teacher", "student")


@dataclass(frozen=True)
class Variant:
    """Runs that differ in nothing but their seed."""

    name: str
    settings: dict[str, str]
    """The keys that differ between the variants, with this one's values as text."""
    runs: tuple[Inputs, ...]
    """In order of their seeds."""

    @property
    def evaluated(self) -> tuple[Inputs, ...]:
        """Return the runs whose teacher and student were evaluated."""
        return tuple(run for run in self.runs if is_evaluated(run))

    def trained(self, stage: str) -> tuple[Inputs, ...]:
        """Return the runs that finished ``stage``."""
        return tuple(run for run in self.runs if is_finished(run, stage))


def letter(index: int) -> str:
    """Return the short name of the variant at ``index``."""
    letters = string.ascii_uppercase
    return letters[index] if index < len(letters) else str(index + 1)


def seed_of(run: Inputs) -> int:
    """Return the seed that a run was trained with."""
    return int(run.config.get("seed") or 0)


def is_finished(run: Inputs, stage: str) -> bool:
    """Return whether a stage of training came to its end, as the run's summary counts it."""
    return stage in mapping(run.summary, "stages") and bool(run.metrics.get(stage))


def is_evaluated(run: Inputs) -> bool:
    """Return whether the evaluation has the policies that every table needs."""
    return all(mapping(run.evaluation, "policies", name, "return") for name in STAGES)


def left_out(run: Inputs) -> str:
    """Return what a run lacks, in words; nothing for a whole one."""
    open_stages = [stage for stage in STAGES if not is_finished(run, stage)]
    if open_stages:
        return f"partial, {open_stages[0]} is not finished"
    return "" if is_evaluated(run) else "not evaluated"


def find_runs(words: Sequence[str], runs_dir: Path) -> list[Path]:
    """Return the run folders that ``words`` name, each once: names or patterns below ``runs_dir``, or paths.

    A word that finds nothing is an error, and so is fewer than two runs.
    """
    found: dict[Path, None] = {}
    for word in words:
        pattern = word if os.sep in word else str(runs_dir / word)
        hits = [Path(hit) for hit in sorted(glob.glob(pattern), key=_natural) if RunFolder(hit).config_path.exists()]
        if not hits:
            raise RobodistillError(unknown(f"run in {runs_dir}", word, _names(runs_dir)))
        found |= dict.fromkeys(hits)
    names = [path.name for path in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RobodistillError(
            f"report compare: two runs are called {twice[0]!r}, which the page could not tell apart; rename one"
        )
    if len(found) < 2:
        raise RobodistillError(
            f"report compare needs at least two runs, got {', '.join(p.name for p in found) or 'none'}; "
            "name more, or use a pattern such as 'demo_*'"
        )
    return list(found)


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``run_2`` before ``run_10``."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]


def _names(runs_dir: Path) -> list[str]:
    return [path.parent.name for path in runs_dir.glob("*/config.yaml")]


def load_variants(folders: Iterable[Path]) -> list[Variant]:
    """Read the runs and group them; runs of different tasks are an error."""
    runs = [load_inputs(folder) for folder in folders]
    tasks = {str(run.task.get("name")): run.run.name for run in runs}
    if len(tasks) > 1:
        what = ", ".join(f"{name} is of {task}" for task, name in tasks.items())
        raise RobodistillError(f"report compare: {what}; compare runs of one task")
    return group(runs)


def group(runs: Sequence[Inputs]) -> list[Variant]:
    """Return the variants in order of their first run."""
    groups: dict[str, list[Inputs]] = {}
    for run in runs:
        groups.setdefault(repr(sorted(settings(run).items())), []).append(run)
    parts = [part for members in groups.values() for part in _apart(members)]
    differing = _differing([settings(part[0]) for part in parts])
    names = _names_of(parts, differing)
    return [
        Variant(name, values, tuple(sorted(part, key=seed_of)))
        for name, values, part in zip(names, differing, parts, strict=True)
    ]


def settings(run: Inputs) -> dict[str, Any]:
    """Return the configuration by dotted key, without what makes no variant; lists of named things go by name."""
    flat = flatten(_by_name(run.config))
    return {key: value for key, value in flat.items() if not _is_below(key, IGNORED)}


def _is_below(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _by_name(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _by_name(item) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(v, Mapping) and "name" in v for v in value):
        return {str(item["name"]): _by_name(item) for item in value}
    return value


def _apart(members: list[Inputs]) -> list[list[Inputs]]:
    """Split runs of one configuration that hold a seed twice: by the code that made them, else one by one."""
    if _seeds_differ(members):
        return [members]
    by_code: dict[str, list[Inputs]] = {}
    for run in members:
        by_code.setdefault(repr(run.provenance.get("git")), []).append(run)
    parts = list(by_code.values())
    return parts if all(map(_seeds_differ, parts)) else [[run] for run in members]


def _seeds_differ(runs: list[Inputs]) -> bool:
    return len({seed_of(run) for run in runs}) == len(runs)


def _differing(every: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return for each variant the keys that are not the same in all, with its own values as text."""
    keys = list(dict.fromkeys(key for one in every for key in one))
    missing = object()
    wanted = [key for key in keys if len({repr(one.get(key, missing)) for one in every}) > 1]
    return [{key: _text(one[key]) if key in one else ABSENT for key in wanted} for one in every]


def _text(value: Any) -> str:
    """Return a value as a reader wants it; of ``package.module:Class`` the class."""
    text = str(value)
    head, colon, tail = text.rpartition(":")
    return tail if colon and tail.isidentifier() and "." in head and " " not in head else text


def _stem(names: list[str]) -> str:
    """Return how several names begin, without the number that comes next: ``demo`` of ``demo_0`` and ``demo_1``."""
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same).rstrip("_-.0123456789")


def _names_of(parts: list[list[Inputs]], differing: list[dict[str, str]]) -> list[str]:
    """Name variants by the keys that differ, or, when these are many or tell nothing apart, by their runs."""
    by_keys = [", ".join(f"{key}={value}" for key, value in values.items()) for values in differing]
    few = 0 < len(differing[0]) <= MAX_KEYS
    if few and len(set(by_keys)) == len(parts):
        return by_keys
    stems = [_stem([run.run.name for run in part]) for part in parts]
    firsts = [part[0].run.name for part in parts]
    for names in (stems, firsts):
        if all(names) and len(set(names)) == len(parts):
            return names
    return [str(part[0].run) for part in parts]
