"""A clamp that a gradient can leave again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,), grad = ctx.saved_tensors, grads[0]
        # Descent moves x against the gradient: stop it only where that leads further out.
        outwards = ((x <= ctx.low) & (grad > 0)) | ((x >= ctx.high) & (grad < 0))
        return grad.masked_fill(outwards, 0.0), None, None


def clamp_with_way_back(x: Tensor, low: float, high: float) -> Tensor:
    """Return x clamped to [low, high]; the gradient vanishes only where it points further out of the range.

    A plain clamp has no gradient outside, so a value that once left would stay there.
    """
    if not x.requires_grad or not torch.is_grad_enabled():
        return x.clamp(low, high)
    return _Clamp.apply(x, low, high)
