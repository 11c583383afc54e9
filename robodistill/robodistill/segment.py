"""Segment: a (T, N) block of experience, and the minibatches that it is split into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy, PolicyOutput

if TYPE_CHECKING:
    from robodistill.symmetry import Mirror

State = dict[str, Tensor]
N = TypeVar("N", bound=nn.Module)


def find(networks: Mapping[str, nn.Module], name: str, kind: type[N], where: str) -> N:
    """Return the network ``name`` of this kind; ``where`` in the configuration it was named."""
    network = dict(networks.items()).get(name)
    if not isinstance(network, kind):
        legal = [n for n, other in networks.items() if isinstance(other, kind)]
        raise RobodistillError(f"{where}: {unknown(kind.__name__.lower(), name, legal)}")
    return network


@dataclass
class Segment:
    """T control steps of N worlds. ``resets[t]``: an episode begins at step t."""

    obs: dict[str, Tensor]
    """group -> (T, N, dim)"""
    resets: Tensor
    """(T, N) bool"""
    data: dict[str, Tensor]
    """(T, N, ...): action, mean, log_std, reward, ...; labels as ``label_mean``, ``label_latent``"""
    states: dict[str, State] = field(default_factory=dict)
    """network -> its policy state before step 0, (N, ...)"""
    drivers: tuple[str, ...] = ()
    """Names of the drivers; ``data["role"]`` counts in them."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return (T, N)."""
        return self.resets.shape[0], self.resets.shape[1]


class Minibatch:
    """Part of a segment together with the networks; every forward pass is made when asked for, and kept.

    Split by step its tensors are (B, ...); split by world they are (T, n, ...).
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        obs: dict[str, Tensor],
        data: dict[str, Tensor],
        resets: Tensor | None = None,
        states: dict[str, State] | None = None,
        drivers: tuple[str, ...] = (),
    ) -> None:
        self.networks, self.obs, self.data, self.drivers = networks, obs, data, drivers
        self.progress = 0.0
        """Share of the training that is done."""
        self.mirror: Mirror | None = None
        """The left-right reflection of the task, where it declares one."""
        self.metrics: dict[str, Tensor] = {}
        """Figures that losses leave for the log."""
        self._resets, self._states = resets, states or {}
        self._outputs: dict[tuple[str, bool], PolicyOutput] = {}

    def __getitem__(self, name: str) -> Tensor:
        """Return a stored tensor, such as ``action`` or ``advantage``."""
        if name not in self.data:
            raise RobodistillError(f"loss: {unknown('stored tensor', name, self.data)}")
        return self.data[name]

    def role_mask(self, role: str) -> Tensor:
        """Return where ``role`` drove: bool, shaped like the steps; everywhere for an empty one."""
        if not role:
            return torch.ones_like(self["role"], dtype=torch.bool)
        if role not in self.drivers:
            raise RobodistillError(f"loss: {unknown('driver', role, self.drivers)}")
        return self["role"] == self.drivers.index(role)

    def mean(self, values: Tensor, role: str = "", without: Tensor | None = None) -> Tensor:
        """Return the mean of ``values`` (one a step) over the steps that ``role`` drove; 0 where there is none.

        ``without`` (bool, one a step) leaves further steps out.
        """
        if not role and without is None:
            return values.mean()
        mask = self.role_mask(role) if role else torch.ones_like(values, dtype=torch.bool)
        if without is not None:
            mask = mask & ~without
        return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)

    def module(self, name: str, kind: type[N]) -> N:
        """Return network ``name``, which must be a ``kind``."""
        return find(self.networks, name, kind, "loss")

    def policy(self, name: str) -> Policy:
        """Return the policy called ``name``."""
        return find(self.networks, name, Policy, "loss")

    def output(self, name: str) -> PolicyOutput:
        """Return what policy ``name`` does at each step, with gradients unless they are off."""
        # what was computed without gradients must not serve a loss that asks with them, and would get none
        key = name, torch.is_grad_enabled() or (name, True) in self._outputs
        if key not in self._outputs:
            self._outputs[key] = self._unroll(name)
        return self._outputs[key]

    def _unroll(self, name: str) -> PolicyOutput:
        policy = self.policy(name)
        has_memory = bool(policy.initial_state(1))
        if self._resets is None:
            if has_memory:
                raise RobodistillError(f"policy {name!r} has memory: its phase must have split: world")
            return policy.step(self.obs, {})[0]
        if has_memory and name not in self._states:
            raise RobodistillError(
                f"policy {name!r} has memory: name it in collect.drivers, with share 0 if it shall not drive"
            )
        return policy.unroll(self.obs, self._states.get(name, {}), self._resets)[0]

    def reflected_output(self, name: str) -> tuple[PolicyOutput, Mirror]:
        """Return what the stateless policy ``name`` does in the reflected world, and the reflection."""
        if self.mirror is None:
            raise RobodistillError("loss: a term or an action of this task declares no mirror; leave symmetry out")
        policy = self.policy(name)
        if policy.initial_state(1):
            raise RobodistillError(f"loss: policy {name!r} has memory; symmetry is for stateless ones")
        reflected = {group: self.mirror.obs(group, value) for group, value in self.obs.items()}
        return policy.step(reflected, {})[0], self.mirror

    def value(self, name: str) -> Tensor:
        """Return the value of each step by critic ``name``, with gradients."""
        return find(self.networks, name, Critic, "loss").value(self.obs)


def by_step(
    segment: Segment,
    networks: Mapping[str, nn.Module],
    count: int,
    generator: torch.Generator,
    reflected: float = 0.0,
) -> Iterator[Minibatch]:
    """Yield ``count`` random parts of the T * N steps; every step is in exactly one.

    With ``reflected`` > 0 the segment is a doubled one (``Mirror.double``), and each step is with that probability
    the reflected one.
    """
    steps, worlds = segment.shape
    size = steps * worlds // (2 if reflected else 1)
    _refuse_empty(size, count, "steps")
    flat_obs = {k: v.reshape(steps * worlds, -1) for k, v in segment.obs.items()}
    flat = {k: v.reshape(steps * worlds, *v.shape[2:]) for k, v in segment.data.items()}
    for ids in torch.randperm(size, generator=generator).tensor_split(count):
        rows = ids + size * (torch.rand(len(ids), generator=generator) < reflected) if reflected else ids
        yield Minibatch(
            networks,
            {k: v.index_select(0, rows) for k, v in flat_obs.items()},
            {k: v.index_select(0, rows) for k, v in flat.items()},
            drivers=segment.drivers,
        )


def by_world(
    segment: Segment, networks: Mapping[str, nn.Module], count: int, generator: torch.Generator
) -> Iterator[Minibatch]:
    """Yield ``count`` random parts of the N worlds, whole in time; every world is in exactly one."""
    _refuse_empty(segment.shape[1], count, "worlds")
    for ids in torch.randperm(segment.shape[1], generator=generator).tensor_split(count):
        yield Minibatch(
            networks,
            {k: v[:, ids] for k, v in segment.obs.items()},
            {k: v[:, ids] for k, v in segment.data.items()},
            segment.resets[:, ids],
            {n: {k: v[ids] for k, v in state.items()} for n, state in segment.states.items()},
            segment.drivers,
        )


def _refuse_empty(size: int, count: int, what: str) -> None:
    """Refuse more parts than there is to divide: the mean loss of an empty one is NaN."""
    if count > size:
        raise RobodistillError(f"phase.minibatches: {size} {what} make no {count} minibatches; use at most {size}")
