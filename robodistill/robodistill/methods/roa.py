"""Regularised online adaptation: one run in which the privileged latent and its estimate from history meet.

Fu, Cheng, Pathak 2022, "Deep Whole-Body Control" (CoRL), in the form of its published code:

    L_ppo     = ... + lambda_t * mean || z_mu(s_p) - sg(z_phi(h)) ||_2      moves the privileged encoder and the actor
    L_adapter =                  mean || sg(z_mu(s_p)) - z_phi(h) ||_2      moves the history encoder alone

The norm is not squared: its gradient has length one however far apart the two are, so ``lambda`` alone says how hard
the teacher is pulled. ``lambda_t`` rises from 0 in a window of the training. In each n-th iteration the student drives
and only the adapter learns (``collect.takeover``, ``every``, ``skip_every``): PPO would weigh the student's actions
with the teacher's density.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill.segment import Minibatch


def latent_gap(batch: Minibatch, *, policy: str, toward: str) -> Tensor:
    """Return the mean L2 distance of the latent of ``policy`` to that of ``toward``, which gets no gradient."""
    with torch.no_grad():
        target = batch.output(toward).latent
    return (batch.output(policy).latent - target.detach()).norm(dim=-1).mean()
