"""Labels weighted by what there is to learn from them (after Baykal et al. 2023, robust active distillation).

In simulation a label costs nothing, so choosing what to label becomes weighting:

  w  proportional to  mean_i (D_i / sT_i)^2  x  reliability,    scaled to mean 1 over the minibatch, no weight > limit

The first factor is how far the student is off, in the teacher's own deviations. Reliability is how probable it is that
the teacher's action is better than the one taken: sigmoid(-A / std(A)) with A = r + gamma V_T(s') - V_T(s), the
advantage of the step taken in the eyes of the teacher's critic. Where the teacher drove, it is 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill.segment import Minibatch


@torch.no_grad()
def weights(batch: Minibatch, mean: Tensor, *, labeller: str, limit: float) -> Tensor:
    """Return the weight of each step's label: mean 1 before ``limit`` cuts the largest."""
    error = (mean - batch["label_mean"]) * torch.exp(-batch["label_log_std"])
    advantage = batch["label_advantage"]
    reliability = torch.sigmoid(-advantage / (advantage.std() + 1e-8))
    if labeller in batch.drivers:
        reliability = reliability.masked_fill(batch.role_mask(labeller), 1.0)
    raw = error.square().mean(-1) * reliability
    return (raw / (raw.mean() + 1e-12)).clamp_max(limit)


def imitate_weighted(batch: Minibatch, *, policy: str, labeller: str = "teacher", limit: float = 5.0) -> Tensor:
    """Return the weighted mean squared distance of the mean action to the label."""
    mean = batch.output(policy).mean
    weight = weights(batch, mean, labeller=labeller, limit=limit)
    with torch.no_grad():
        batch.metrics["label_weight_max"] = weight.max()
        error = (mean - batch["label_mean"]) * torch.exp(-batch["label_log_std"])
        batch.metrics["action_error_over_sigma"] = error.square().mean().sqrt()
    return (weight * (mean - batch["label_mean"]).square().mean(-1)).mean()
