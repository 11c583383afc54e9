"""A concurrent estimator: the latent begins with estimates of privileged quantities, and RL shapes it too.

walk-these-ways (Margolis and Agrawal, CoRL 2022): the actor sees the estimate itself, the gradient of PPO
flows through it, and an optimiser of its own takes steps to the true values:  L = mse(v_hat(h), v).

DreamWaQ (Nahrendra et al. 2023, arXiv 2301.10602) adds a sampled latent z(h) that, with the estimate, must
foretell the next observation:  L = mse(v_hat, v) + mse(o_hat(v_hat, z), o') + beta KL(q(z|h) || N(0, I)).
The estimate is deterministic; z is its mean on the robot.

Deviations: the actor has a latent of the history beside the estimate, where walk-these-ways gives it the history
itself. What is estimated are the groups in ``policy.estimates`` as a whole, each quantity in its own deviations
over the worlds, so that none counts for its unit. Each DreamWaQ error is a mean, KL a sum over z and a mean over steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robodistill.methods.heads import Head
from robodistill.methods.targets import estimate_of, group
from robodistill.segment import Minibatch
from robodistill_policies.policy import Policy


def estimate(batch: Minibatch, *, policy: str, critic: str) -> Tensor:
    """Return the mean squared error of the estimates, in deviations of the quantities."""
    names = batch.module(policy, Policy).config.estimates
    estimated = estimate_of(batch, policy)
    target = torch.cat([group(batch, critic, name) for name in names], dim=-1)
    with torch.no_grad():
        error = (estimated - target).square()
        batch.metrics["estimate_worst"] = error.flatten(0, -2).mean(0).max().sqrt()
    return F.mse_loss(estimated, target)


def foretell(batch: Minibatch, *, policy: str, decoder: str, critic: str, of: str = "sensors") -> Tensor:
    """Return the mean squared error of the decoded next observation, which an episode's end does not replace."""
    decoded = batch.module(decoder, Head)(batch.output(policy).latent)
    return F.mse_loss(decoded, group(batch, critic, of, following=True))
