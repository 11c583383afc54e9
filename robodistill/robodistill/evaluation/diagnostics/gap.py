"""The irreducible gap: how much of the teacher's action cannot be known from what the student reads.

E |mu_T - E[mu_T | input]|^2 / sigma_T^2 per action is what no imitation gets below. Every function of the student's
input gives an upper bound, its mean squared error on worlds that it was not fitted on; so regressions are fitted to
what the student's own action leaves over, one is chosen on further worlds, and it is judged on yet others. A bound it
stays: a better regression might find more. How much more data alone would give shows the plateau: least squares with
p features on n rows err by a + b / n, so fits on all and on half of the worlds give a = 2 e(n) - e(n / 2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from robodistill.evaluation.statistics import Interval, bootstrap, ratio

FIT, CHOOSE = 0.6, 0.15
"""Shares of the worlds to fit on and to choose by; the rest judges."""
ROWS = 8192
"""Largest number of rows to fit on, spread over all worlds."""
FEATURES = 384
"""Random rectified features of the non-linear regression."""
RIDGES = (1e-4, 1e-2, 1.0)
"""Penalties, as a share of the features' variance."""
LEAST_WORLDS = 12
SMALL = 0.1
"""Squared sigmas per action: an input that leaves less open is good enough to imitate from."""


class _Split(NamedTuple):
    fit: Tensor
    half: Tensor
    choose: Tensor
    judge: Tensor


def irreducible_gap(inputs: Tensor, residual: Tensor, world: Tensor, resamples: int, seed: int = 0) -> dict[str, Any]:
    """Return bounds on the gap [sigma_T^2 per action] from rows of the student's own states.

    ``inputs`` (n, d): anything computed from what the student reads; ``residual`` (n, A): (mu_T - mu_S) / sigma_T, the
    student's own action being such a function too; ``world`` (n,). Empty for too few worlds to split.
    """
    generator = torch.Generator().manual_seed(seed)
    worlds = world.unique()
    if len(worlds) < LEAST_WORLDS:
        return {}
    rows = torch.randperm(len(world), generator=generator)[:ROWS]
    inputs, residual, world = inputs[rows].double(), residual[rows].double(), world[rows]
    split = _split(world, worlds, generator)
    best, half, name, at_best = residual, residual, "the student itself", _error(residual[split.choose])
    for kind, features in _features(inputs, split.fit, generator).items():
        for ridge in RIDGES:
            left = residual - features @ _solve(features[split.fit], residual[split.fit], ridge)
            reached = _error(left[split.choose])
            if reached < at_best:
                with_half = features @ _solve(features[split.half], residual[split.half], ridge)
                best, half, name, at_best = left, residual - with_half, kind, reached
    at_most, from_half = best[split.judge].square(), half[split.judge].square()
    held_out = world[split.judge]
    return {
        "at_most": _interval(at_most.mean(1), held_out, resamples),
        "plateau": max(0.0, float(2.0 * at_most.mean() - from_half.mean())),
        "student": _interval(residual[split.judge].square().mean(1), held_out, resamples),
        "by_action": at_most.mean(0).tolist(),
        "regression": name, "rows": len(rows), "worlds": len(worlds), "held_out_worlds": len(held_out.unique()),
    }  # fmt: skip


def _error(residual: Tensor) -> float:
    return float(residual.square().mean())


def _split(world: Tensor, worlds: Tensor, generator: torch.Generator) -> _Split:
    """Return masks over the rows; no world is on two sides."""
    place = torch.empty(int(worlds.max()) + 1, dtype=torch.float64)
    place[worlds[torch.randperm(len(worlds), generator=generator)]] = (
        torch.arange(len(worlds), dtype=torch.float64) / len(worlds)
    )
    at = place[world]
    return _Split(at < FIT, at < 0.5 * FIT, (at >= FIT) & (at < FIT + CHOOSE), at >= FIT + CHOOSE)


def _features(inputs: Tensor, fit: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Return standardised features of two kinds, a constant first: linear, and with random rectified units as well."""
    mean, std = inputs[fit].mean(0), inputs[fit].std(0)
    x = ((inputs - mean) / std.clamp_min(1e-6)).clamp(-10.0, 10.0)[:, std > 1e-6]
    one = torch.ones(len(x), 1, dtype=x.dtype)
    directions = torch.randn(x.shape[1], FEATURES, generator=generator, dtype=x.dtype) / max(1, x.shape[1]) ** 0.5
    offsets = torch.randn(FEATURES, generator=generator, dtype=x.dtype)
    linear = torch.cat((one, x), dim=1)
    return {"linear": linear, "random features": torch.cat((linear, (x @ directions + offsets).relu()), dim=1)}


def _solve(features: Tensor, target: Tensor, ridge: float) -> Tensor:
    """Return the ridge regression's weights; the constant is not penalised."""
    penalty = torch.full((features.shape[1],), ridge * len(features), dtype=features.dtype)
    penalty[0] = 1e-9
    return torch.linalg.solve(features.T @ features + penalty.diag(), features.T @ target)


def _interval(values: Tensor, world: Tensor, resamples: int) -> Interval:
    _, index = world.unique(return_inverse=True)
    sums = torch.zeros(int(index.max()) + 1, dtype=torch.float64).index_add_(0, index, values)
    return bootstrap(ratio, (sums.numpy(), index.bincount().double().numpy()), resamples)
