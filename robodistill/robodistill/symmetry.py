"""Left-right reflection of observations and actions, from the ``mirror`` declarations of the spec."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.spec import InterfaceSpec, TermSpec

Map = tuple[Tensor, Tensor]
"""(permutation int64 (d,), signs (d,)): mirrored[i] = sign[i] * value[permutation[i]]"""


def _join(parts: list[tuple[tuple[int, ...], tuple[float, ...]]]) -> Map:
    permutation: list[int] = []
    signs: list[float] = []
    for indices, part_signs in parts:
        start = len(permutation)
        permutation += [start + i for i in indices]
        signs += part_signs
    return torch.tensor(permutation), torch.tensor(signs)


def _of_term(group: str, term: TermSpec) -> tuple[tuple[int, ...], tuple[float, ...]]:
    if term.mirror is None:
        raise RobodistillError(
            f"symmetry: term {term.name!r} of group {group!r} declares no mirror; set phase.mirror=0"
        )
    return term.mirror


class Mirror:
    """Reflects the groups and the actions of one interface."""

    def __init__(self, spec: InterfaceSpec) -> None:
        self._groups = {g: _join([_of_term(g, t) for t in terms]) for g, terms in spec.groups.items()}
        parts = [p.mirror for p in spec.actions]
        if any(p is None for p in parts):
            raise RobodistillError(f"symmetry: robot {spec.robot!r} declares no mirror; set phase.mirror=0")
        self._action = _join([p for p in parts if p is not None])

    def obs(self, group: str, value: Tensor) -> Tensor:
        """Return the mirrored group (..., dim)."""
        permutation, signs = self._groups[group]
        return value[..., permutation] * signs

    def action(self, value: Tensor) -> Tensor:
        """Return the mirrored raw action (..., A)."""
        permutation, signs = self._action
        return value[..., permutation] * signs

    def minibatch(self, batch: Minibatch, share: float, generator: torch.Generator) -> None:
        """Reflect a random ``share`` of the samples in place; what the old policy did is reflected with them."""
        size = batch.data["action"].shape[0]
        chosen = torch.rand(size, generator=generator) < share
        batch.data["mirrored"] = chosen
        batch.obs = {g: torch.where(chosen.unsqueeze(1), self.obs(g, v), v) for g, v in batch.obs.items()}
        permutation, _ = self._action
        for name in ("action", "mean", "label_mean"):
            if name in batch.data:
                value = batch.data[name]
                batch.data[name] = torch.where(chosen.unsqueeze(1), self.action(value), value)
        for name in ("log_std", "label_log_std"):
            if name in batch.data:
                value = batch.data[name]
                batch.data[name] = torch.where(chosen.unsqueeze(1), value[..., permutation], value)
