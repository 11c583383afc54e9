"""The policy's input as one vector: measured numbers and the operator's command, each at its place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runtime import SignalError
from robodistill_deploy.safety.layout import Layout

Array = NDArray[np.float64]


class PolicyInputs:
    """Fills ``vector`` in place: the elements of ``interface.signals``, one signal after another."""

    def __init__(self, spec: PolicySpec, layout: Layout) -> None:
        source: list[int] = []
        sink: list[int] = []
        commanded: list[int] = []
        start = 0
        for signal in spec.interface.signals:
            places = range(start, start + signal.dim)
            start += signal.dim
            if signal.source == "command":
                commanded += places
            else:
                sink += places
                source += layout.place(signal.name, signal.elements).tolist()
        self.vector = np.zeros(start, np.float32)
        self._source, self._sink = np.array(source, np.intp), _as_slice(sink)
        self._commanded = np.array(commanded, np.intp)
        self._command_rules(spec)
        self.reset()

    def _command_rules(self, spec: PolicySpec) -> None:
        trained = {command.signal: command for command in spec.interface.commands}
        lower: list[float] = []
        upper: list[float] = []
        default: list[float] = []
        step: list[float] = []
        for signal in spec.interface.signals:
            if signal.source == "command":
                rule = spec.commands[signal.name]
                lower += trained[signal.name].lower
                upper += trained[signal.name].upper
                default += rule.default
                step += (np.inf,) * signal.dim if rule.rate_limit is None else rule.rate_limit
        self._lower, self._upper, self._default = np.array(lower), np.array(upper), np.array(default)
        self._step = np.array(step) * spec.interface.control_dt

    def reset(self) -> None:
        """Begin anew from the default command."""
        self._command = self._default
        self._settled: tuple[float, ...] | None = None

    def fill(self, measurement: Array, command: tuple[float, ...]) -> None:
        """Take a measurement and a command for the next policy tick.

        The command is held to the ranges it was trained in, and moves no faster than its rule allows.
        """
        if len(command) != len(self._commanded):
            raise SignalError(f"the command has {len(command)} numbers, the policy reads {len(self._commanded)}")
        self.vector[self._sink] = measurement[self._source]
        if command and command != self._settled:
            self._move(command)

    def _move(self, command: tuple[float, ...]) -> None:
        before = self._command
        inside = np.minimum(np.maximum(command, self._lower), self._upper)
        self._command = np.minimum(np.maximum(inside, before - self._step), before + self._step)
        self.vector[self._commanded] = self._command
        self._settled = command if np.array_equal(self._command, inside) else None


def _as_slice(places: list[int]) -> slice | NDArray[np.intp]:
    """Return ``places`` as a slice where they follow one another, for that is filled in half the time."""
    if places and places == list(range(places[0], places[0] + len(places))):
        return slice(places[0], places[0] + len(places))
    return np.array(places, np.intp)
