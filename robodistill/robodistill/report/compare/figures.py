"""All figures of a comparison: computed once, shown by the page and the terminal, kept as ``compare.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robodistill.evaluation.statistics import MIN_SEEDS, over_seeds
from robodistill.report.compare.curves import AXES, Band, band, curve, first_reach
from robodistill.report.compare.pairs import Pair, compare_pair
from robodistill.report.compare.variants import STAGES, Variant, left_out, load_variants
from robodistill.report.inputs import Inputs
from robodistill.report.verdicts import Estimate, figure_of, metric_names
from robodistill_deploy.errors import RobodistillError

MAX_ALL_PAIRS = 4
"""With more variants than these, each is compared with the first one, and the best with the next."""


@dataclass(frozen=True)
class Spread:
    """One figure of a variant."""

    estimate: Estimate
    """Mean over the runs, with an interval"""
    over: Literal["seeds", "episodes", ""]
    """What the interval is over; empty for none."""
    values: dict[str, float]
    """Run -> its own figure"""


@dataclass(frozen=True)
class Reach:
    """What it took until the training return first came to a level."""

    reached: int
    runs: int
    """How many finished the stage."""
    cost: dict[str, Spread]
    """``env_steps`` and ``wall_s`` of the stage; empty unless every run came there."""


@dataclass(frozen=True)
class VariantFigures:
    """Everything that is known of one variant."""

    variant: Variant
    score: Spread | None
    returns: dict[str, Spread]
    """Policy -> return"""
    metrics: dict[str, Spread]
    """The student's, by metric"""
    training: dict[str, Spread]
    """``env_steps`` and ``wall_s`` of teacher and student together"""
    reach: dict[str, Reach]
    bands: dict[str, dict[str, Band]]
    """Stage -> axis -> mean curve of the runs that finished the stage"""


@dataclass(frozen=True)
class Comparison:
    """Variants of one task, and their differences."""

    task: str
    level: float | None
    """Return that ``reach`` is about"""
    variants: tuple[VariantFigures, ...]
    pairs: tuple[Pair, ...]
    left_out: dict[str, str]
    """Run -> what it lacks"""

    @property
    def runs(self) -> list[Inputs]:
        """Return all runs, variant by variant."""
        return [run for each in self.variants for run in each.variant.runs]

    @property
    def metric_names(self) -> list[str]:
        """Return every metric that some variant has; falls only where an episode can end early."""
        names = list(dict.fromkeys(name for each in self.variants for name in each.metrics))
        falls = any(run.task.get("terminations") for run in self.runs)
        return [name for name in names if falls or name != "falls_per_minute"]


def compare_runs(folders: Sequence[Path], reach: float | None = None) -> Comparison:
    """Read the runs and compute everything; ``reach`` is the task's floor for teachers unless given."""
    variants = load_variants(folders)
    runs = [run for variant in variants for run in variant.runs]
    floor = runs[0].task.get("teacher_floor")
    level = float(floor) if reach is None and isinstance(floor, (int, float)) else reach
    figures = tuple(_figures(variant, level) for variant in variants)
    lacking = {run.run.name: left_out(run) for run in runs}
    return Comparison(
        task=str(runs[0].task.get("name")),
        level=level,
        variants=figures,
        pairs=tuple(compare_pair(variants[base], variants[other]) for base, other in _pairs(figures)),
        left_out={name: why for name, why in lacking.items() if why},
    )


def ranking(variants: Sequence[VariantFigures]) -> list[int]:
    """Return the indices of the variants with an evaluated student, the highest return first."""
    known = {i: each.returns["student"].estimate.mean for i, each in enumerate(variants) if "student" in each.returns}
    return sorted(known, key=lambda index: -known[index])


def _pairs(variants: Sequence[VariantFigures]) -> list[tuple[int, int]]:
    """Return which variants to subtract: all from all; of many, each from the first and the best from the next."""
    count = len(variants)
    if count <= MAX_ALL_PAIRS:
        return list(combinations(range(count), 2))
    leaders = sorted(ranking(variants)[:2])  # empty where no student was evaluated
    extra = [(leaders[0], leaders[1])] if len(leaders) == 2 and leaders[0] > 0 else []
    return [*((0, other) for other in range(1, count)), *extra]


def spread(found: Mapping[str, Estimate]) -> Spread | None:
    """Return one figure over a variant's runs; None without any.

    From three runs on the interval is over seeds, by Student's t. Below, it is over episodes: with two, the mean of
    both runs' intervals, which is never too narrow however alike the two do in one world.
    """
    if not found:
        return None
    values = {name: value.mean for name, value in found.items()}
    unit = next((value.unit for value in found.values() if value.unit), "")
    if len(values) >= MIN_SEEDS:
        interval: Any = over_seeds(list(values.values()))
        low, high = interval["ci95"]
        return Spread(Estimate(interval["mean"], low, high, unit), "seeds", values)
    mean, low, high = (
        float(np.mean([getattr(value, end) for value in found.values()])) for end in ("mean", "low", "high")
    )
    return Spread(Estimate(mean, low, high, unit), "episodes" if math.isfinite(low) else "", values)


def _known(value: float, unit: str = "") -> Estimate:
    return Estimate(value, math.nan, math.nan, unit)


def _evaluated(variant: Variant, policy: str, name: str) -> Spread | None:
    found = {run.run.name: figure_of(run, policy, name) for run in variant.evaluated}
    return spread({run: value for run, value in found.items() if value is not None})


def _figures(variant: Variant, level: float | None) -> VariantFigures:
    returns = {policy: _evaluated(variant, policy, "return") for policy in STAGES}
    names = dict.fromkeys(name for run in variant.evaluated for name in metric_names(run))
    metrics = {name: _evaluated(variant, "student", name) for name in names}
    whole = [run for run in variant.trained(STAGES[0]) if run in variant.trained(STAGES[1])]
    training = {axis: spread({r.run.name: _known(_cost(r, axis)) for r in whole}) for axis in AXES}
    return VariantFigures(
        variant=variant,
        score=_evaluated(variant, "student", "score"),
        returns={policy: value for policy, value in returns.items() if value is not None},
        metrics={name: value for name, value in metrics.items() if value is not None},
        training={axis: value for axis, value in training.items() if value is not None},
        reach={} if level is None else {stage: _reach(variant, stage, level) for stage in STAGES},
        bands={stage: _bands(variant, stage) for stage in STAGES},
    )


def _cost(run: Inputs, axis: str) -> float:
    return sum(float(run.metrics[stage][-1][axis]) for stage in STAGES)


def _bands(variant: Variant, stage: str) -> dict[str, Band]:
    found = {axis: [curve(run, stage, axis) for run in variant.trained(stage)] for axis in AXES}
    bands = {axis: band([one for one in curves if one is not None]) for axis, curves in found.items()}
    return {axis: value for axis, value in bands.items() if value is not None}


def _reach(variant: Variant, stage: str, level: float) -> Reach:
    runs = variant.trained(stage)
    taken: dict[str, dict[str, float]] = {axis: {} for axis in AXES}
    for axis in AXES:
        for run in runs:
            found = curve(run, stage, axis)
            taken[axis][run.run.name] = math.inf if found is None else first_reach(found, level)
    reached = sum(map(math.isfinite, taken[AXES[0]].values()))
    if reached < len(runs):
        return Reach(reached, len(runs), {})
    costs = {axis: spread({name: _known(x) for name, x in values.items()}) for axis, values in taken.items()}
    return Reach(reached, len(runs), {axis: cost for axis, cost in costs.items() if cost is not None})


def parse_reach(text: str) -> float:
    """Return the level that ``reach=<text>`` asks for."""
    try:
        level = float(text)
    except ValueError:
        level = math.nan
    if not math.isfinite(level):
        raise RobodistillError(f"reach={text}: give a return, such as reach=20.0")
    return level
