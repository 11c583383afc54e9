"""Diagonal Gaussians as (mean, log_std) tensors (..., A); sums run over the action dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Return the log density (...,) of ``action`` (..., A)."""
    z = (action - mean) * torch.exp(-log_std)
    return -0.5 * z.square().sum(-1) - log_std.sum(-1) - 0.5 * math.log(2.0 * math.pi) * mean.shape[-1]


def entropy(log_std: Tensor) -> Tensor:
    """Return the entropy (...,) [nat]."""
    return log_std.sum(-1) + 0.5 * (1.0 + math.log(2.0 * math.pi)) * log_std.shape[-1]


def kl(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """Return KL(p || q) (...,) [nat]."""
    variance = torch.exp(2.0 * (log_std_p - log_std_q))
    distance = ((mean_p - mean_q) * torch.exp(-log_std_q)).square()
    return (0.5 * (variance + distance - 1.0) + log_std_q - log_std_p).sum(-1)


def interpolate(
    mean_a: Tensor, log_std_a: Tensor, mean_b: Tensor, log_std_b: Tensor, share: float
) -> tuple[Tensor, Tensor]:
    """Return mean and log_std of the Gaussian whose natural parameters lie a ``share`` of the way from a to b."""
    precision_a, precision_b = torch.exp(-2.0 * log_std_a), torch.exp(-2.0 * log_std_b)
    precision = (1.0 - share) * precision_a + share * precision_b
    mean = ((1.0 - share) * precision_a * mean_a + share * precision_b * mean_b) / precision
    return mean, -0.5 * torch.log(precision)
