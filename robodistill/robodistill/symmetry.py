"""Left-right reflection of observations and actions, from the ``mirror`` declarations of the spec."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill.segment import Segment
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.spec import InterfaceSpec, TermSpec
from robodistill_policies.latent import NOISE

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


def declared(spec: InterfaceSpec) -> bool:
    """Return whether every term and action part says how it looks in the mirror."""
    terms = (term for group in spec.groups.values() for term in group)
    return all(thing.mirror is not None for thing in (*terms, *spec.actions))


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
        if group == NOISE:
            return value  # of no side
        permutation, signs = self._groups[group]
        return value[..., permutation] * signs

    def action(self, value: Tensor) -> Tensor:
        """Return the mirrored raw action (..., A)."""
        permutation, signs = self._action
        return value[..., permutation] * signs

    def double(self, segment: Segment) -> Segment:
        """Return the segment followed by its reflection, (2 T, N): what the old policy did is reflected with it."""
        obs = {g: torch.cat((v, self.obs(g, v))) for g, v in segment.obs.items()}
        permutation, _ = self._action
        data: dict[str, Tensor] = {}
        for name, value in segment.data.items():
            image = value
            if name in ("action", "mean", "label_mean"):
                image = self.action(value)
            elif name in ("log_std", "label_log_std"):
                image = value[..., permutation]
            elif name.startswith("next_"):
                image = self.obs(name.removeprefix("next_"), value)
            data[name] = torch.cat((value, image))
        data["mirrored"] = torch.zeros(data["action"].shape[:2], dtype=torch.bool)
        data["mirrored"][segment.shape[0] :] = True
        return Segment(obs, torch.cat((segment.resets, segment.resets)), data, drivers=segment.drivers)
