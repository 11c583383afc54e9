"""Whoever can drive the worlds of an evaluation: torch policies, the exported file, nothing at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robodistill_deploy import runtime
from robodistill_envs.vector import VecEnv
from robodistill_policies.encoders.base import State
from robodistill_policies.policy import Policy


class Driver(ABC):
    """Acts in every world at each tick; an episode begins with ``start``."""

    identity: str = ""
    """What tells the driver from all others that do not act alike, where somebody knows."""
    latent: Tensor | None = None
    """(num_envs, Z) of the last tick, if the driver has one."""

    @abstractmethod
    def start(self, env: VecEnv) -> None:
        """Begin with fresh policy states in all worlds."""

    @abstractmethod
    def act(self, env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
        """Return raw actions (num_envs, action_dim)."""


class ZeroDriver(Driver):
    """Raw action zero: the robot holds its default pose."""

    identity = "zero"

    def start(self, env: VecEnv) -> None:
        """Nothing to begin."""

    def act(self, env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
        """Return zeros."""
        return torch.zeros(env.num_envs, env.action_dim)


class TorchDriver(Driver):
    """A torch policy's mean action."""

    def __init__(self, policy: Policy, identity: str = "") -> None:
        self.policy, self.identity = policy, identity
        self.state: State = {}
        self.before: State = {}
        """The policy state before the last tick."""

    def start(self, env: VecEnv) -> None:
        """Take the initial policy state."""
        self.state = self.before = self.policy.initial_state(env.num_envs)

    @torch.no_grad()
    def act(self, env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
        """Return the mean action."""
        self.before = self.state
        output, self.state = self.policy.step(obs, self.state)
        self.latent = output.latent
        return output.mean


class OnnxDriver(Driver):
    """The exported file through the robot's own runtime: one instance a world, fed with signals only."""

    def __init__(self, path: Path) -> None:
        self.policy = runtime.load_policy(path)

    def start(self, env: VecEnv) -> None:
        """Clone the policy for every world."""
        self.clones = [self.policy.clone() for _ in range(env.num_envs)]
        parts = self.policy.spec.interface.actions
        self._names = [part.name for part in parts]
        self._default = np.array([v for part in parts for v in part.default], np.float32)
        self._scale = np.array([v for part in parts for v in part.scale], np.float32)

    def act(self, env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
        """Return the raw actions that make the targets the runtime asks for."""
        signals = {s.name: env.world.signals[s.name].numpy() for s in self.policy.signals}
        targets = np.empty((env.num_envs, env.action_dim), np.float32)
        for i, clone in enumerate(self.clones):
            parts = clone.tick({name: value[i] for name, value in signals.items()})
            targets[i] = np.concatenate([parts[name] for name in self._names])
        return torch.from_numpy((targets - self._default) / self._scale)
