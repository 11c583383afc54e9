"""Operator: who says where to go, and who can stop the robot at any time."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from robodistill_deploy.drivers.base import Remote


class Operation(NamedTuple):
    """What the operator wants now."""

    stamp: float
    """[s] of ``time.monotonic`` when the operator was last heard, by key or heartbeat; its age is the dead man."""
    command: tuple[float, ...]
    """In SI units: the elements of every command signal that the policy reads, in the order of the interface."""
    arm: bool
    """Whether the robot shall leave the passive mode: stand up, go to its first pose and follow the policy."""
    stop: bool
    """Emergency stop: latches damping in any mode."""


class Operator(Protocol):
    """A source of operations. It is polled at every command tick and must not wait."""

    def open(self) -> None:
        """Find the device; a RobodistillError says what is missing."""
        ...

    def poll(self, t: float, remote: Remote | None) -> Operation:
        """Return what is wanted at ``t`` [s]; ``remote`` is the robot's own, as its newest reading brought it."""
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


class Fixed:
    """Arms at once and commands the same all the time, as from a script. Ctrl-C stops."""

    def __init__(self, command: tuple[float, ...]) -> None:
        self._command = command

    def open(self) -> None:
        """There is no device."""

    def poll(self, t: float, remote: Remote | None) -> Operation:
        """Return the fixed command, always fresh."""
        del remote
        return Operation(t, self._command, arm=True, stop=False)

    def close(self) -> None:
        """There is no device."""


class Scripted:
    """Plays operations by time: from ``start`` [s after the first poll] on, each holds until the next."""

    def __init__(self, script: tuple[tuple[float, Operation], ...]) -> None:
        """Take (start, operation) pairs, the first at 0. A stamp of NaN in an operation means always fresh."""
        self._script = script
        self._begun: float | None = None

    def open(self) -> None:
        """There is no device."""

    def poll(self, t: float, remote: Remote | None) -> Operation:
        """Return the operation whose time it is."""
        del remote
        self._begun = t if self._begun is None else self._begun
        current = [operation for start, operation in self._script if start <= t - self._begun + 1e-9][-1]
        return current._replace(stamp=t) if current.stamp != current.stamp else current

    def close(self) -> None:
        """There is no device."""
