"""Driver: the robot-specific I/O of the runtime. Adding a robot link is one module with one class.

A driver knows its robot's own names and order; the runtime matches both by name. It computes nothing:
no filtering, no scaling, no safety. SI units, quaternions w x y z.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Remote:
    """The robot's own remote, as it was when the reading arrived."""

    axes: Array
    """(4,) left x, left y, right x, right y, each in [-1, 1], right and up positive"""
    buttons: frozenset[str] = frozenset()
    """Names of the pressed ones, such as ``A`` or ``L2``."""


@dataclass(frozen=True)
class Reading:
    """What the robot measured, all of one instant."""

    stamp: float
    """[s] of ``time.monotonic`` at arrival"""
    tick: int
    """The robot's own counter; one that stands still or goes back tells of a frozen or reordered link."""
    signals: Mapping[str, Array]
    """Signal -> its elements in the order of ``Driver.signals``."""
    remote: Remote | None = None


@dataclass(frozen=True)
class Command:
    """What every joint shall do: torque = kp (position - q) + kd (velocity - dq) + effort, made by the robot.

    Each (joints,) in the order of ``Driver.joints``. Damping is kp 0, velocity 0, effort 0 and kd above 0.
    """

    position: Array
    """[rad]"""
    velocity: Array
    """[rad/s]"""
    kp: Array
    """[N m/rad]"""
    kd: Array
    """[N m s/rad]"""
    effort: Array
    """[N m]"""
    twist: Array = field(default_factory=lambda: np.zeros(0))
    """[m/s, m/s, rad/s] forward, left, yaw; empty for robots that are driven by joints"""


class Driver(Protocol):
    """A link to one robot. Made with keyword options, which are its documentation for ``--set``."""

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the robot's joints in its own order; an attribute, or asked of the robot."""
        ...

    @property
    def signals(self) -> Mapping[str, tuple[str, ...]]:
        """Signal -> names of its elements, in the robot's own order."""
        ...

    def open(self) -> None:
        """Connect and take control of the motors; a DriverError says what is missing."""
        ...

    def read(self) -> Reading | None:
        """Return the newest reading without waiting; None before the first one."""
        ...

    def write(self, command: Command) -> None:
        """Send ``command`` without waiting."""
        ...

    def close(self) -> None:
        """Let go; a robot that hears nothing more must damp itself."""
        ...


class WrappedDriver:
    """A driver that stands before another one; what it does not do itself, that one does."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def joints(self) -> tuple[str, ...]:
        """Return the other's."""
        return self._driver.joints

    @property
    def signals(self) -> Mapping[str, tuple[str, ...]]:
        """Return the other's."""
        return self._driver.signals

    def open(self) -> None:
        """Open the other one."""
        self._driver.open()

    def read(self) -> Reading | None:
        """Return the other's newest reading."""
        return self._driver.read()

    def write(self, command: Command) -> None:
        """Let the other one send ``command``."""
        self._driver.write(command)

    def close(self) -> None:
        """Close the other one."""
        self._driver.close()
