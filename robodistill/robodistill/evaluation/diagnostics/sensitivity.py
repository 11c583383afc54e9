"""How much the student's action moves with each term that it reads: the Jacobian, in sigmas of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robodistill.evaluation.diagnostics.samples import Samples
from robodistill_deploy.spec import InterfaceSpec
from robodistill_policies.encoders.base import State
from robodistill_policies.policy import Policy

BINS = 25
"""At most so many points over time."""


def jacobian(policy: Policy, obs: Mapping[str, Tensor], state: State) -> dict[str, Tensor]:
    """Return d mean / d observation of the present tick, (m, A, dim) by group that the policy reads.

    What is remembered stays as it is: the reaction to news. Constant noise of a latent is left out, as on a robot.
    """
    with torch.enable_grad():
        inputs = {group: obs[group].detach().clone().requires_grad_() for group in policy.config.reads}
        mean = policy.step(inputs, state)[0].mean
        rows = [
            torch.autograd.grad(
                mean[:, a].sum(), list(inputs.values()), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for a in range(mean.shape[1])
        ]
    return {group: torch.stack([row[i] for row in rows], dim=1) for i, group in enumerate(inputs)}


def sensitivity(samples: Samples, policy: Policy, teacher_log_std: Tensor, spec: InterfaceSpec) -> dict[str, Any]:
    """Return, by term, the mean over states of |diag(1 / sigma_T) J diag(sigma_term)|_F / sqrt(A), and over time.

    So many of the teacher's sigmas does an action move, as a root mean square over actions, when the term's elements
    each move by their own standard deviation over the student's states.
    """
    kept = samples.kept
    tick = kept["tick"]
    found: dict[str, Tensor] = {}
    for group, slopes in jacobian(policy, kept, samples.kept_state).items():
        spread = kept[group].std(0) if len(tick) > 1 else torch.zeros(kept[group].shape[1])
        scaled = slopes * spread * torch.exp(-teacher_log_std).unsqueeze(-1)
        squared = scaled.square().mean(1)
        at = 0
        for term in spec.terms(group):
            found[term.name] = squared[:, at : at + term.dim].sum(1).sqrt()
            at += term.dim
    ticks = tick.unique()
    parts = ticks.tensor_split(min(BINS, len(ticks)))
    masks = [torch.isin(tick, part) for part in parts]
    return {
        "by_term": {name: float(values.mean()) for name, values in found.items()},
        "time_s": [float(part.double().mean()) * spec.control_dt for part in parts],
        "over_time": {name: [float(values[mask].mean()) for mask in masks] for name, values in found.items()},
        "states": len(tick),
    }
