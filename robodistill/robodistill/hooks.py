"""Hooks: what a phase does after each optimisation step, ``hook(networks, metrics, **params)``, without gradients."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from robodistill.segment import find


def ema(
    networks: Mapping[str, nn.Module], metrics: Mapping[str, Tensor], *, source: str, target: str, decay: float
) -> None:
    """Move ``target`` by a share ``1 - decay`` towards ``source``; buffers, such as statistics, are copied."""
    theirs, ours = (find(networks, name, nn.Module, "hook") for name in (source, target))
    for new, old in zip(theirs.parameters(), ours.parameters(), strict=True):
        old.lerp_(new, 1.0 - decay)
    for new, old in zip(theirs.buffers(), ours.buffers(), strict=True):
        old.copy_(new)
