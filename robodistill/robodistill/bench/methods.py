"""How methods compare on equal terms: the same tasks, seeds, teachers and number of environment steps.

  robodistill bench methods tasks=dmc_pendulum,dmc_finger jobs=2 out=runs/compared
  robodistill bench methods tasks=go2_flat methods=ppo_dr,ppo_asym,dagger
  robodistill bench methods tasks=pendulum_swingup variants=benchmarks/ablations/hib.yaml

Keys    tasks=a,b               what to train on
        methods=c,d             what to measure; unless given, all that train a student
        variants=<file.yaml>    methods with some keys changed, name: {method: ..., words: [...]}, a row each, in place
                                of methods=; benchmarks/ablations has some
        seeds=0,1,2             training seeds; three or more give intervals
        steps=2000000           env steps of a cell, teacher and student together; 0 is what the recipe says
        ranges=ood,far          the ranges to evaluate under; unless given, all but those for practice
        jobs=1                  cells at once, each in a process with one thread
        folder=runs/bench_methods    the cells: what is there is not done again, what was interrupted goes on
        records=<file.json>     results of finished cells, which are skipped, also on another machine; unless given,
                                records.json in out=
        against=ppo_dr          the row that the page compares all others with, seed by seed; unless given, the best, or
                                the first of variants=
        out=<folder>            where methods.md, methods.csv, methods.json and plots go; folder= unless given
        commands=true           measure nothing, print a command for each cell: `robodistill pipeline` with the settings
                                that the benchmark gives the method, to train, export and report by hand
Any other word, such as evaluate.episodes=256, is a key of every cell's configuration.

A table is written after each seed. docs/benchmark-methods.md says what is equal, and what is not.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robodistill.cells.perform import cell_job, perform, teacher_job
from robodistill.cells.plan import PIPELINE, Budget, Cell, methods_of, plan
from robodistill.cells.records import Record, finished, read_records, write_records
from robodistill.cells.table import Row, in_order, rows_of
from robodistill.cells.variants import Variant, of_methods, read_variants
from robodistill.cells.write import write_results
from robodistill.config import FOLDER_KEY, groups
from robodistill_deploy.errors import RobodistillError, unknown


@dataclass(frozen=True)
class Settings:
    """``robodistill bench methods``."""

    tasks: tuple[str, ...]
    methods: tuple[str, ...] = ()
    """Empty: every method of the tree that trains a student."""
    variants: str = ""
    """A YAML file of methods with some of their keys changed, in place of ``methods``."""
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 0
    """Environment steps of a cell; 0 is what the recipe gives teacher and student together."""
    ranges: tuple[str, ...] | None = None
    """Ranges to evaluate under beside the task's own; None is all that it has, but for those made to practise in."""
    jobs: int = 1
    """Cells at once, each on one thread."""
    folder: str = "runs/bench_methods"
    """Where the cells are kept."""
    out: str = ""
    """Where tables and plots go; empty: into ``folder``."""
    records: str = ""
    """A file of what finished cells gave: what it holds is not measured again; empty: ``records.json`` in ``out``.

    To measure a cell again, delete its record and its run.
    """
    against: str = ""
    """Label of the row that the page compares the others with, seed by seed; empty: the first one of each task."""
    commands: bool = False
    """Print the command of each cell instead of running it."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.jobs < 1 or self.steps < 0:
            raise RobodistillError("jobs must be at least 1, steps at least 0")
        if self.methods and self.variants:
            raise RobodistillError("methods= and variants= exclude each other; leave one out")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise RobodistillError(f"seeds must differ, and be at least one, got {list(self.seeds)}")


def variants_of(settings: Settings, words: Sequence[str]) -> dict[str, Variant]:
    """Return what to measure on each task, by its name in the table; an unknown task or method is an error."""
    own = [word.partition("=")[2] for word in words if word.startswith(f"{FOLDER_KEY}=")]
    there = groups(own[-1] if own else None)
    for task in settings.tasks:
        if task not in there["task"]:
            raise RobodistillError(f"bench methods: {unknown('task', task, there['task'])}")
    known = there["method"]
    if settings.variants:
        found = read_variants(Path(settings.variants))
        methods_of([variant.method for variant in found.values()], known)
    else:
        found = of_methods(methods_of(settings.methods, known))
    if settings.against and settings.against not in found:
        raise RobodistillError(f"bench methods: against: {unknown('row', settings.against, found)}")
    return found


def cells_of(settings: Settings, words: Sequence[str], variants: Mapping[str, Variant]) -> list[Cell]:
    """Return all cells, seed by seed: a table of few comes early. Nothing has run when a value is refused."""
    budgets = {
        name: Budget(settings.steps, settings.ranges, (*words, *variant.words)) for name, variant in variants.items()
    }
    planned = [
        plan(variant.method, task, settings.seeds, budgets[name], name)
        for task in settings.tasks for name, variant in variants.items()
    ]  # fmt: skip
    return [cell for of_a_seed in zip(*planned, strict=True) for cell in of_a_seed]


def command_of(cell: Cell) -> str:
    """Return the command that trains as a cell does, and then exports, checks and reports as any run does."""
    words = [word for word in cell.words if word != PIPELINE]
    label = re.sub(r"\W+", "_", cell.label, flags=re.ASCII)
    run = f"run={cell.task}_{label}_seed{cell.seed}_{cell.digest}"
    return shlex.join(["robodistill", "pipeline", run, *words, "threads=1"])


def measure_words(words: Sequence[str], settings: Settings, say: Callable[[str], None]) -> None:
    """Run what is missing, cell by cell, then write the tables; ``words`` are keys of every cell's configuration."""
    variants, folder = variants_of(settings, words), Path(settings.folder)
    cells = cells_of(settings, words, variants)
    if settings.commands:
        sys.stdout.writelines(f"{command_of(cell)}\n" for cell in cells)
        return
    out = Path(settings.out or folder)
    kept = Path(settings.records or out / "records.json")
    # two variants may come to one and the same cell
    distinct = {cell.name: cell for cell in cells}.values()
    records = _noted(kept, finished(distinct, folder))
    missing = [cell for cell in distinct if cell.name not in records]
    say(f"{len(distinct)} cells, {len(distinct) - len(missing)} of them done before, {settings.jobs} at a time")
    rows, paths = list[Row](), list[Path]()
    for seed in settings.seeds:  # a table after each seed: hours lie between them
        _run([cell for cell in missing if cell.seed == seed], settings, say)
        records = _noted(kept, finished(distinct, folder))
        rows = rows_of(cells, records, folder)
        if settings.variants:  # the file's order has a meaning, such as 1, 5, 25 and 50 steps
            rows = in_order(rows, list(variants))
        used = [records[cell.name] for cell in distinct if cell.name in records]
        paths = write_results(rows, out, _about(settings, words, variants, used), settings.against)
    for row in rows:
        told = "  ".join(f"{name} {row.interval(name, 'score')[0]:.3f}" for name in row.figures)
        say(f"{row.task:<20} {row.rank or '-':>3} {row.label:<16} {told or 'no result'}")
    for path in paths:
        say(str(path))
    failed = sum(len(row.failures) for row in rows)
    if failed:
        raise RobodistillError(f"bench methods: results missing: {failed}; {out / 'methods.md'} says why")


def _noted(path: Path, found: Mapping[str, Record]) -> dict[str, Record]:
    """Add ``found`` to the records in a file, which other calls may have added to, and return them all."""
    there = read_records(path)
    records = {**there, **found}
    if records != there:
        write_records(path, records)
    return records


def _run(cells: Sequence[Cell], settings: Settings, say: Callable[[str], None]) -> None:
    """Train what these cells need: their teachers, each once, then the cells whose teacher is there."""
    folder = Path(settings.folder)
    teachers = {cell.teacher: teacher_job(cell, folder) for cell in cells}
    broken = {job.folder for job in perform(list(teachers.values()), settings.jobs, say)}
    ready = [cell for cell in cells if folder / "teachers" / cell.teacher not in broken]
    perform([cell_job(cell, folder) for cell in ready], settings.jobs, say)


def _about(
    settings: Settings, words: Sequence[str], variants: Mapping[str, Variant], used: Sequence[Record]
) -> dict[str, Any]:
    changed = {name: v for name, v in variants.items() if v != Variant(name)}
    return {
        "seeds": ", ".join(map(str, settings.seeds)),
        "env steps of a cell": f"{settings.steps:,}" if settings.steps else "as the recipe and the other keys say",
        "other keys": " ".join(words) or "none",
        **{f"`{name}`": " ".join(f"`{word}`" for word in (v.method, *v.words)) for name, v in changed.items()},
        "measured on": "; ".join(sorted({record.made for record in used})) or "nothing yet",
    }
