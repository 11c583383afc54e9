"""Differences between two variants: world by world on the same evaluation, and seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill.evaluation import statistics
from robodistill.report.compare.variants import Variant, seed_of, settings
from robodistill.report.inputs import Inputs
from robodistill.report.verdicts import figure_of, metric_names

Array = NDArray[np.float64]
RESAMPLES = 1000
_ROUNDING = 1e-12
"""Smaller differences, as a share of the figures, are zero: one teacher that two variants share does not differ."""
_HARMLESS = ("task.teacher_floor", "task.targets")
"""Keys of a task that change neither its worlds nor what is measured in them."""


@dataclass(frozen=True)
class Quantity:
    """One figure of one policy."""

    policy: str
    name: str
    """``return``, ``score`` or a metric"""


@dataclass(frozen=True)
class Difference:
    """A figure of one variant minus the same figure of another."""

    quantity: Quantity
    unit: str
    episodes: statistics.Interval | None
    """Over evaluation episodes, paired world by world: sure of these very policies."""
    seeds: statistics.Interval | None
    """Over training seeds, paired seed by seed: sure of the method. None for fewer than three in common."""


@dataclass(frozen=True)
class Pair:
    """Two variants, the second minus the first."""

    base: str
    other: str
    shared_seeds: tuple[int, ...]
    refused: str = ""
    """Why there are no pairs; empty when there are."""
    differences: tuple[Difference, ...] = field(default=())


def quantities(runs: Sequence[Inputs]) -> list[Quantity]:
    """Return what is compared: both returns, the student's score and metrics."""
    names = dict.fromkeys(name for run in runs for name in metric_names(run))
    returns = [Quantity("student", "return"), Quantity("teacher", "return")]
    return [Quantity("student", "score"), *returns, *(Quantity("student", name) for name in names)]


def compare_pair(base: Variant, other: Variant) -> Pair:
    """Return ``other`` minus ``base`` in every quantity, or why that makes no pairs."""
    mine, theirs = base.evaluated, other.evaluated
    seeds = tuple(sorted({seed_of(r) for r in mine} & {seed_of(r) for r in theirs}))
    refused = why_no_pairs(mine, theirs)
    if refused:
        return Pair(base.name, other.name, seeds, refused)
    if seeds:
        mine, theirs = (tuple(r for r in runs if seed_of(r) in seeds) for runs in (mine, theirs))
    found = (_difference(mine, theirs, each, bool(seeds)) for each in quantities((*mine, *theirs)))
    return Pair(base.name, other.name, seeds, "", tuple(d for d in found if d is not None))


def why_no_pairs(mine: Sequence[Inputs], theirs: Sequence[Inputs]) -> str:
    """Return why episodes of two variants are not pairs; nothing when they are."""
    if not mine or not theirs:
        return "one of them has no evaluated run"
    runs = (*mine, *theirs)
    for key, name in (("seed", "evaluation seeds"), ("episodes", "numbers of episodes")):
        values = {run.evaluation.get(key) for run in runs}
        if len(values) > 1:
            return f"the {name} differ ({', '.join(map(str, sorted(values, key=str)))})"
    tasks = [{k: v for k, v in settings(run).items() if _shapes_figures(k)} for run in runs]
    for key in dict.fromkeys(key for task in tasks for key in task):
        if len({repr(task.get(key)) for task in tasks}) > 1:
            return f"the tasks differ ({key})" if key.startswith("task.") else f"{key} differs"
    if not all("student.return" in run.episodes for run in runs):
        return "episodes.npz is missing; evaluate again"
    same = all(_same_worlds(runs[0].episodes, run.episodes) for run in runs[1:])
    return "" if same else "the worlds drawn for the evaluation differ; evaluate again with one version"


def _shapes_figures(key: str) -> bool:
    return key == "evaluate.settle_s" or (key.startswith("task.") and not key.startswith(_HARMLESS))


def _same_worlds(first: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two evaluations drew the same parameters in the same order."""
    drawn = [key for key in {*first, *other} if key.startswith("parameter.")]
    counted = len(first["student.return"]) == len(other["student.return"])
    return counted and all(k in first and k in other and np.array_equal(first[k], other[k]) for k in drawn)


def _difference(
    mine: Sequence[Inputs], theirs: Sequence[Inputs], what: Quantity, by_seed: bool
) -> Difference | None:
    figures = [[figure_of(run, what.policy, what.name) for run in runs] for runs in (mine, theirs)]
    units = [value.unit for side in figures for value in side if value is not None]
    columns = [[columns_of(run, what) for run in runs] for runs in (mine, theirs)]
    before, after = ([c for c in side if c is not None] for side in columns)
    whole = len(before) == len(mine) and len(after) == len(theirs)
    episodes = paired_episodes(before, after, RESAMPLES) if whole else None
    means = [[value.mean for value in side if value is not None] for side in figures]
    complete = by_seed and len(means[0]) == len(means[1]) == len(mine) >= statistics.MIN_SEEDS
    seeds = statistics.over_seeds(np.subtract(means[1], means[0])) if complete else None
    if episodes is None and seeds is None:
        return None
    return Difference(what, units[0] if units else "", episodes, seeds)


Columns = tuple[Callable[..., Any], tuple[Array, ...]]
"""A statistic and the (E,) arrays that it is of."""


def paired_episodes(
    before: Sequence[Columns], after: Sequence[Columns], resamples: int
) -> statistics.Interval:
    """Return mean over ``after``'s seeds minus that over ``before``'s, worlds drawn anew with all that drove in them.

    Each side has a statistic and its (E,) columns for every seed, all in the same order of worlds.
    """
    flat = [column for side in (before, after) for _, columns in side for column in columns]

    def total(*data: Array) -> Array:
        left = iter(data)
        old, new = (
            np.mean([how(*islice(left, len(columns))) for how, columns in side], axis=0) for side in (before, after)
        )
        rounding = _ROUNDING * (np.abs(old) + np.abs(new))
        return np.where(np.abs(new - old) <= rounding, 0.0, new - old)

    return statistics.bootstrap(total, flat, resamples)


def columns_of(run: Inputs, what: Quantity) -> Columns | None:
    """Return the statistic behind a figure and the run's (E,) arrays that it is of; None where they were not kept."""
    if what.name == "return":
        return _kept(run, statistics.mean, f"{what.policy}.return")
    if what.name == "score":
        return _kept(run, statistics.score, f"{what.policy}.return", "teacher.return", "zero_action.return")
    if what.name == "falls_per_minute":
        found = _kept(run, statistics.ratio, f"{what.policy}.fell", f"{what.policy}.length")
        minutes = float(run.evaluation.get("control_dt") or 0.0) / 60.0
        return (found[0], (found[1][0], found[1][1] * minutes)) if found and minutes else None
    reduce = _reduction(run, what.name)
    sums = f"{what.policy}.sum.{what.name}"
    if reduce == "max":
        return _kept(run, statistics.mean, f"{sums}.num")
    return _kept(run, getattr(statistics, reduce), f"{sums}.num", f"{sums}.den") if reduce else None


def _reduction(run: Inputs, name: str) -> str:
    wanted = name.removesuffix("_unsettled")
    metrics = (m for m in run.task.get("metrics") or () if isinstance(m, dict))
    return next((str(m.get("reduce") or "") for m in metrics if m.get("name") == wanted), "")


def _kept(run: Inputs, how: Callable[..., Any], *names: str) -> Columns | None:
    if any(name not in run.episodes for name in names):
        return None
    return how, tuple(np.asarray(run.episodes[name], np.float64) for name in names)
