"""How much of the privileged state can be read from a student's latent: a linear probe."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill.evaluation.rollout import Rollout
from robodistill_deploy.spec import InterfaceSpec

HELD_OUT = 0.3
"""Share of the worlds that the probe is judged on."""


def linear_r2(features: Tensor, targets: Tensor, world: Tensor, ridge: float = 1e-3) -> Tensor:
    """Return R^2 (k,) on held-out worlds of a ridge regression fitted on the others.

    ``features`` (n, d), ``targets`` (n, k), ``world`` (n,): which world a row comes from, so that no
    world is on both sides. A target that does not vary on the held-out side gives nan.
    """
    border = int(world.max()) * (1.0 - HELD_OUT)
    train, test = world <= border, world > border
    mean, std = features[train].mean(0), features[train].std(0).clamp_min(1e-6)
    x = torch.cat(((features - mean) / std, torch.ones(len(features), 1)), dim=1).double()
    y = targets.double()
    gram = x[train].T @ x[train] + ridge * int(train.sum()) * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x[train].T @ y[train])
    residual = (y[test] - x[test] @ weights).square().sum(0)
    total = (y[test] - y[test].mean(0)).square().sum(0)
    return torch.where(total > 1e-9, 1.0 - residual / total, torch.nan)


def privileged_r2(
    rollout: Rollout, spec: InterfaceSpec, group: str = "privileged"
) -> dict[str, dict[str, float]]:
    """Return {"r2", "r2_baseline"}: per privileged element, from the latent and from the present sensors."""
    if not rollout.samples or group not in rollout.samples:
        return {}
    data = {name: torch.cat(values) for name, values in rollout.samples.items()}
    names = [f"{t.name}[{i}]" if t.dim > 1 else t.name for t in spec.terms(group) for i in range(t.dim)]
    result: dict[str, dict[str, float]] = {}
    for key, source in (("r2", "latent"), ("r2_baseline", "sensors")):
        values = linear_r2(data[source], data[group], data["world"])
        result[key] = {
            name: round(float(v), 4) for name, v in zip(names, values, strict=True) if bool(v.isfinite())
        }
    return result
