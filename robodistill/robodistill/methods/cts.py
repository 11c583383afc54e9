"""Concurrent teacher-student: two encoders of unit length, one actor, one run (Wang et al. 2024, arXiv 2405.10830).

    L_ppo     = mean_T(surrogate) + mean_S(surrogate) + ...     each group's mean, however many worlds it has
    L_student = mean_S ( E_T(s_p) - E_S(h) )^2                  over what the student drove, moves E_S alone

A quarter of the episodes is the student's. Its latent is detached in the actor: PPO teaches the actor to live with the
student's errors, not the student's encoder to please the actor. That detachment is the phase's list of networks; the
two surrogates are ``losses:surrogate`` with a role each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill.segment import Minibatch


def latent(batch: Minibatch, *, student: str, teacher: str) -> Tensor:
    """Return the mean squared distance of the latents where ``student`` drove; ``teacher`` gets no gradient."""
    with torch.no_grad():
        target = batch.output(teacher).latent
    error = (batch.output(student).latent - target.detach()).square().mean(-1)
    return batch.mean(error, student)
