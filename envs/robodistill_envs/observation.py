"""Turn signals, internal states and privileged state into the groups that networks read.

``SignalTerms`` is the one implementation of a deployable group: the environment calls it on N worlds,
the export traces it on one robot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from robodistill_deploy.errors import SpecError
from robodistill_deploy.resolve import resolve_function
from robodistill_deploy.spec import InterfaceSpec, TermSpec
from robodistill_envs.world import World


class _Scaled(nn.Module):
    """One term: its function, then scale and clip."""

    def __init__(self, term: TermSpec) -> None:
        super().__init__()
        self.term = term
        self.function: Callable[..., Tensor] = resolve_function(term.type, term.params, f"term {term.name!r}")
        self.register_buffer("scale", torch.tensor(term.scale), persistent=False)
        self.is_plain = all(s == 1.0 for s in term.scale)

    def finish(self, value: Tensor) -> Tensor:
        """Return the scaled and clipped value."""
        value = value if self.is_plain else value * self.get_buffer("scale")
        return value.clamp(-self.term.clip, self.term.clip)


class SignalTerms(nn.Module):
    """A group without privileged terms: {signal or internal name: (..., dim)} -> (..., group dim)."""

    def __init__(self, spec: InterfaceSpec, group: str) -> None:
        super().__init__()
        self.parts = nn.ModuleList(_Scaled(term) for term in spec.terms(group) if term.source != "privileged")

    def values(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Return each term's scaled and clipped value (..., dim), in order."""
        return [
            part.finish(part.function(*(inputs[name] for name in part.term.inputs), **part.term.params))
            for part in self.parts
            if isinstance(part, _Scaled)
        ]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the concatenated terms."""
        return torch.cat(self.values(inputs), dim=-1)


class ObservationGroup:
    """Any group, privileged terms included, of a World."""

    def __init__(self, spec: InterfaceSpec, group: str) -> None:
        self._parts = [_Scaled(term) for term in spec.terms(group)]
        self.names = [part.term.name for part in self._parts]
        self.widths = [part.term.dim for part in self._parts]

    def __call__(self, world: World) -> Tensor:
        """Return (num_envs, group dim) float32; NaN where a term is not finite."""
        inputs = {**world.signals, **world.internals}
        raw: list[Tensor] = []
        columns: list[Tensor] = []
        for part in self._parts:
            term = part.term
            if term.source == "privileged":
                value = part.function(world, **term.params)
            else:
                value = part.function(*(inputs[name] for name in term.inputs), **term.params)
            if value.shape != (world.num_envs, term.dim):
                raise SpecError(
                    f"term {term.name!r}: expected shape {(world.num_envs, term.dim)}, got {tuple(value.shape)}"
                )
            raw.append(value)
            columns.append(part.finish(value))
        # clipping would hide an infinity: 0 * inf is NaN, 0 times anything finite adds nothing
        return torch.cat(columns, dim=1) + 0.0 * torch.cat(raw, dim=1)

    def locate(self, column: int) -> str:
        """Return the name of the term that holds ``column`` of the group."""
        for name, width in zip(self.names, self.widths, strict=True):
            if column < width:
                return name
            column -= width
        return "?"
