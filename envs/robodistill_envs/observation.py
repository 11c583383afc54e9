"""Turn signals, internal states and privileged state into the groups that networks read.

``SignalTerms`` is the one implementation of a deployable group: the environment calls its terms on N worlds,
the export traces it on one robot.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robodistill_deploy.errors import SpecError
from robodistill_deploy.spec import InterfaceSpec, TermSpec
from robodistill_envs.functions import bind
from robodistill_envs.world import World


class _Term(nn.Module):
    """One term: its function, then scale and clip."""

    def __init__(self, term: TermSpec) -> None:
        super().__init__()
        self.term = term
        self.function = bind(term.type, term.params, f"term {term.name!r}")
        self.register_buffer("scale", torch.tensor(term.scale), persistent=False)
        self.is_plain = all(s == 1.0 for s in term.scale)

    def raw(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the value of a term that is not privileged, in its unit."""
        return self.function(*(inputs[name] for name in self.term.inputs))

    def finish(self, value: Tensor) -> Tensor:
        """Return the scaled and clipped value."""
        value = value if self.is_plain else value * self.get_buffer("scale")
        return value.clamp(-self.term.clip, self.term.clip)


class SignalTerms(nn.Module):
    """A group without privileged terms: {signal or internal name: (..., dim)} -> (..., group dim)."""

    def __init__(self, spec: InterfaceSpec, group: str) -> None:
        super().__init__()
        self.parts = nn.ModuleList(_Term(term) for term in spec.terms(group) if term.source != "privileged")

    def values(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Return each term's scaled and clipped value (..., dim), in order."""
        return [part.finish(part.raw(inputs)) for part in self.parts if isinstance(part, _Term)]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the concatenated terms."""
        return torch.cat(self.values(inputs), dim=-1)


class ObservationGroup:
    """Any group, privileged terms included, of a World."""

    def __init__(self, spec: InterfaceSpec, group: str) -> None:
        terms = spec.terms(group)
        self._parts = [_Term(term) for term in terms]
        self.names = [term.name for term in terms]
        self.widths = [term.dim for term in terms]
        # scaled and clipped all at once: what SignalTerms does term by term, to the last bit
        self._scale = torch.tensor([s for term in terms for s in term.scale])
        self._clip = torch.tensor([term.clip for term in terms for _ in range(term.dim)])

    def __call__(self, world: World) -> Tensor:
        """Return (num_envs, group dim) float32; NaN where a term is not finite."""
        inputs = {**world.signals, **world.internals}
        raw = torch.cat([self._value(part, world, inputs) for part in self._parts], dim=1)
        value = torch.clamp(raw * self._scale, -self._clip, self._clip)
        # clipping would hide an infinity: 0 * inf is NaN, 0 times anything finite adds nothing
        return value.add_(raw.mul_(0.0))

    @staticmethod
    def _value(part: _Term, world: World, inputs: Mapping[str, Tensor]) -> Tensor:
        term = part.term
        value = part.function(world) if term.source == "privileged" else part.raw(inputs)
        if value.shape != (world.num_envs, term.dim):
            raise SpecError(
                f"term {term.name!r}: expected shape {(world.num_envs, term.dim)}, got {tuple(value.shape)}"
            )
        return value

    def locate(self, column: int) -> str:
        """Return the name of the term that holds ``column`` of the group."""
        for name, width in zip(self.names, self.widths, strict=True):
            if column < width:
                return name
            column -= width
        return "?"
