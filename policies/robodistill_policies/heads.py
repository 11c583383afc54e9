"""From the actor's inputs to actions: one MLP, a mixture of Gaussians, or a gated mixture of experts.

A mixture has K components, all with the deviation of the policy; the robot gets the mean of the likeliest one, since
the mean of two ways around an obstacle is a way into it. A mixture of experts is one Gaussian, whose mean is the
experts' means in the proportions of the gate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robodistill_policies.config import PolicyConfig
from robodistill_policies.mlp import linear, mlp

OUT_GAIN = 0.01
"""Of the last layer: actions begin near zero."""
_APART = 0.5
"""Spread (raw action) of the components' means at the start, unless they begin as a teacher's; alike, they would learn
alike."""


@dataclass(frozen=True)
class Parts:
    """What a mixture is made of."""

    means: Tensor
    """(..., K, action_dim)"""
    log_weights: Tensor
    """(..., K), normalised"""


class MixedActor(nn.Module, ABC):
    """An actor of several parts; the mean action is made of them."""

    @abstractmethod
    def parts(self, x: Tensor) -> Parts:
        """Return the parts for inputs x (..., inputs)."""

    @abstractmethod
    def mean(self, parts: Parts) -> Tensor:
        """Return the deterministic action (..., action_dim)."""

    @abstractmethod
    def one_part(self) -> nn.Sequential:
        """Return a plain actor of the shapes that one part has, for these alone."""

    @abstractmethod
    def begin_as(self, plain: nn.Sequential, std: Tensor) -> None:
        """Let every part do what a plain actor with deviation ``std`` (action_dim,) does, or nearly so."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the deterministic action (..., action_dim) for inputs x (..., inputs)."""
        return self.mean(self.parts(x))


class Mixture(MixedActor):
    """K means and their weights from one MLP (after Ren et al. 2021, arXiv 2104.09122)."""

    def __init__(self, inputs: int, action_dim: int, config: PolicyConfig) -> None:
        """Make the layers; the means begin apart from each other."""
        super().__init__()
        self.components, self.action_dim = config.components, action_dim
        outputs = config.components * (action_dim + 1)
        self.net = mlp(inputs, config.actor_hidden, outputs, config.activation, OUT_GAIN)
        self._mean_layer()[1].copy_(_APART * self._places().repeat_interleave(action_dim))

    def one_part(self) -> nn.Sequential:
        """Return the hidden layers, and a last one for one component."""
        width = self._mean_layer()[0].shape[1]
        return nn.Sequential(*list(self.net.children())[:-1], nn.Linear(width, self.action_dim, device="meta"))

    def begin_as(self, plain: nn.Sequential, std: Tensor) -> None:
        """Take a plain actor's layers over; the means begin up to a deviation from its own, by which they can part."""
        self.net[:-1].load_state_dict(plain[:-1].state_dict())
        weight, bias = self._mean_layer()
        last = f"{len(plain) - 1}."
        weight.copy_(plain.get_parameter(f"{last}weight").repeat(self.components, 1))
        apart = torch.outer(self._places(), std)
        bias.copy_((plain.get_parameter(f"{last}bias") + apart).flatten())

    def _mean_layer(self) -> tuple[Tensor, Tensor]:
        """Return the last layer's weight and bias, without the part that makes the components' weights; not copies."""
        rows, last = self.components * self.action_dim, f"{len(self.net) - 1}."
        return self.net.get_parameter(f"{last}weight").data[:rows], self.net.get_parameter(f"{last}bias").data[:rows]

    def _places(self) -> Tensor:
        """Return a place for each component, evenly from -1 to 1."""
        last = self.components - 1
        return (2.0 * torch.arange(self.components) - last) / max(1, last)

    def parts(self, x: Tensor) -> Parts:
        """Return the components."""
        out = self.net(x)
        means = out[..., : -self.components].unflatten(-1, (self.components, self.action_dim))
        return Parts(means, F.log_softmax(out[..., -self.components :], dim=-1))

    def mean(self, parts: Parts) -> Tensor:
        """Return the mean of the likeliest component; no gradient reaches the weights through it."""
        chosen = F.one_hot(parts.log_weights.argmax(-1), self.components).to(parts.means.dtype)
        return (chosen.unsqueeze(-1) * parts.means).sum(-2)


class Experts(MixedActor):
    """K MLPs, each on all inputs, blended by a gate: all are computed, so that the graph has no branches."""

    def __init__(self, inputs: int, action_dim: int, config: PolicyConfig) -> None:
        """Make the gate and the experts."""
        super().__init__()
        self.gate = linear(inputs, config.components, 1.0)
        sizes = config.actor_hidden
        self.experts = nn.ModuleList(
            mlp(inputs, sizes, action_dim, config.activation, OUT_GAIN) for _ in range(config.components)
        )

    def one_part(self) -> nn.Sequential:
        """Return an expert."""
        return cast(nn.Sequential, self.experts[0])

    def begin_as(self, plain: nn.Sequential, std: Tensor) -> None:
        """Make every expert a copy; the gate gives each its own share of every gradient, so they part."""
        for expert in self.experts:
            expert.load_state_dict(plain.state_dict())

    def parts(self, x: Tensor) -> Parts:
        """Return the experts' means and the gate."""
        means = torch.stack([expert(x) for expert in self.experts], dim=-2)
        return Parts(means, F.log_softmax(self.gate(x), dim=-1))

    def mean(self, parts: Parts) -> Tensor:
        """Return the experts' means in the gate's proportions."""
        return (parts.log_weights.exp().unsqueeze(-1) * parts.means).sum(-2)


def build_actor(inputs: int, action_dim: int, config: PolicyConfig) -> nn.Sequential:
    """Return the actor that ``config.head`` names; a mixed one is a single layer of it."""
    if config.head == "mixture":
        return nn.Sequential(Mixture(inputs, action_dim, config))
    if config.head == "experts":
        return nn.Sequential(Experts(inputs, action_dim, config))
    return mlp(inputs, config.actor_hidden, action_dim, config.activation, OUT_GAIN)
