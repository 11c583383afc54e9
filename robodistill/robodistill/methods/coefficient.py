"""A weight that is steered while training: part of the networks, so that it is saved and resumed with them.

    beta <- beta * factor   if figure > band * target
    beta <- beta / factor   if figure < target / band          within bounds

The rule of PPO's penalty variant (Schulman et al. 2017, section 4), which GPO and pi-Distill take over. They move once
in an epoch or an iteration; here it is after each optimisation step, by a factor that is accordingly smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import torch
from torch import Tensor, nn

from robodistill.builders import Build
from robodistill.segment import find
from robodistill_deploy.errors import RobodistillError


class Coefficient(nn.Module):
    """One number that no optimiser moves."""

    value: Tensor

    def __init__(self, start: float) -> None:
        """Begin with ``start``."""
        super().__init__()
        self.register_buffer("value", torch.tensor(start))


def coefficient(build: Build, *, start: float) -> Coefficient:
    """Return a coefficient that begins with ``start`` > 0."""
    if start <= 0.0:
        raise RobodistillError(f"coefficient.start: {start} stays where it is, whatever steers it; use more than 0")
    return Coefficient(start)


def steer(
    networks: Mapping[str, nn.Module], metrics: MutableMapping[str, Tensor], *, coefficient: str, figure: str,
    target: float, band: float = 1.2, factor: float = 1.05, bounds: tuple[float, float] = (1e-3, 10.0),
) -> None:  # fmt: skip
    """Raise ``coefficient`` where the figure that it presses down is above its target, and lower it below.

    The log has the coefficient that a step was made with.
    """
    if figure not in metrics:
        return
    found = find(networks, coefficient, Coefficient, "after")
    metrics[coefficient] = found.value.clone()
    if metrics[figure] > band * target:
        found.value.mul_(factor)
    elif metrics[figure] < target / band:
        found.value.div_(factor)
    found.value.clamp_(*bounds)


def value_of(networks: Mapping[str, nn.Module], name: str) -> Tensor | float:
    """Return the coefficient called ``name``; 1 for the empty name."""
    return find(networks, name, Coefficient, "coefficient").value if name else 1.0
