"""One class for teachers and students: an actor on its groups and on a latent from an encoder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robodistill_deploy.errors import SpecError, unknown
from robodistill_deploy.spec import TermSpec
from robodistill_policies.clamp import clamp_with_way_back
from robodistill_policies.config import PolicyConfig
from robodistill_policies.deployable import check_deployable
from robodistill_policies.encoders.base import State, build_encoder
from robodistill_policies.heads import MixedActor, Parts, build_actor
from robodistill_policies.latent import NOISE, LatentLayout
from robodistill_policies.normalizer import Normalizer

Obs = Mapping[str, Tensor]
"""Observation group -> (..., dim), scaled and clipped by its terms, not normalised."""


@dataclass(frozen=True)
class PolicyOutput:
    """A Gaussian over raw actions, and the latent behind it."""

    mean: Tensor
    """(..., action_dim)"""
    log_std: Tensor
    """(action_dim,), within the bounds of the configuration"""
    latent: Tensor
    """(..., latent_dim); width 0 without an encoder"""
    features: Tensor | None = None
    """(..., features of the layout): what the encoder gave; None where the latent came from elsewhere"""
    parts: Parts | None = None
    """What a mixed head made the mean of; None for a plain one"""


class Policy(nn.Module):
    """mean = actor([normalised groups, z]) with z = latent_norm(encoder(normalised encoder groups)).

    A Gaussian z is sampled with the noise that the group ``latent_noise`` of the observation holds, as in training;
    without that group, as on a robot, it is its mean.

    Each group has one normaliser, shared by actor and encoder. ``deploy_terms``, the spec's ``groups``, is
    given for a policy that must run on a robot: a privileged term in what it reads is then an error.
    """

    def __init__(
        self,
        config: PolicyConfig,
        group_dims: Mapping[str, int],
        action_dim: int,
        deploy_terms: Mapping[str, Sequence[TermSpec]] | None = None,
    ) -> None:
        """Make the networks for groups of widths ``group_dims``."""
        super().__init__()
        for group in (*config.reads, *config.estimates):
            if group not in group_dims:
                raise SpecError(unknown("observation group", group, group_dims))
        if deploy_terms is not None:
            check_deployable(config.reads, deploy_terms)
        self.config = config
        self.action_dim = action_dim
        self.normalizers = nn.ModuleDict({group: Normalizer(group_dims[group]) for group in config.reads})
        explicit, implicit = sum(group_dims[g] for g in config.estimates), config.encoder.out_dim
        self.layout = LatentLayout(explicit, implicit, config.latent_norm if implicit else "none")
        inputs = sum(group_dims[g] for g in config.encoder.groups)
        self.encoder = build_encoder(replace(config.encoder, out_dim=self.layout.features), inputs)
        if not self.encoder.out_dim:
            self.layout = LatentLayout(0, 0, "none")
        inputs = sum(group_dims[g] for g in config.groups) + self.layout.width
        self.actor = build_actor(inputs, action_dim, config)
        self.raw_log_std = nn.Parameter(torch.full((action_dim,), math.log(config.init_std)))

    @property
    def latent_dim(self) -> int:
        """Return the width of the latent."""
        return self.layout.width

    @property
    def log_std(self) -> Tensor:
        """Return the bounded log standard deviation (action_dim,)."""
        low, high = math.log(self.config.min_std), math.log(self.config.max_std)
        return clamp_with_way_back(self.raw_log_std, low, high)

    def initial_state(self, n: int) -> State:
        """Return the policy state of ``n`` worlds before their first step: all zeros."""
        return self.encoder.initial_state(n)

    def step(self, obs: Obs, state: State) -> tuple[PolicyOutput, State]:
        """Return the output for one tick of N worlds (groups (N, dim)) and the next state."""
        normal = self._normalised(obs)
        features, state = self.encoder.step(self._encoder_input(normal), state)
        return self._decide(normal, self.layout.latent(features, obs.get(NOISE)), features), state

    def unroll(self, obs: Obs, state: State, resets: Tensor) -> tuple[PolicyOutput, State]:
        """Return the output for T ticks (groups (T, N, dim)) and the last state.

        ``resets`` (T, N) bool: where ``resets[t]``, the state starts anew before step t.
        """
        normal = self._normalised(obs)
        features, state = self.encoder.unroll(self._encoder_input(normal), state, resets)
        return self._decide(normal, self.layout.latent(features, obs.get(NOISE)), features), state

    def act_mean(self, obs: Obs, state: State) -> tuple[Tensor, State]:
        """Return the deterministic raw action (N, action_dim) and the next state, without gradients."""
        with torch.no_grad():
            output, state = self.step(obs, state)
        return output.mean, state

    def decide(self, obs: Obs, latent: Tensor) -> PolicyOutput:
        """Return what the actor does with a latent from elsewhere, such as another policy's encoder."""
        return self._decide(self._normalised(obs), latent)

    def update_normalizer(self, obs: Obs) -> None:
        """Take the observations (groups (..., dim)) into the normalisers that are not frozen."""
        for group, normalizer in self._group_normalizers():
            normalizer.update(obs[group])

    def freeze_normalizer(self, frozen: bool = True) -> None:
        """Stop (or with False resume) updating all normalisers."""
        for _, normalizer in self._group_normalizers():
            normalizer.freeze(frozen)

    def copy_head_from(self, teacher: Policy) -> None:
        """Take over the teacher's normalisers of the actor's groups, its actor and its standard deviation.

        The latent must then mean the same in both, which the latent loss of distillation sees to. Of a mixed head
        over a plain teacher's every part takes the teacher's actor over.
        """
        for _, source, target in self._head_pairs(teacher):
            target.load_state_dict(source.state_dict())
        mixed = self._mixed_over(teacher)
        if mixed is not None:
            mixed.begin_as(teacher.actor, teacher.log_std.detach().exp())
        self.raw_log_std.data.copy_(teacher.raw_log_std.data)

    def share_head_with(self, teacher: Policy) -> None:
        """Use the teacher's own normalisers of the actor's groups, actor and standard deviation: one, not two alike."""
        if self._mixed_over(teacher) is not None:
            raise SpecError(f"share_head_with: a head of kind {self.config.head!r} cannot be a plain one's; copy it")
        self._head_pairs(teacher)
        self.actor, self.raw_log_std = teacher.actor, teacher.raw_log_std
        for group in self.config.groups:
            self.normalizers[group] = teacher.normalizers[group]

    def _head_pairs(self, teacher: Policy) -> list[tuple[str, nn.Module, nn.Module]]:
        """Return the modules to copy one to one, as (name, the teacher's, ours); refuse heads that are not alike.

        A mixed actor over a plain one is checked, not listed.
        """
        mixed = self._mixed_over(teacher)
        for name in ("groups", "activation", "latent_norm", *(("head",) if mixed is None else ())):
            theirs, ours = getattr(teacher.config, name), getattr(self.config, name)
            if theirs != ours:
                raise SpecError(f"copy_head_from: policy.{name} is {theirs!r} in the teacher, {ours!r} here")
        norms = [
            (f"normaliser of {g!r}", teacher.normalizers[g], self.normalizers[g]) for g in self.config.groups
        ]
        actor = ("actor", teacher.actor, self.actor if mixed is None else mixed.one_part())
        for name, source, target in (actor, *norms):
            check_same_shapes(name, source, target)
        return [actor, *norms] if mixed is None else norms

    def _mixed_over(self, teacher: Policy) -> MixedActor | None:
        """Return the mixed actor where the teacher's is plain."""
        actor = self.actor[0]
        return actor if isinstance(actor, MixedActor) and teacher.config.head == "gaussian" else None

    def _normalised(self, obs: Obs) -> dict[str, Tensor]:
        return {group: normalizer(obs[group]) for group, normalizer in self._group_normalizers()}

    def _group_normalizers(self) -> Iterator[tuple[str, Normalizer]]:
        for group, module in self.normalizers.items():
            if isinstance(module, Normalizer):
                yield group, module

    def _encoder_input(self, normal: Obs) -> Tensor:
        groups = self.config.encoder.groups
        if not groups:
            return next(iter(normal.values()))[..., :0]
        return torch.cat([normal[g] for g in groups], dim=-1)

    def _decide(self, normal: Obs, latent: Tensor, features: Tensor | None = None) -> PolicyOutput:
        inputs = torch.cat([*(normal[g] for g in self.config.groups), latent], dim=-1)
        mixed = self.actor[0]
        if isinstance(mixed, MixedActor):
            parts = mixed.parts(inputs)
            return PolicyOutput(mixed.mean(parts), self.log_std, latent, features, parts)
        return PolicyOutput(self.actor(inputs), self.log_std, latent, features)


def check_same_shapes(name: str, source: nn.Module, target: nn.Module) -> None:
    """Refuse two modules whose weights do not have the same names and shapes."""
    theirs = {key: tuple(t.shape) for key, t in source.state_dict().items()}
    ours = {key: tuple(t.shape) for key, t in target.state_dict().items()}
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            shapes = f"{theirs.get(key)} in the teacher, {ours.get(key)} here"
            raise SpecError(f"copy_head_from: {name}, {key}: {shapes}")
