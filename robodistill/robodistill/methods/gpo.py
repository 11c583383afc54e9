"""Guided policy optimisation: a guider that never runs far ahead of its learner (ICLR 2026, arXiv 2505.15418).

Guider mu(a | o, p) drives and learns by PPO, with beta who drove; learner pi(a | h) follows; one network, two roles:

    learner             KL(sg mu || pi) + c_l PPO(pi / beta)
    penalty   guider    PPO(mu / beta) + c KL(mu || sg pi)                   c_l = c, steered to a target KL
    clip      guider    E[ -min(rho A, rho' A) ] + KL(mu || sg pi) where mu / pi is outside 1 +- delta
              rho = mu / beta,  rho' = clip( clip(mu / sg pi, 1 - delta, 1 + delta) sg pi / beta, 1 - eps, 1 + eps)

In the clip variant a guider that is further than delta from the learner gains nothing by going on, and is drawn back.
As in the published code: KL per action dimension, delta = 0.3, c_l = 2 with clip, target 0.01 for the penalty.
Deviations: its critic sees all groups of the observation, c moves after each step (``methods.coefficient``), and the
method's eps is 0.2: with the published 0.3 the learning rate, which follows the KL, swung by a factor of fifty, and the
pendulum was learned later.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robodistill import gaussian
from robodistill.losses import policy_gradient
from robodistill.methods.shared import divergence
from robodistill.segment import Minibatch


def _log_ratio(batch: Minibatch, policy: str, learner: str) -> tuple[Tensor, Tensor]:
    """Return ln mu and ln mu / sg pi (...,) of the actions taken."""
    ours, theirs = batch.output(policy), batch.output(learner)
    log_mu = gaussian.log_prob(ours.mean, ours.log_std, batch["action"])
    log_pi = gaussian.log_prob(theirs.mean.detach(), theirs.log_std.detach(), batch["action"])
    return log_mu, log_mu - log_pi


@policy_gradient
def double_clipped(
    batch: Minibatch, *, policy: str, learner: str, clip: float = 0.3, delta: float = 0.3, role: str = ""
) -> Tensor:
    """Return the guider's objective, negated: clipped against who drove and against the learner."""
    output, advantage = batch.output(policy), batch["advantage"]
    log_mu, apart = _log_ratio(batch, policy, learner)
    log_rho = log_mu - batch["log_prob"]
    near = apart.clamp(math.log(1.0 - delta), math.log(1.0 + delta))
    # ln pi / beta = ln rho - ln mu / pi
    bounded = torch.exp(near + (log_rho - apart).detach()).clamp(1.0 - clip, 1.0 + clip)
    with torch.no_grad():
        kl = gaussian.kl(batch["mean"], batch["log_std"], output.mean, output.log_std)
        batch.metrics["kl"] = batch.mean(kl, role)
        batch.metrics["ahead"] = batch.mean(_outside(apart, delta), role)
    return -batch.mean(torch.minimum(torch.exp(log_rho) * advantage, bounded * advantage), role)


def backtrack(batch: Minibatch, *, policy: str, learner: str, delta: float = 0.3, role: str = "") -> Tensor:
    """Return KL(mu || sg pi) per action dimension, of the steps at which mu / pi is outside 1 +- delta."""
    _, apart = _log_ratio(batch, policy, learner)
    kl = divergence(batch.output(policy), batch.output(learner), reverse=True)
    return batch.mean(kl * _outside(apart.detach(), delta), role)


def _outside(log_ratio: Tensor, delta: float) -> Tensor:
    """Return 1 where the ratio is outside 1 +- delta, else 0."""
    return ((log_ratio > math.log(1.0 + delta)) | (log_ratio < math.log(1.0 - delta))).to(log_ratio.dtype)
