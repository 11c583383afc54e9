"""The last seconds of a session, for plots: every observation group, command, truth, latent and reward."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.resolve import resolve
from robodistill_deploy.spec import InterfaceSpec, TermSpec
from robodistill_envs.terms import privileged

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Trace:
    """One quantity over the last seconds."""

    time_s: NDArray[np.float64]
    """(T,) simulated time"""
    values: NDArray[np.float64]
    """(T, k)"""
    labels: tuple[str, ...]
    """k names"""
    unit: str

    def thinned(self, most: int) -> Trace:
        """Return at most about ``most`` points: each n-th tick, the same ones however long the trace has become."""
        stride = -(-len(self.time_s) // most)
        if stride < 2:
            return self
        ticks = np.round(self.time_s / (self.time_s[1] - self.time_s[0]))
        kept = ticks % stride == 0
        return Trace(self.time_s[kept], self.values[kept], self.labels, self.unit)


class Traces:
    """Rows of what one tick showed, the latest ``length``; terms are read back in their own units."""

    def __init__(self, spec: InterfaceSpec, length: int) -> None:
        self.spec = spec
        self._rows: deque[tuple[float, Mapping[str, Array]]] = deque(maxlen=length)
        self._terms: dict[str, tuple[str, int, TermSpec]] = {}
        for group, terms in spec.groups.items():
            start = 0
            for term in terms:
                self._terms[f"{group}.{term.name}"] = (group, start, term)
                start += term.dim

    @property
    def names(self) -> tuple[str, ...]:
        """Return ``group.term`` of every term that can be read."""
        return tuple(self._terms)

    def add(self, time_s: float, row: Mapping[str, Array]) -> None:
        """Keep one tick: a vector for each name."""
        self._rows.append((time_s, row))

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()

    def term(self, name: str) -> Trace:
        """Return a term in its unit: its scale undone (what it clipped stays clipped), parameters as they are."""
        if name not in self._terms:
            raise RobodistillError(unknown("term", name, self._terms))
        group, start, term = self._terms[name]
        drawn = parameter_of(term)
        if drawn is not None:
            return self.vector(f"parameter.{drawn}", _labels(self.spec, term), term.unit)
        scaled = self.vector(group, (), term.unit)
        values = scaled.values[:, start : start + term.dim] / np.asarray(term.scale)
        return Trace(scaled.time_s, values, _labels(self.spec, term), term.unit)

    def vector(self, name: str, labels: tuple[str, ...] = (), unit: str = "1") -> Trace:
        """Return what stands under ``name``, back to where it was last absent or of another width."""
        found: list[tuple[float, Array]] = []
        for time_s, row in reversed(self._rows):
            value = row.get(name)
            if value is None or (found and value.shape != found[0][1].shape):
                break
            found.append((time_s, value))
        found.reverse()
        width = len(found[0][1]) if found else len(labels)
        values = np.array([value for _, value in found], np.float64).reshape(len(found), width)
        times = np.array([time_s for time_s, _ in found], np.float64)
        return Trace(times, values, labels or tuple(str(i) for i in range(width)), unit)


def parameter_of(term: TermSpec) -> str | None:
    """Return the physical parameter that a term shows (mapped to [-1, 1]), or None."""
    shows: Any = resolve(term.type)
    return str(term.params["name"]) if shows is privileged.parameter else None


def _labels(spec: InterfaceSpec, term: TermSpec) -> tuple[str, ...]:
    """Name a term's elements after those of the signal that it shows, else count them."""
    sources = [term.params.get("sensor"), *term.inputs]
    for signal in spec.signals:
        if signal.name in sources and len(signal.elements) == term.dim:
            return signal.elements
    return (term.name,) if term.dim == 1 else tuple(f"{term.name} {i}" for i in range(term.dim))
