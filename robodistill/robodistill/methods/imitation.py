"""Imitation of the labeller's whole Gaussian: divergences in both directions, balanced, and towards a moving target.

With D = mu_T - mu_S, per dimension:

  forward  KL(T||S) = ln(sS/sT) + (sT^2 + D^2) / (2 sS^2) - 1/2     stationary in sS at sS^2 = sT^2 + D^2
  reverse  KL(S||T) = ln(sT/sS) + (sS^2 + D^2) / (2 sT^2) - 1/2     stationary in sS at sS = sT

Two traps. With forward KL a free sS takes in the error of the mean, and then shrinks the gradient on the mean by
1 / sS^2: ``std: detached`` leaves it out of the loss, ``at_most`` bounds it by the labeller's, and the error and both
deviations are logged apart. With reverse KL, dimensions in which the labeller is sure (small sT) weigh most.
Every loss is a mean over steps *and* dimensions, so that its scale does not depend on the number of actions.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from robodistill import gaussian
from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.clamp import clamp_with_way_back

Kind = Literal["forward_kl", "reverse_kl", "balanced_kl", "taid"]


def imitate_distribution(
    batch: Minibatch,
    *,
    policy: str,
    kind: Kind = "forward_kl",
    std: Literal["free", "detached"] = "free",
    at_most: float = 0.0,
    start: float = 0.4,
    role: str = "",
) -> Tensor:
    """Return a divergence between labeller and ``policy``, mean over steps that ``role`` drove, and dimensions.

    ``at_most`` > 0: the policy's deviation counts as at most so many times the labeller's. ``start``: where the
    target of ``taid`` stands at first, as a share of the way to the labeller; it is there at the end of training.
    """
    output, target, target_log_std = batch.output(policy), batch["label_mean"], batch["label_log_std"]
    mean, log_std = output.mean, output.log_std.expand_as(output.mean)
    if mean.shape != target.shape:
        shapes = f"{tuple(mean.shape)} and {tuple(target.shape)}"
        raise RobodistillError(f"loss: mean action and label have shapes {shapes}; they must be the same")
    _log(batch, mean, log_std, target, target_log_std)
    if std == "detached":
        log_std = log_std.detach()
    if at_most > 0.0:
        beyond = clamp_with_way_back(log_std - target_log_std, -math.inf, math.log(at_most))
        log_std = target_log_std + beyond
    per_step = _DIVERGENCES[kind](mean, log_std, target, target_log_std, start + (1.0 - start) * batch.progress)
    return batch.mean(per_step, role) / mean.shape[-1]


def forward_kl(mean: Tensor, log_std: Tensor, target: Tensor, target_log_std: Tensor, share: float) -> Tensor:
    """Return KL(T||S) (...,): it covers what the labeller might do."""
    return gaussian.kl(target, target_log_std, mean, log_std)


def reverse_kl(mean: Tensor, log_std: Tensor, target: Tensor, target_log_std: Tensor, share: float) -> Tensor:
    """Return KL(S||T) (...,): it seeks what the labeller surely does."""
    return gaussian.kl(mean, log_std, target, target_log_std)


def balanced_kl(mean: Tensor, log_std: Tensor, target: Tensor, target_log_std: Tensor, share: float) -> Tensor:
    """Return forward KL in states where S is surer than T, reverse KL elsewhere (after Amara et al. 2022, BD-KD).

    How sure is the entropy, the sum of the log deviations; with a deviation that is the same in all states it is
    one choice for all of them at a time.
    """
    surer = log_std.sum(-1) < target_log_std.sum(-1)
    forward = forward_kl(mean, log_std, target, target_log_std, share)
    return torch.where(surer, forward, reverse_kl(mean, log_std, target, target_log_std, share))


def taid(mean: Tensor, log_std: Tensor, target: Tensor, target_log_std: Tensor, share: float) -> Tensor:
    """Return KL(P||S) (...,) with P on the way from S as it is to T (after Shing et al. 2025, TAID).

    Mixing logits is, for Gaussians, mixing natural parameters. Where both deviations are equal and fixed, its
    gradient is ``share`` times that of forward KL, a learning rate that grows; it is another method only where they
    differ. The paper's adaptive schedule is left out: the share grows linearly, its lower bound there.
    """
    between = gaussian.interpolate(mean.detach(), log_std.detach(), target, target_log_std, share)
    return gaussian.kl(*between, mean, log_std)


_DIVERGENCES = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "balanced_kl": balanced_kl, "taid": taid}


@torch.no_grad()
def _log(batch: Minibatch, mean: Tensor, log_std: Tensor, target: Tensor, target_log_std: Tensor) -> None:
    """Log the error of the mean apart from the deviations, which could hide it."""
    error = (mean - target).square()
    batch.metrics["error_sq"] = error.mean()
    batch.metrics["action_error_over_sigma"] = (error * torch.exp(-2.0 * target_log_std)).mean().sqrt()
    batch.metrics["std_policy"] = torch.exp(log_std).mean()
    batch.metrics["std_label"] = torch.exp(target_log_std).mean()
