"""Running mean and variance of observations, a submodule of the network that reads them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-4
"""Added to the variance: an element that never moved (std 0) is divided by 0.01, not by 0."""

CLIP = 10.0
"""Normalised values are clipped to +-CLIP standard deviations."""


class Normalizer(nn.Module):
    """Maps x (..., dim) to ``clip((x - mean) / sqrt(var + EPSILON))`` with moments of all data seen so far.

    Moments are float64, so that a count of many millions still grows by one. Before the first update mean is
    0 and variance is 1.
    """

    mean: Tensor
    var: Tensor
    count: Tensor
    frozen: Tensor

    def __init__(self, dim: int) -> None:
        """Start with no data for vectors of ``dim`` elements."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("var", torch.ones(dim, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor, columns: slice = slice(None)) -> Tensor:
        """Return the normalised x, same shape and dtype; ``columns`` are the elements that x holds."""
        mean = self.mean[columns].to(x.dtype)
        scale = torch.rsqrt(self.var[columns] + EPSILON).to(x.dtype)
        return ((x - mean) * scale).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in a batch x (..., dim); does nothing while frozen."""
        rows = x.detach().reshape(-1, x.shape[-1]).to(torch.float64)
        if rows.shape[0]:
            var, mean = torch.var_mean(rows, dim=0, correction=0)
            self.merge(mean, var, float(rows.shape[0]))

    @torch.no_grad()
    def merge(self, mean: Tensor, var: Tensor, count: float) -> None:
        """Merge the mean and (biased) variance of ``count`` further rows exactly (Chan et al. 1979)."""
        if bool(self.frozen):
            return
        total = self.count + count
        delta = mean - self.mean
        old, new = self.count / total, count / total
        # With no data yet old is 0, and the initial mean 0 and variance 1 leave no trace.
        self.var.copy_(old * self.var + new * var + old * new * delta.square())
        self.mean.add_(new * delta)
        self.count.copy_(total)

    def freeze(self, frozen: bool = True) -> None:
        """Stop (or with False resume) taking in data; saved with the module."""
        self.frozen.fill_(frozen)
