"""The modes of a robot that is driven by a policy, as a pure state machine.

passive -> (stand up ->) ramp -> policy, and from anywhere -> damping, which stays.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.errors import SpecError
from robodistill_deploy.spec import InterfaceSpec

Array = NDArray[np.float64]

RAMP_SECONDS = 2.0
"""[s] from the measured pose to the policy's default pose"""
REACHED = 0.5
"""[rad] how far a joint may be from a pose and still count as there; a loaded joint sags."""


class Mode(enum.Enum):
    """What the robot is doing."""

    PASSIVE = "passive"
    """Damped, waiting for the operator to arm."""
    STAND_UP = "stand_up"
    """Going through the poses that lift it from the ground."""
    RAMP = "ramp"
    """Going from the measured pose to the policy's default pose."""
    POLICY = "policy"
    DAMPING = "damping"
    """After a trip, latched."""


class Pose(Protocol):
    """One pose of a stand-up."""

    @property
    def seconds(self) -> float:
        """[s] to get there."""
        ...

    @property
    def position(self) -> Sequence[float]:
        """[rad] of every name of every action part, in the order of the interface."""
        ...


class MachineState(NamedTuple):
    """Begin with ``MachineState()``."""

    mode: Mode = Mode.PASSIVE
    since: float = 0.0
    """[s] when the mode, or the current pose of a stand-up, began"""
    begin: Array | None = None
    """Values at ``since``."""
    pose: int = 0
    """Which pose of the stand-up is next."""


class Step(NamedTuple):
    """What a step of the machine wants."""

    state: MachineState
    goal: Array | None
    """Values to command; None in modes that damp, and in ``POLICY``, where the policy gives them."""
    fault: str = ""
    """Why the machine cannot go on; the caller trips."""


class Machine:
    """Immutable: what changes is in ``MachineState``."""

    def __init__(
        self, interface: InterfaceSpec, stand_up: Sequence[Pose] = (), ramp_seconds: float = RAMP_SECONDS
    ) -> None:
        """Prepare for one robot. Only values that are driven by position are ramped; the others stand still."""
        parts = interface.actions
        self.names = tuple(name for part in parts for name in part.names)
        self._moves = np.array([part.kind == "joint_position" for part in parts for _ in part.names])
        default = [
            value if part.kind == "joint_position" else 0.0 for part in parts for value in part.default
        ]
        self.default = np.array(default, dtype=np.float64)
        self._ramp = ramp_seconds if self._moves.any() else 0.0
        self._poses = tuple((pose.seconds, np.array(pose.position, dtype=np.float64)) for pose in stand_up)
        for seconds, position in self._poses:
            if position.shape != self.default.shape or not seconds > 0.0:
                raise SpecError(
                    f"stand_up: each pose needs seconds above 0 and {len(self.default)} positions, "
                    f"one has {seconds} s and {position.size}"
                )

    @property
    def seconds(self) -> tuple[float, float]:
        """Return how long the whole stand-up takes, and the ramp [s]."""
        return sum(seconds for seconds, _ in self._poses), self._ramp

    def step(
        self, state: MachineState, measured: Array | None, *, arm: bool, tripped: bool, t: float
    ) -> Step:
        """Advance to ``t`` [s]. ``measured`` are the values that change nothing now, None before a reading."""
        if tripped or state.mode is Mode.DAMPING:
            since = state.since if state.mode is Mode.DAMPING else t
            return Step(MachineState(Mode.DAMPING, since), None)
        if state.mode is Mode.PASSIVE:
            if not arm or measured is None:
                return Step(state, None)
            state = self._begin(measured, t)
        if state.mode is Mode.STAND_UP:
            return self._stand_up(state, t)
        if state.mode is Mode.RAMP:
            return self._go_to_default(state, measured, t)
        return Step(state, None)

    def _begin(self, measured: Array, t: float) -> MachineState:
        lies = bool(self._poses) and self._farthest(measured)[1] > REACHED
        return MachineState(Mode.STAND_UP if lies else Mode.RAMP, t, measured)

    def _stand_up(self, state: MachineState, t: float) -> Step:
        seconds, position = self._poses[state.pose]
        done = (t - state.since) / seconds
        if done < 1.0:
            return Step(state, self._between(state.begin, position, done))
        if state.pose + 1 < len(self._poses):
            return Step(MachineState(Mode.STAND_UP, t, position, state.pose + 1), position)
        return Step(MachineState(Mode.RAMP, t, position), position)

    def _go_to_default(self, state: MachineState, measured: Array | None, t: float) -> Step:
        done = (t - state.since) / self._ramp if self._ramp > 0.0 else 1.0
        if done < 1.0:
            return Step(state, self._between(state.begin, self.default, done))
        i, distance = self._farthest(measured) if measured is not None else (0, np.inf)
        if distance > REACHED and self._ramp > 0.0:
            return Step(
                state, self.default,
                f"joint {self.names[i]!r} is {distance:.3g} rad from the policy's default pose, limit {REACHED:g}: "
                "blocked, or another joint is wired to its name",
            )  # fmt: skip
        return Step(MachineState(Mode.POLICY, t), None)

    def _between(self, begin: Array | None, end: Array, done: float) -> Array:
        """Return the values at share ``done`` of the way, smooth at both ends."""
        begin = end if begin is None else begin
        share = done * done * (3.0 - 2.0 * max(0.0, done)) if done > 0.0 else 0.0
        return begin + share * (end - begin)

    def _farthest(self, measured: Array) -> tuple[int, float]:
        distance = np.where(self._moves, np.abs(measured - self.default), 0.0)
        i = int(np.argmax(distance))
        return i, float(distance[i])
