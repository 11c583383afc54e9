"""What the functions that a control step is made of return: tensors with a row per world, and dicts of them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Tick(NamedTuple):
    """What n worlds are given before the physics moves them."""

    targets: Tensor
    """(n, nu) float64, of the servos."""
    pushed: dict[str, Tensor]
    """``push`` (n, 2), ``push_in`` (n,) and, where one is due, ``kick`` (n, 2) float64 [m/s]; empty without pushes."""
    steps: Tensor
    command_age: Tensor
    internals: dict[str, Tensor]


class Outcome(NamedTuple):
    """What a step led to, in n worlds."""

    terminated: Tensor
    truncated: Tensor
    done: Tensor
    """(n,) bool, like the two before."""
    causes: dict[str, Tensor]
    """(n,) bool by name, why terminated."""
    rewards: Tensor
    """(n, terms), weighted."""
    reward: Tensor
    """(n,), their sum."""
    total: Tensor
    """Its sum over worlds, which is finite if all of it is."""
    sums: Tensor
    """(n, terms), rewards since the episode began."""
    asked: dict[str, Tensor]
    """``command`` (n, elements) and its ``age`` (n,) in what goes on; empty where none is due."""


class Seen(NamedTuple):
    """What is observed in n worlds."""

    groups: dict[str, Tensor]
    """(n, dim)"""
    signals: dict[str, Tensor]
    """(n, dim), what the groups are made of."""
    total: Tensor
    """The sum of all groups, which is finite if all of it is."""
