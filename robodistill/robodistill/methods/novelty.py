"""Bonuses for where training has seldom been: the error of a network that learns to imitate a random one.

RND (Burda et al. 2018, arXiv 1810.12894), with f a fixed random network and g its imitator on what a step led to:

    bonus(s')  = | g(s') - f(s') |^2                      g learns f

RDD (after Fang et al. 2025, arXiv 2505.11044): the target is drawn from N(f(s'), tau^2 I), anew each time it is learnt:

    bonus(s')  = | g(s') - f(s') |                        g learns samples of it

A g that is free to choose its output at each state holds the mean of the n samples it saw there, and its squared error
is tau^2 / n per dimension: the bonus falls as the root of a count, while RND's falls as quickly as a network learns.

Observations are normalised by statistics of their own, the bonus by its root mean square over the training so far. The
imitator learns in a phase of its own. ``groups`` with noise in them are new for ever: take clean ones, as privileged
groups are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from robodistill.builders import Build
from robodistill.segment import Minibatch, Segment, find
from robodistill_policies.mlp import mlp
from robodistill_policies.normalizer import Normalizer

CLIP = 5.0
"""Deviations at which observations are cut off (Burda et al., section 2.4)."""
_LEAST = 1e-8


class Target(nn.Module):
    """A random network that stands still."""

    def __init__(self, inputs: int, width: int, hidden: Sequence[int]) -> None:
        """Make the layers and freeze them."""
        super().__init__()
        self.net = mlp(inputs, hidden, width, "relu")
        self.requires_grad_(False)


class Imitator(nn.Module):
    """The network that learns to be the target, and the statistics of observations and of its bonus."""

    mean_square: Tensor
    count: Tensor
    draws: Tensor

    def __init__(self, dims: Mapping[str, int], width: int, hidden: Sequence[int]) -> None:
        """Make the layers for groups of these widths."""
        super().__init__()
        self.groups = tuple(dims)
        self.normalizer = Normalizer(sum(dims.values()))
        self.net = mlp(sum(dims.values()), hidden, width, "relu")
        self.register_buffer("mean_square", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def seen(self, data: Mapping[str, Tensor]) -> Tensor:
        """Return what each step led to (..., inputs), normalised and cut off."""
        return self.normalizer(torch.cat([data[f"next_{g}"] for g in self.groups], dim=-1)).clamp(-CLIP, CLIP)

    def update_normalizer(self, obs: Mapping[str, Tensor]) -> None:
        """Take the observations (groups (..., dim)) into the statistics."""
        self.normalizer.update(torch.cat([obs[g] for g in self.groups], dim=-1))

    @torch.no_grad()
    def scaled(self, bonus: Tensor) -> Tensor:
        """Return the bonus (...,) in units of its root mean square, which takes it in first."""
        self.count.add_(bonus.numel())
        square = bonus.double().square()
        self.mean_square.add_((square - self.mean_square).sum() / self.count)
        return bonus / self.mean_square.sqrt().clamp_min(_LEAST).to(bonus.dtype)

    def noise(self, like: Tensor) -> Tensor:
        """Return normal numbers shaped as ``like``, others each time; a resumed run goes on with the same ones."""
        self.draws.add_(1)
        generator = torch.Generator().manual_seed(int(self.draws))
        return torch.randn(like.shape, generator=generator)


def target(build: Build, *, imitator: str, hidden: Sequence[int] = (64,)) -> Target:
    """Return a random network with inputs and outputs of ``imitator``, which was made before."""
    build.network(imitator)
    net = find(build.networks, imitator, Imitator, "method.networks").net
    inputs, width = net.get_parameter("0.weight").shape[1], net.get_parameter(f"{len(net) - 1}.bias").shape[0]
    return Target(inputs, width, hidden)


def imitator(
    build: Build, *, groups: Sequence[str] = ("privileged",), width: int = 32, hidden: Sequence[int] = (64, 64)
) -> Imitator:
    """Return the network that learns the target; ``collect.next_obs`` must name its ``groups``."""
    return Imitator({g: build.dims[g] for g in groups}, width, hidden)


def bonus(
    segment: Segment, networks: Mapping[str, nn.Module], *, target: str, imitator: str, root: bool = False
) -> Tensor:
    """Return the scaled error (T, N) of the imitator; with ``root`` the distance, else its square."""
    ours = find(networks, imitator, Imitator, "method.shape")
    x = ours.seen(segment.data)
    square = (ours.net(x) - find(networks, target, Target, "method.shape").net(x)).square().sum(-1)
    return ours.scaled(square.sqrt() if root else square)


def imitate(batch: Minibatch, *, target: str, imitator: str, noise: float = 0.0) -> Tensor:
    """Return the imitator's mean squared error to the target's outputs, each with ``noise`` times a normal number."""
    ours = batch.module(imitator, Imitator)
    x = ours.seen(batch.data)
    with torch.no_grad():
        label = batch.module(target, Target).net(x)
        if noise > 0.0:
            label = label + noise * ours.noise(label)
    return (ours.net(x) - label).square().sum(-1).mean()
