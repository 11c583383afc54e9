"""Student-informed teacher training: a teacher that stays where its student can follow (ICLR 2025, arXiv 2412.09149).

Teacher, student and proxy have one head and an encoder each. The proxy reads what the teacher reads and foretells what
the student's encoder would give, so that a rollout needs no rendering for the student. With one deviation for all:

    k(s)       = KL(pi_T || pi_proxy) = sum_i (mu_T - mu_proxy)_i^2 / (2 sigma_i^2)
    reward     r - lambda_1 k                          go where the student can follow
    gradient   L_ppo + lambda_2 k(F_T)                 act there as it does: moves the teacher's encoder alone
    alignment  |F_S - sg F_T| + |mu_S - sg mu_T|       moves the student's encoder
               |F_hat - sg F_S| + |mu_hat - sg mu_S|   moves the proxy's encoder

The head is trained by the task alone. The sign of the reward's part is minus, as the objective has it: the published
code of the colour maze adds k, which pays for disagreement.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from robodistill import gaussian
from robodistill.builders import Build
from robodistill.segment import Minibatch, Segment, find
from robodistill_policies.policy import Policy


def proxy(build: Build, *, teacher: str) -> Policy:
    """Return a policy with the head of ``teacher`` whose encoder sees all that the teacher sees."""
    build.network(teacher)  # names the networks there are
    giver = find(build.networks, teacher, Policy, "method.networks")
    encoder = replace(giver.config.encoder, groups=giver.config.reads)
    policy = Policy(replace(giver.config, encoder=encoder), build.dims, build.spec.action_dim)
    policy.share_head_with(giver)
    for group in policy.config.reads:
        policy.normalizers[group] = giver.normalizers[group]
    return policy


def disagreement(segment: Segment, networks: Mapping[str, nn.Module], *, proxy: str) -> Tensor:
    """Return k (T, N) of the segment's steps; weigh it negatively."""
    policy = find(networks, proxy, Policy, "method.shape")
    output, _ = policy.unroll(segment.obs, policy.initial_state(segment.shape[1]), segment.resets)
    mean, log_std = segment.data["mean"], segment.data["log_std"]
    return gaussian.kl(mean, log_std, output.mean, output.log_std.expand_as(output.mean))


def follow(batch: Minibatch, *, teacher: str, proxy: str) -> Tensor:
    """Return the mean of k, whose gradient reaches the encoder of ``teacher``, not the head and not ``proxy``."""
    with torch.no_grad():
        theirs = batch.output(proxy).mean
    head = copy.deepcopy(batch.policy(teacher)).requires_grad_(False)
    ours = head.decide(batch.obs, batch.output(teacher).latent)
    k = 0.5 * ((ours.mean - theirs.detach()) * torch.exp(-ours.log_std)).square().sum(-1).mean()
    batch.metrics["kl_proxy"] = k.detach()
    return k


def aligned(batch: Minibatch, *, policy: str, toward: str) -> Tensor:
    """Return the mean absolute distance of latents and of mean actions; ``toward`` gets no gradient."""
    with torch.no_grad():
        target = batch.output(toward)
    ours = batch.output(policy)
    return (ours.latent - target.latent.detach()).abs().mean() + (ours.mean - target.mean.detach()).abs().mean()
