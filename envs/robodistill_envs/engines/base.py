"""The Engine contract: N worlds of one model, stepped together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import mujoco
import torch
from torch import Tensor


class Engine(ABC):
    """Steps N worlds; hands out live torch views; saves and restores all that it holds.

    ``sensordata`` and every derived field are one physics step behind ``qpos``/``qvel``, as after
    ``mj_step``. Task code reads sensors only, so that all it sees belongs to one instant.
    """

    model: mujoco.MjModel
    """The template; per-world values live in ``field``."""
    num_envs: int
    device: torch.device
    version: int = 0
    """Grows whenever ``sensordata`` may have changed."""

    @abstractmethod
    def state(self, name: str) -> Tensor:
        """Return the live float64 view (N, ...) of ``qpos``, ``qvel`` or ``ctrl``; writes count."""

    @property
    @abstractmethod
    def sensordata(self) -> Tensor:
        """Return the live float32 (N, nsensordata); read only."""

    @abstractmethod
    def field(self, name: str) -> Tensor:
        """Return the live per-world values (N, ...) of a model field, seeded from the template."""

    @abstractmethod
    def step(self, nstep: int) -> None:
        """Advance every world by ``nstep`` physics steps."""

    @abstractmethod
    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor, ctrl: Tensor) -> None:
        """Put worlds ``ids`` (sorted int64) into the given state, with delay buffers full of it.

        Rotors behind a backlash turn with their links, in the middle of their play, whatever is given for them.
        """

    @abstractmethod
    def update_constants(self, ids: Tensor) -> None:
        """Recompute what MuJoCo derives from masses and lengths after ``field`` writes."""

    @abstractmethod
    def unstable(self) -> Tensor:
        """Return (N,) bool: worlds whose physics diverged since their last reset (MuJoCo restarts them unasked)."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on bit for bit."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
