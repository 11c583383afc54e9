"""Students whose head has several parts: a mixture of Gaussians fitted to labels, and the balance of experts.

Mixture, the distillation form of PMOE (after Ren et al. 2021, arXiv 2104.09122), with the label a_T and components k:

    L   = -log sum_k w_k N(a_T; mu_k, s)           whose gradient on mu_k is weighted by the responsibility of k
    L_w = sum_k (w_k - 1[k = argmax_j r_j])^2      r_j ~ w_j N(a_T; mu_j, s): the weights learn to pick one

The paper picks the component by the critic; labels say which is right without one. The mean of the likeliest component
drives, with the deviation, and is what is exported: a published port draws the component on the robot as well.

Experts (the balance of go2_rl_gym's mixture of experts), with g the gate:

    L_g = mean_k (mean_batch g_k - 1 / K)^2        no expert is left without work
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robodistill import builders
from robodistill.builders import Build
from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.config import HeadKind
from robodistill_policies.heads import Parts
from robodistill_policies.policy import Policy


def student(build: Build, *, head: HeadKind, components: int = 4, init_std: float = 0.0) -> Policy:
    """Return the policy that is exported, with a mixed head; with ``copy_head`` it begins as the teacher's."""
    train = replace(build.train, policy=replace(build.train.policy, head=head, components=components))
    return builders.student(replace(build, train=train), init_std=init_std)


def imitate_mixture(batch: Minibatch, *, policy: str, pick: float = 1.0, role: str = "") -> Tensor:
    """Return the negative log density of the labels, per action dimension, plus ``pick`` times the weights' loss."""
    parts, label = parts_of(batch, policy), batch["label_mean"]
    log_std = batch.output(policy).log_std
    error = (label.unsqueeze(-2) - parts.means) * torch.exp(-log_std)
    normal = -0.5 * error.square().sum(-1) - log_std.sum() - 0.5 * math.log(2.0 * math.pi) * label.shape[-1]
    joint = parts.log_weights + normal
    likeliest = F.one_hot(joint.detach().argmax(-1), joint.shape[-1]).to(joint.dtype)
    picking = (parts.log_weights.exp() - likeliest).square().sum(-1)
    with torch.no_grad():
        off = (batch.output(policy).mean - label) * torch.exp(-batch["label_log_std"])
        batch.metrics["action_error_over_sigma"] = off.square().mean().sqrt()
        batch.metrics["components_used"] = used(parts)
    return batch.mean(pick * picking - joint.logsumexp(-1) / label.shape[-1], role)


def balance(batch: Minibatch, *, policy: str) -> Tensor:
    """Return the mean squared distance of the gate's mean over the batch to an equal share for each expert."""
    parts = parts_of(batch, policy)
    gate = parts.log_weights.exp().flatten(0, -2).mean(0)
    with torch.no_grad():
        batch.metrics["components_used"] = used(parts)
    return (gate - 1.0 / gate.shape[-1]).square().mean()


def used(parts: Parts) -> Tensor:
    """Return how many parts have work: the exponential of the entropy of their mean weights, between 1 and K."""
    share = parts.log_weights.exp().flatten(0, -2).mean(0)
    return torch.exp(-(share * share.clamp_min(1e-12).log()).sum())


def parts_of(batch: Minibatch, policy: str) -> Parts:
    """Return what the head of ``policy`` made its mean of."""
    parts = batch.output(policy).parts
    if parts is None:
        raise RobodistillError(f"loss: policy {policy!r} has a plain head; set policy.head to mixture or experts")
    return parts
