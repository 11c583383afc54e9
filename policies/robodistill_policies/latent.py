"""What an encoder's features mean: estimates of known quantities first, then the part of the latent without names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robodistill_policies.clamp import clamp_with_way_back
from robodistill_policies.config import LatentNorm

NOISE = "latent_noise"
"""Observation group (..., latent_dim) of standard normal numbers, which only training has: without it z is its mean.

The noise is an input like any other: what was sampled while collecting is seen again when the loss is computed, so the
ratio of PPO starts at 1 and a stored segment repeats exactly.
"""
MIN_LOG_STD, MAX_LOG_STD = -5.0, 2.0
"""Bounds of ln s of a Gaussian latent."""


@dataclass(frozen=True)
class LatentLayout:
    """Widths of the two parts, and how the second one is bounded."""

    explicit: int
    """Leading elements, as the encoder gives them: estimates of quantities that have a unit."""
    implicit: int
    """The other elements: bounded by ``norm``."""
    norm: LatentNorm

    @property
    def features(self) -> int:
        """Return how many numbers the encoder must give: a Gaussian part takes a mean and a log-std each."""
        return self.explicit + self.implicit * (2 if self.norm == "gaussian" else 1)

    @property
    def width(self) -> int:
        """Return the width of the latent."""
        return self.explicit + self.implicit

    def latent(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return z (..., width) of features (..., features); ``noise`` (..., >= implicit) samples a Gaussian part."""
        if self.norm == "none":
            return features
        if self.norm == "gaussian":
            mean, log_std = self.gaussian(features)
            free = mean if noise is None else mean + torch.exp(log_std) * noise[..., : self.implicit]
        else:
            free = features[..., self.explicit :]
            free = torch.tanh(free) if self.norm == "tanh" else F.normalize(free, dim=-1, eps=1e-6)
        return torch.cat((features[..., : self.explicit], free), dim=-1) if self.explicit else free

    def gaussian(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and ln s (..., implicit) of a Gaussian latent: two halves, each with its own weights."""
        mean, raw = features[..., self.explicit :].chunk(2, dim=-1)
        return mean, clamp_with_way_back(raw, MIN_LOG_STD, MAX_LOG_STD)
