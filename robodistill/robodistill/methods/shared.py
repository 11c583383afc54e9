"""One network in two roles, told apart by a mask: m = 1 knows the privileged groups p, m = 0 does not.

    x = [o, m p, m, z(h)]        y = rest(elu(W_o o + W_z z + m (W_p p + w_m) + b))

The network of GPO (arXiv 2505.15418) and, in its continuous form, of pi-Distill (arXiv 2602.04942). With m = 0 the
columns W_p and w_m of the first layer meet zeros only, so they are kept beside the learner's network instead of in it:
the learner is an ordinary policy on sensors, and what is exported has no privileged input to strip. Each role has its
own deviation: a shared one would hide the distance between the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from robodistill import builders, gaussian
from robodistill.builders import Build
from robodistill.losses import policy_gradient
from robodistill.methods.coefficient import value_of
from robodistill.segment import Minibatch, find
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.mlp import linear
from robodistill_policies.policy import Obs, Policy, PolicyOutput

SUREST = 10.0
"""Ratio of densities beyond which an action that the other role took teaches nothing."""


class Guide(Policy):
    """The privileged role of ``learner``'s network: the same weights, and columns for ``groups`` and the flag."""

    def __init__(self, learner: Policy, dims: dict[str, int], groups: Sequence[str]) -> None:
        """Add the columns; the flag's begins at 0, so that the two roles differ by what they see alone."""
        config = learner.config
        if config.head != "gaussian":
            raise RobodistillError(f"a guide needs a plain head, policy.head is {config.head!r}; set it to gaussian")
        super().__init__(replace(config, groups=(*config.groups, *groups)), dims, learner.action_dim)
        self.privileged = tuple(groups)
        self.encoder, self.actor = learner.encoder, learner.actor
        for group in config.reads:
            self.normalizers[group] = learner.normalizers[group]
        width = self.actor.get_parameter("0.bias").shape[0]
        # its bias is the flag's column
        self.columns = linear(sum(dims[g] for g in groups), width, 1.0)

    def _decide(self, normal: Obs, latent: Tensor, features: Tensor | None = None) -> PolicyOutput:
        own = [normal[g] for g in self.config.groups if g not in self.privileged]
        hidden = self.actor[0](torch.cat([*own, latent], dim=-1))
        told = self.columns(torch.cat([normal[g] for g in self.privileged], dim=-1))
        return PolicyOutput(self.actor[1:](hidden + told), self.log_std, latent, features)


def learner(build: Build) -> Policy:
    """Return the role that is exported; its deviation begins as a teacher's does, since both learn from scratch."""
    return builders.student(build, init_std=build.teacher_policy.init_std)


def guide(build: Build, *, learner: str, groups: Sequence[str] = ("privileged",)) -> Guide:
    """Return the privileged role of the network of ``learner``, which was made before."""
    build.network(learner)  # names the networks there are
    return Guide(find(build.networks, learner, Policy, "method.networks"), build.dims, groups)


def pull(
    batch: Minibatch, *, policy: str, toward: str, reverse: bool = False, role: str = "", coefficient: str = "",
    name: str = "gap",
) -> Tensor:  # fmt: skip
    """Return ``coefficient`` times KL(toward || policy), or with ``reverse`` KL(policy || toward).

    The mean over the steps that ``role`` drove, per action dimension; ``toward`` gets no gradient. The divergence
    itself is logged as ``kl_<name>``.
    """
    kl = divergence(batch.output(policy), batch.output(toward), reverse)
    mean = batch.mean(kl, role)
    batch.metrics[f"kl_{name}"] = mean.detach()
    return value_of(batch.networks, coefficient) * mean


def divergence(moved: PolicyOutput, still: PolicyOutput, reverse: bool) -> Tensor:
    """Return KL(still || moved) per dimension (...,), with ``reverse`` KL(moved || still); ``still`` is detached."""
    there = (still.mean.detach(), still.log_std.detach().expand_as(still.mean))
    here = (moved.mean, moved.log_std.expand_as(moved.mean))
    kl = gaussian.kl(*here, *there) if reverse else gaussian.kl(*there, *here)
    return kl / moved.mean.shape[-1]


@policy_gradient
def off_surrogate(
    batch: Minibatch, *, policy: str, clip: float = 0.2, role: str = "", coefficient: str = "", name: str
) -> Tensor:
    """Return ``coefficient`` times PPO's objective, negated, for a policy that did not drive.

    As ``losses:surrogate``, with the ratio to whoever drove bounded by ``SUREST``: the density of an action that only
    the other role would take may be so much larger that one step of it outweighs all others.
    """
    output = batch.output(policy)
    log_ratio = gaussian.log_prob(output.mean, output.log_std, batch["action"]) - batch["log_prob"]
    ratio, advantage = torch.exp(log_ratio.clamp(max=math.log(SUREST))), batch["advantage"]
    objective = torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)
    outside = ((ratio.detach() - 1.0).abs() > clip).to(ratio.dtype)
    batch.metrics[f"clipped_{name}"] = batch.mean(outside, role)
    return -value_of(batch.networks, coefficient) * batch.mean(objective, role)
