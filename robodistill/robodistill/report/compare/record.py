"""``compare.json``: every figure of a comparison as plain values, with the keys of ``summary.json`` where they fit."""

from __future__ import annotations

import math
from typing import Any

from robodistill.evaluation.statistics import Interval
from robodistill.report.compare.figures import Comparison, Reach, Spread, VariantFigures
from robodistill.report.compare.pairs import Difference, Pair
from robodistill.report.compare.variants import seed_of
from robodistill.report.inputs import Inputs
from robodistill.report.plots.base import numbers

Json = dict[str, Any]


def as_json(found: Comparison) -> Json:
    """Return everything that was computed, and from which runs."""
    return {
        "verb": "report",
        "task": found.task,
        "reach": found.level,
        "variants": [_variant(each) for each in found.variants],
        "differences": [pair_as_json(pair) for pair in found.pairs],
        "left_out": found.left_out,
        "runs": {run.run.name: _run(run) for run in found.runs},
    }


def _variant(found: VariantFigures) -> Json:
    policies = {policy: {"return": _spread(value)} for policy, value in found.returns.items()}
    policies.setdefault("student", {})["metrics"] = {n: _spread(v) for n, v in found.metrics.items()}
    return {
        "name": found.variant.name,
        "settings": found.variant.settings,
        "runs": [run.run.name for run in found.variant.runs],
        "seeds": [seed_of(run) for run in found.variant.runs],
        "score": {"student": _spread(found.score)} if found.score else {},
        "policies": policies,
        "training": {axis: _spread(value) for axis, value in found.training.items()},
        "reach": {stage: _reach(value) for stage, value in found.reach.items()},
        "curves": {
            stage: {
                axis: {key: numbers(getattr(band, key), 6) for key in ("x", "mean", "low", "high")}
                for axis, band in bands.items()
            }
            for stage, bands in found.bands.items()
        },
    }


def _spread(value: Spread) -> Json:
    mean, low, high = value.estimate.mean, value.estimate.low, value.estimate.high
    return {"mean": mean, "ci95": [low, high], "over": value.over, "unit": value.estimate.unit, "values": value.values}


def _reach(value: Reach) -> Json:
    return {"reached": value.reached, "runs": value.runs} | {a: _spread(c) for a, c in value.cost.items()}


def pair_as_json(pair: Pair) -> Json:
    """Return a pair's differences, each with whether zero is inside."""
    return {
        "of": pair.other,
        "minus": pair.base,
        "refused": pair.refused,
        "shared_seeds": list(pair.shared_seeds),
        "quantities": [_difference(each) for each in pair.differences],
    }


def _difference(found: Difference) -> Json:
    return {
        "policy": found.quantity.policy,
        "name": found.quantity.name,
        "unit": found.unit,
        "episodes": _interval(found.episodes),
        "seeds": _interval(found.seeds),
    }


def _interval(found: Interval | None) -> Json | None:
    return None if found is None else {**found, "zero_inside": zero_inside(found)}


def zero_inside(found: Interval) -> bool:
    """Return whether an interval holds zero, or is not known."""
    data: Any = found["ci95"]
    low, high = data
    return not (math.isfinite(low) and math.isfinite(high)) or low <= 0.0 <= high


def _run(run: Inputs) -> Json:
    return {
        "path": str(run.run),
        "seed": seed_of(run),
        "evaluation": {key: run.evaluation.get(key) for key in ("seed", "episodes")},
        "provenance": run.provenance,
    }
