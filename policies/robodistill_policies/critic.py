"""The value function, which may read what the actor may not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from robodistill_deploy.errors import SpecError, unknown
from robodistill_policies.mlp import mlp
from robodistill_policies.normalizer import Normalizer


class Critic(nn.Module):
    """An MLP on all groups of ``group_dims`` together, in that order, with its own normaliser."""

    def __init__(
        self,
        group_dims: Mapping[str, int],
        hidden: Sequence[int],
        activation: str = "elu",
        *,
        gamma: float = 0.99,
        reward_scale: float = 1.0,
    ) -> None:
        """Make the network for groups of these widths.

        Its values are sums of rewards times ``reward_scale``, discounted by ``gamma`` a control step.
        """
        super().__init__()
        self.gamma, self.reward_scale = gamma, reward_scale
        self.group_dims, self.hidden, self.activation = dict(group_dims), tuple(hidden), activation
        self.groups = tuple(group_dims)
        starts = [0, *itertools.accumulate(group_dims.values())]
        self._columns = {g: slice(*ends) for g, ends in zip(group_dims, itertools.pairwise(starts), strict=True)}
        self.normalizer = Normalizer(sum(group_dims.values()))
        self.net = mlp(sum(group_dims.values()), hidden, 1, activation)

    def value(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return values (...,) of observations with groups (..., dim): (N, dim) and (T, N, dim) alike."""
        return self.net(self.normalizer(self._joined(obs))).squeeze(-1)

    def normalised(self, group: str, value: Tensor) -> Tensor:
        """Return values (..., dim) of one group by this network's statistics, as a target for others."""
        if group not in self._columns:
            raise SpecError(unknown("observation group", group, self._columns))
        return self.normalizer(value, self._columns[group])

    def update_normalizer(self, obs: Mapping[str, Tensor]) -> None:
        """Take the observations (groups (..., dim)) into the normaliser."""
        self.normalizer.update(self._joined(obs))

    def _joined(self, obs: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([obs[group] for group in self.groups], dim=-1)
