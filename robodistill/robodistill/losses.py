"""Losses: pure functions ``loss(minibatch, **params) -> scalar``, named in the phases of a method's YAML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from robodistill import gaussian
from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError

_Loss = TypeVar("_Loss", bound=Callable[..., Tensor])


def policy_gradient(loss: _Loss) -> _Loss:
    """Mark a loss by which a policy learns from advantages.

    ``robodistill bench methods`` gives phases that have one the task's settings for reinforcement learning; the policy
    of the first one in a phase gets the recipe's bounds on actions.
    """
    vars(loss)["policy_gradient"] = True
    return loss


def is_policy_gradient(loss: Callable[..., Tensor]) -> bool:
    """Return whether a loss is marked with ``policy_gradient``."""
    return bool(getattr(loss, "policy_gradient", False))


def _same_shape(what: str, a: Tensor, b: Tensor) -> None:
    """Refuse two tensors whose product or difference torch would broadcast without a word."""
    if a.shape != b.shape:
        raise RobodistillError(f"loss: {what} have shapes {tuple(a.shape)} and {tuple(b.shape)}; they must be the same")


@policy_gradient
def surrogate(batch: Minibatch, *, policy: str, clip: float = 0.2, role: str = "", name: str = "") -> Tensor:
    """Return PPO's clipped objective, negated (Schulman et al. 2017, eq. 7), over the steps that ``role`` drove.

    The ratio is to whoever drove, which need not be ``policy``. ``name`` sets the figures of a second surrogate
    apart; the one without steers ``schedule: adaptive_kl``.
    """
    output = batch.output(policy)
    log_ratio = gaussian.log_prob(output.mean, output.log_std, batch["action"]) - batch["log_prob"]
    ratio, advantage = torch.exp(log_ratio), batch["advantage"]
    _same_shape("ratio and advantage", ratio, advantage)
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    with torch.no_grad():
        kl = gaussian.kl(batch["mean"], batch["log_std"], output.mean, output.log_std)
        chosen = batch.role_mask(role) if role else torch.ones_like(ratio, dtype=torch.bool)
        outside = ((ratio - 1.0).abs() > clip)[chosen].float()
        if "mirrored" in batch.data:
            # a mirrored sample also differs by the old policy's own asymmetry, which is no step of ours
            chosen = chosen & ~batch["mirrored"]
        suffix = f"_{name}" if name else ""
        if chosen.any():
            batch.metrics[f"kl{suffix}"], batch.metrics[f"clipped{suffix}"] = kl[chosen].mean(), outside.mean()
    return -batch.mean(torch.minimum(ratio * advantage, clipped * advantage), role)


def value(batch: Minibatch, *, critic: str, clip: float = 0.0, role: str = "") -> Tensor:
    """Return the mean squared error to the returns, over the steps that ``role`` drove.

    ``clip`` > 0 limits the move from the old value.
    """
    predicted, target = batch.value(critic), batch["return"]
    _same_shape("value and return", predicted, target)
    error = (predicted - target).square()
    if clip > 0.0:
        old = batch["value"]
        limited = old + (predicted - old).clamp(-clip, clip)
        error = torch.maximum(error, (limited - target).square())
    return batch.mean(error, role)


def neg_entropy(batch: Minibatch, *, policy: str) -> Tensor:
    """Return the negative entropy, so that a positive weight explores."""
    return -gaussian.entropy(batch.output(policy).log_std).mean()


def action_bounds(batch: Minibatch, *, policy: str, limit: float) -> Tensor:
    """Return the mean squared excess of the raw mean action beyond +-``limit``."""
    excess = (batch.output(policy).mean.abs() - limit).clamp_min(0.0)
    return excess.square().sum(-1).mean()


def imitate_action(
    batch: Minibatch, *, policy: str, kind: Literal["mse", "huber", "l2"] = "mse", role: str = ""
) -> Tensor:
    """Return the distance of the student's mean action to the label, mean over dimensions and ``role``'s steps.

    ``huber`` has its knee at 1 (raw action); ``l2`` is the un-squared norm over the dimensions.
    """
    mean, label = batch.output(policy).mean, batch["label_mean"]
    _same_shape("mean action and label", mean, label)
    with torch.no_grad():
        error = (mean - label) * torch.exp(-batch["label_log_std"])
        batch.metrics["action_error_over_sigma"] = error.square().mean().sqrt()
    if kind == "mse":
        return batch.mean((mean - label).square().mean(-1), role)
    if kind == "huber":
        return batch.mean(F.huber_loss(mean, label, reduction="none").mean(-1), role)
    return batch.mean((mean - label).norm(dim=-1), role)


def imitate_latent(batch: Minibatch, *, policy: str, role: str = "") -> Tensor:
    """Return the mean squared distance of the student's latent to the labeller's (RMA, eq. of phase 2)."""
    latent, label = batch.output(policy).latent, batch["label_latent"]
    _same_shape("latent and label", latent, label)
    # what the labeller's latent of the reflected world would be, nobody recorded
    reflected = batch["mirrored"] if "mirrored" in batch.data else None
    return batch.mean((latent - label).square().mean(-1), role, reflected)


def symmetry(batch: Minibatch, *, policy: str) -> Tensor:
    """Return how far acting and reflecting fail to commute: mean of |mu(M o) - M mu(o)|^2 (Yu et al. 2018, eq. 4)."""
    reflected, mirror = batch.reflected_output(policy)
    return (reflected.mean - mirror.action(batch.output(policy).mean)).square().mean()
