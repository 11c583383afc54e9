"""What goes into and comes out of the safety filter; all of it immutable."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.drivers.base import Reading

Array = NDArray[np.float64]


class Sensors(NamedTuple):
    """What arrived since the last step."""

    reading: Reading | None
    """The driver's newest; the filter itself refuses one that is older than what it has seen."""
    operator: float
    """[s] when the operator was last heard"""


class Target(NamedTuple):
    """What is wanted of the robot."""

    values: Array
    """One per name of every action part in the order of the interface, in the part's unit."""
    stamp: float
    """[s] when it was computed"""
    by_policy: bool
    """Whether the policy computed it: the rules of deadlines and of the training's range hold only then."""


class Event(NamedTuple):
    """A rule that acted. ``trip`` latches damping; otherwise the command was changed to keep a limit."""

    t: float
    """[s]"""
    rule: str
    what: str
    """Such as ``joint_pos of 'FL_calf_joint'``."""
    value: float
    limit: float
    trip: bool
    rate_unit: str = ""
    """Of ``value`` and ``limit`` where they are rates of change, such as ``rad/s``."""

    def __str__(self) -> str:
        """Return one line: rule, what, value, limit."""
        if self.rate_unit:
            return f"{self.rule}: {self.what} changes at {self.value:.4g} {self.rate_unit}, limit {self.limit:.4g}"
        figures = f" is {self.value:.4g}, limit {self.limit:.4g}" if math.isfinite(self.limit) else ""
        return f"{self.rule}: {self.what}{figures}"


class Violation(NamedTuple):
    """What a rule found."""

    what: str
    value: float
    limit: float


class FilterState(NamedTuple):
    """What the filter knows from the steps before; begin with ``FilterState()``."""

    t: float = -math.inf
    """[s] of the last step"""
    reading: Reading | None = None
    """The newest reading in order."""
    measurement: Array | None = None
    """Its numbers, see ``Layout``; None if it did not hold what the driver promised."""
    sound: bool = False
    """Whether every number of it is finite and of a size that a robot can measure."""
    usual: bool = False
    """Whether all of it is within joint ranges and within what was seen in training."""
    changed: float = -math.inf
    """[s] stamp of the first reading with these numbers"""
    previous: Array | None = None
    """Values of the last command; None while damping."""
    since: tuple[float, ...] = ()
    """[s] per persistent rule, since when it has been violated; infinity if it is not"""
    clipped: tuple[str, ...] = ()
    """Rules that changed the last command."""
    trip: Event | None = None
    """The first trip. It stays."""
