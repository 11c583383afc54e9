"""Steering: forward, left and turn, each in [-1, 1], to the command that a policy was trained with."""

from __future__ import annotations

from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.policy_spec import PolicySpec

_AXES = {
    "forward": ("vx", "lin_vel_x", "forward"), "left": ("vy", "lin_vel_y", "left"),
    "turn": ("yaw_rate", "ang_vel_z", "wz", "turn"),
}  # fmt: skip
"""Axis -> names of command elements that it drives; +x forward, +y left, +z up, so turning left is positive."""


class Steering:
    """Maps sticks and keys by the names and trained ranges in the policy file."""

    def __init__(self, spec: PolicySpec) -> None:
        """Refuse a policy whose commands no stick can give."""
        trained = {command.signal: command for command in spec.interface.commands}
        self._rows: list[tuple[str, float, float, float]] = []
        elements: list[str] = []
        for signal in spec.interface.signals:
            if signal.source != "command":
                continue
            elements += signal.elements
            ranges = zip(
                signal.elements, trained[signal.name].lower, spec.commands[signal.name].default,
                trained[signal.name].upper, strict=True,
            )  # fmt: skip
            self._rows += [(_axis(name), low, default, high) for name, low, default, high in ranges]
        if elements and not any(axis for axis, *_ in self._rows):
            known = ", ".join(name for names in _AXES.values() for name in names)
            raise RobodistillError(
                f"the policy's commands are {', '.join(elements)}; an operator's sticks drive {known}: use --command"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """Return which of forward, left and turn the policy follows."""
        return tuple(axis for axis in _AXES if any(axis == own for own, *_ in self._rows))

    def command(self, forward: float, left: float, turn: float) -> tuple[float, ...]:
        """Return the command in SI units: 0 is the default, 1 and -1 the ends of the range it was trained in."""
        values = {"forward": forward, "left": left, "turn": turn}
        return tuple(_between(values.get(axis, 0.0), low, default, high) for axis, low, default, high in self._rows)


def _axis(element: str) -> str:
    return next((axis for axis, names in _AXES.items() if element in names), "")


def _between(share: float, low: float, default: float, high: float) -> float:
    share = max(-1.0, min(1.0, share))
    return default + (share * (high - default) if share > 0.0 else -share * (low - default))


def without_rest(value: float, dead: float) -> float:
    """Return a stick's value with what is within ``dead`` of the middle as 0, and the rest stretched to +-1."""
    if not abs(value) > dead:
        return 0.0
    size = min(1.0, (abs(value) - dead) / (1.0 - dead))
    return size if value > 0.0 else -size
