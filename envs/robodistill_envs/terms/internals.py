"""Internal states of the interface: carried from tick to tick by environment and exported graph alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LastAction(nn.Module):
    """The raw action of the previous tick, zero at the start."""

    def __init__(self, dim: int, control_dt: float) -> None:
        super().__init__()
        self.dim = dim

    def initial(self) -> Tensor:
        """Return (dim,)."""
        return torch.zeros(self.dim)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the next state (..., dim) after raw ``action`` (..., dim)."""
        return action


class GaitPhase(nn.Module):
    """A clock in [0, 1) that runs at ``frequency`` [Hz]."""

    def __init__(self, dim: int, control_dt: float, frequency: float) -> None:
        super().__init__()
        self.dim = dim
        self.increment = frequency * control_dt

    def initial(self) -> Tensor:
        """Return (1,)."""
        return torch.zeros(self.dim)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the next phase (..., 1)."""
        return torch.remainder(state + self.increment, 1.0)
