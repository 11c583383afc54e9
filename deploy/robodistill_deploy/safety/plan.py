"""Plan: thresholds and orders of one robot as arrays, made once so that a step only computes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.errors import DriverError
from robodistill_deploy.policy_spec import Statistics
from robodistill_deploy.safety.layout import GYRO, POSITION, QUATERNION, VELOCITY, Layout
from robodistill_deploy.safety.training_range import training_range
from robodistill_deploy.safety_limits import SafetyLimits, soft_range
from robodistill_deploy.spec import ActionPart

Array = NDArray[np.float64]

UNBOUNDED = 1e30
"""Stands for no limit where an infinity would make NaN of a product with zero."""

_USUAL = 1e5
"""Where nothing narrower is known: what is within is sound, see the rule ``finite``."""


class Watched(NamedTuple):
    """Numbers of the measurement that must stay within [lower, upper]."""

    places: NDArray[np.intp]
    lower: Array
    upper: Array
    names: tuple[str, ...]


class Plan:
    """Per value (see ``Layout``): limits and gains. Effort = ``gain * value - kp * position - kd * velocity``."""

    def __init__(self, layout: Layout, limits: SafetyLimits, observations: dict[str, Statistics]) -> None:
        limits.check(layout.interface)
        self.layout, self.limits = layout, limits
        parts = layout.interface.actions
        ranges = [soft_range(part, limits) for part in parts]
        self.lower = np.array([value for low, _ in ranges for value in low])
        self.upper = np.array([value for _, high in ranges for value in high])
        self.rate = _joined([limits.max_target_rate[part.name] for part in parts])
        self.rate_units = tuple(_rate_unit(part.unit) for part in parts for _ in part.names)
        self.control_dt = layout.interface.control_dt
        self._gains(parts)
        self._measured(parts)
        self.range = self._watch_range(parts)
        self.training = Watched(*training_range(layout, limits, observations))
        self._usual()
        both = QUATERNION in layout.signals
        self.quaternion = layout.place(QUATERNION, "wxyz").tolist() if both else None
        self.gyro = layout.place(GYRO, "xyz").tolist() if both and GYRO in layout.signals else None

    def _gains(self, parts: tuple[ActionPart, ...]) -> None:
        n = len(self.lower)
        self.kp, self.kd, self.damping = np.zeros(n), np.zeros(n), np.zeros(n)
        self.gain, self.effort = np.ones(n), np.full(n, UNBOUNDED)
        self.is_position, self.is_velocity, self.is_effort = np.zeros((3, n), dtype=bool)
        start = 0
        for part in parts:
            own = slice(start, start + part.dim)
            start += part.dim
            if part.kind == "base_twist":
                continue
            getattr(self, f"is_{part.kind.removeprefix('joint_')}")[own] = True
            self.kd[own], self.damping[own] = part.kd, self.limits.damping_kd[part.name]
            self.effort[own] = self.limits.effort_factor * np.array(part.effort_limit)
            if part.kind == "joint_position":
                self.kp[own] = self.gain[own] = part.kp
            elif part.kind == "joint_velocity":
                self.gain[own] = part.kd
        self.inverse_gain = 1.0 / self.gain

    def _measured(self, parts: tuple[ActionPart, ...]) -> None:
        """Find position and velocity of each value; what no law needs reads the first number, times a gain of 0."""
        layout, n = self.layout, len(self.lower)
        self.position, self.velocity = np.zeros(n, np.intp), np.zeros(n, np.intp)
        if layout.size == 0:
            raise DriverError("the driver delivers no signals, so nothing can be watched; see Driver.signals")
        start = 0
        for part in parts:
            own = slice(start, start + part.dim)
            start += part.dim
            if part.kind == "joint_position":
                self.position[own] = layout.place(POSITION, part.names)
            if part.kind != "base_twist" and any(kd > 0.0 for kd in part.kd):
                self.velocity[own] = layout.place(VELOCITY, part.names)

    def _usual(self) -> None:
        """Prepare the checks that find in few operations that all is well, which it nearly always is."""
        limits = (self.lower, self.upper, self.rate, self.effort, self.gain)
        laws = (self.kp, self.position, self.kd, self.velocity)
        self.keeps = tuple(zip(*(column.tolist() for column in (*limits, *laws)), strict=True))
        """Per value the limits and the law of its effort, as Python's numbers; see ``clip.passes``"""
        size = self.layout.size
        self.usual_lower, self.usual_upper = np.full(size, -_USUAL), np.full(size, _USUAL)
        for watched in (self.range, self.training):
            places = watched.places
            self.usual_lower[places] = np.maximum(self.usual_lower[places], watched.lower)
            self.usual_upper[places] = np.minimum(self.usual_upper[places], watched.upper)

    def _watch_range(self, parts: tuple[ActionPart, ...]) -> Watched:
        own = [part for part in parts if part.kind == "joint_position"]
        margin = self.limits.position_margin
        return Watched(
            self.position[self.is_position],
            _joined([part.lower for part in own]) - margin,
            _joined([part.upper for part in own]) + margin,
            tuple(f"{POSITION} of {name!r}" for part in own for name in part.names),
        )


def _rate_unit(unit: str) -> str:
    return unit.replace("/s", "/s2") if "/s" in unit else f"{unit}/s"


def _joined(lists: list[tuple[float, ...]]) -> Array:
    return np.array([value for values in lists for value in values], dtype=np.float64)
