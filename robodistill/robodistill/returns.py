"""Advantages and returns: pure functions of (T, N) tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill_deploy.errors import RobodistillError


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    done: Tensor,
    gamma: float,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """Return (advantages, returns), each (T, N); Schulman et al. 2016, eq. 16.

    ``next_values[t]`` is the value of the state that step t really led to: of the last observation of
    the episode where it ended at t, not of the one that a reset put in its place. A terminated state
    is worth nothing; a time-out (``done`` without ``terminated``) keeps its value but cuts the sum.
    """
    _refuse_other_shapes(
        rewards=rewards, values=values, next_values=next_values, terminated=terminated, done=done
    )
    alive = (~terminated).to(rewards.dtype)
    goes_on = (~done).to(rewards.dtype)
    deltas = rewards + gamma * alive * next_values - values
    advantages = torch.empty_like(rewards)
    running = torch.zeros_like(rewards[0])
    for t in range(rewards.shape[0] - 1, -1, -1):
        running = deltas[t] + gamma * lam * goes_on[t] * running
        advantages[t] = running
    return advantages, advantages + values


def _refuse_other_shapes(**tensors: Tensor) -> None:
    """Refuse what is not (T, N) like the rest: torch would broadcast (T, N, 1) without a word where T == N."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1 or len(shapes["rewards"]) != 2:
        raise RobodistillError(
            f"gae: every tensor must be (T, N), got {shapes}; squeeze what has one dimension more"
        )
