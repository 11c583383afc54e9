"""Preflight: does this robot, as its driver shows it now, fit this policy? Asked before the motors are armed.

Joints, signals and elements are compared by name; then a second of readings from the robot at rest must look like
what the policy was trained on: fresh, often enough, finite, in SI units, level, within the joints' limits.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy import binding
from robodistill_deploy.drivers.base import Driver, Reading
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.spec import ActionPart, SignalSpec

Signals = Mapping[str, tuple[str, ...]]
Array = NDArray[np.float64]

MIN_READINGS = 20
"""Readings to judge a robot by."""
RATE_SHARE = 0.9
"""Share of the control rate that readings must at least arrive with."""
NORM_MARGIN = 0.02
"""Largest deviation of a quaternion's norm from 1."""
MAX_TILT = 0.6
"""[rad] from upright, in which a robot may be switched on"""
MIN_W = 0.05
"""A level robot's w is about 0 at a heading of 180 degrees, and wherever w is not where it should be."""
REST_SPEED = {"rad/s": 1.0, "m/s": 0.5}
"""Largest speed of a robot at rest, by unit."""

_DEGREES = math.degrees(1.0)


class PreflightError(RobodistillError):
    """The robot does not fit the policy, or is not in a state to begin in."""


def preflight(spec: PolicySpec, joints: Sequence[str], signals: Signals, readings: Sequence[Reading]) -> None:
    """Refuse a robot that does not fit ``spec``.

    ``joints`` and ``signals`` are those of the driver, in its own order; ``readings`` what it delivered in about the
    last second, the robot at rest. The error is the first problem; ``problems`` lists all.
    """
    found = problems(spec, joints, signals, readings)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PreflightError(found[0] + more)


class Observation:
    """Look at a robot that lies passive, and decides once whether it may be armed."""

    def __init__(self, spec: PolicySpec, driver: Driver, seconds: float) -> None:
        """``seconds`` of readings decide; 0 arms unseen."""
        self._spec, self._driver, self._seconds = spec, driver, seconds
        self._readings: deque[Reading] = deque()
        self._begin: float | None = None
        self._passed = seconds <= 0.0

    def add(self, reading: Reading | None, t: float) -> None:
        """Take what the driver offers at ``t`` [s]."""
        self._begin = t if self._begin is None else self._begin
        if self._passed or reading is None or (self._readings and self._readings[-1] is reading):
            return
        self._readings.append(reading)
        while reading.stamp - self._readings[0].stamp > self._seconds:
            self._readings.popleft()

    def passed(self, t: float) -> bool:
        """Return False until enough was seen, then True or a PreflightError."""
        if self._passed or self._begin is None or t - self._begin < self._seconds:
            return self._passed
        preflight(self._spec, self._driver.joints, self._driver.signals, self._readings)
        self._passed = True
        self._readings.clear()
        return True


def problems(
    spec: PolicySpec, joints: Sequence[str], signals: Signals, readings: Sequence[Reading]
) -> list[str]:
    """Return every problem, each one line that names its fix; empty for a robot that may be armed.

    A robot of other names is not looked at further: its numbers would mean something else.
    """
    named = [*_joint_problems(spec, joints), *_signal_problems(spec, signals)]
    if named:
        return named
    found = [*_arrival_problems(spec, readings), *_shape_problems(spec, signals, readings)]
    if found or not readings:
        return found
    wanted = [s for s in spec.interface.signals if s.source == "sensor"]
    return [line for s in wanted for line in _value_problems(spec, s, _values(s, signals, readings))]


def _joint_problems(spec: PolicySpec, joints: Sequence[str]) -> Iterator[str]:
    try:
        binding.check_joints(spec.interface, joints)
    except RobodistillError as error:
        yield f"{error}; the policy is for {spec.interface.robot!r}: load the file made for this robot"


def _signal_problems(spec: PolicySpec, signals: Signals) -> Iterator[str]:
    names = {name for part in spec.interface.actions for name in part.names}
    for signal in spec.interface.signals:
        if signal.source != "sensor":
            continue
        if signal.name not in signals:
            yield f"{unknown('signal', signal.name, signals)}; let the driver deliver it, or train without it"
        elif sorted(signals[signal.name]) != sorted(signal.elements):
            yield (
                f"signal {signal.name!r}: the driver delivers {', '.join(signals[signal.name])}, the policy reads "
                f"{', '.join(signal.elements)}; name the driver's elements alike"
            )
        elif signals[signal.name] != signal.elements and not names.intersection(signal.elements):
            yield (
                f"signal {signal.name!r}: the driver delivers it in the order {', '.join(signals[signal.name])}, "
                f"deliver {', '.join(signal.elements)}"
            )


def _arrival_problems(spec: PolicySpec, readings: Sequence[Reading]) -> Iterator[str]:
    if len(readings) < MIN_READINGS:
        yield (
            f"{len(readings)} readings arrived, at least {MIN_READINGS} are needed: is the robot on, is the driver's "
            "address or interface the right one?"
        )
        return
    stamps = np.array([reading.stamp for reading in readings])
    steps = np.diff(stamps)
    if not np.isfinite(stamps).all() or (steps <= 0.0).any():
        yield "readings carry times that do not increase: stamp each with time.monotonic() when it arrives"
        return
    ticks = [reading.tick for reading in readings]
    if any(later <= earlier for earlier, later in itertools.pairwise(ticks)):
        yield "the robot's own counter stands still or goes back: restart its sender; a frozen reading repeats itself"
    rate, wanted = 1.0 / float(np.mean(steps)), 1.0 / spec.interface.control_dt
    if rate < RATE_SHARE * wanted:
        yield (
            f"readings arrive at {rate:.3g} Hz, the policy runs at {wanted:.4g} Hz: raise the robot's sending rate, "
            "or train with this one"
        )


def _shape_problems(spec: PolicySpec, signals: Signals, readings: Sequence[Reading]) -> Iterator[str]:
    for signal in spec.interface.signals:
        if signal.source != "sensor":
            continue
        size = len(signals[signal.name])
        for reading in readings:
            value = reading.signals.get(signal.name)
            if value is None or np.shape(value) != (size,):
                got = "is missing" if value is None else f"has shape {np.shape(value)}"
                yield f"a reading's signal {signal.name!r} {got}, the driver promised {size} numbers: correct it"
                break
            if not np.isfinite(value).all():
                yield f"a reading's signal {signal.name!r} is not finite: check the sensor and its cable"
                break


def _values(signal: SignalSpec, signals: Signals, readings: Sequence[Reading]) -> Array:
    """Return readings (T, dim) of ``signal`` in the policy's order."""
    order = [signals[signal.name].index(element) for element in signal.elements]
    return np.array([reading.signals[signal.name] for reading in readings], dtype=np.float64)[:, order]


def _value_problems(spec: PolicySpec, signal: SignalSpec, values: Array) -> list[str]:
    if signal.elements == ("w", "x", "y", "z"):
        return list(_quaternion_problems(signal, values))
    if signal.unit in REST_SPEED:
        return list(_speed_problems(signal, values))
    parts = [p for p in spec.interface.actions if p.kind == "joint_position" and p.unit == signal.unit]
    margin = spec.safety.position_margin  # encoders have offsets, legs lie on stops
    return [line for part in parts for line in _limit_problems(part, signal, values[-1], margin)]


def _quaternion_problems(signal: SignalSpec, values: Array) -> Iterator[str]:
    norms = np.linalg.norm(values, axis=1)
    worst = float(norms[np.argmax(np.abs(norms - 1.0))])
    if abs(worst - 1.0) > NORM_MARGIN:
        yield f"signal {signal.name!r} has norm {worst:.3g}, not 1: deliver a unit quaternion w, x, y, z"
        return
    w, x, y, _ = values[-1] / norms[-1]
    up = float(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0))
    tilt = math.acos(up)
    if tilt > MAX_TILT:
        yield (
            f"signal {signal.name!r} says that the robot is tilted by {tilt:.2f} rad: set it level on its feet or "
            "belly; if it is, the order is not w, x, y, z or the frame is not "
            f"{signal.frame!r}"
        )
    elif abs(w) < MIN_W:
        yield (
            f"signal {signal.name!r} has w = {w:.2g} on a level robot: the order is not w, x, y, z, or it faces away "
            "from its zero heading: turn it by 30 degrees and try again"
        )


def _speed_problems(signal: SignalSpec, values: Array) -> Iterator[str]:
    limit = REST_SPEED[signal.unit]
    typical = np.median(np.abs(values), axis=0)
    j = int(np.argmax(typical))
    if typical[j] > limit:
        yield (
            f"signal {signal.name!r}: {signal.elements[j]!r} is {typical[j]:.3g} {signal.unit} although the robot "
            f"is at rest: hold it still; if it is, the unit is not {signal.unit} or the sensor has a bias"
        )


def _limit_problems(part: ActionPart, signal: SignalSpec, now: Array, margin: float) -> Iterator[str]:
    measured = dict(zip(signal.elements, now, strict=True))
    for name, low, high in zip(part.names, part.lower, part.upper, strict=True):
        if name not in measured or _inside(measured[name], low, high, margin):
            continue
        value = float(measured[name])
        if abs(value) > 2.0 * math.pi and _inside(value / _DEGREES, low, high, margin):
            fix = "these look like degrees: deliver rad"
        else:
            fix = "calibrate its zero, or correct the driver's order and signs of joints"
        yield f"joint {name!r} stands at {value:.4g} {part.unit}, outside [{low:.4g}, {high:.4g}]: {fix}"
        return


def _inside(value: float, low: float, high: float, margin: float) -> bool:
    return low - margin <= value <= high + margin
