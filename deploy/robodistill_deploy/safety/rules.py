"""The rules that trip, one function each: what it found, or None. Off only where the robot lacks the signal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from robodistill_deploy.safety.plan import Plan, Watched
from robodistill_deploy.safety.state import Array, FilterState, Sensors, Target, Violation

LARGEST = 1e6
"""No norm of all signals of a robot or of its targets is larger, in SI units."""


class Now(NamedTuple):
    """One step, as the rules see it."""

    t: float
    before: float
    """[s] of the step before"""
    sensors: Sensors
    state: FilterState
    """With the newest reading admitted."""
    target: Target
    numbers: list[float]
    """The measurement as Python's numbers, which are faster one by one; empty without one."""


def is_sound(vector: Array) -> bool:
    """Return whether every number is finite and the whole is of a size that a robot can have."""
    return math.hypot(*vector.tolist()) <= LARGEST  # NaN compares false


def clock(now: Now, _: Plan) -> Violation | None:
    """Refuse a clock that goes back."""
    if now.t >= now.before and math.isfinite(now.t):
        return None
    return Violation("clock went back or is not finite: [s]", now.t, now.before)


def stale(now: Now, plan: Plan) -> Violation | None:
    """Refuse to go on without a reading that is new and in order; a counter that stands still is no news."""
    reading, limit = now.state.reading, plan.limits.max_sensor_age
    if reading is None:
        return Violation("no reading has arrived: age [s]", math.inf, limit)
    age = now.t - reading.stamp
    if -limit <= age <= limit:
        return None
    offered = now.sensors.reading
    why = _held_up(now, plan) + "newest reading"
    if offered is not None and offered.stamp > reading.stamp:
        behind = offered.tick < reading.tick
        why = "readings go back in the robot's count, newest" if behind else "the robot's count stands still, newest"
    return Violation(f"{why}: age [s]", age, limit)


def _held_up(now: Now, plan: Plan) -> str:
    """Return how long this program stood still, where that is what made a reading old; else nothing."""
    gap = now.t - now.before
    usual = max(plan.limits.max_sensor_age, 2.0 * plan.control_dt)
    return f"this computer held the program up for {1e3 * gap:.0f} ms, " if usual < gap < math.inf else ""


def finite(now: Now, plan: Plan) -> Violation | None:
    """Check the numbers that go in: a network may turn NaN into a number that looks right."""
    state = now.state
    if state.reading is not None and not state.sound:
        if state.measurement is None:
            return Violation("reading does not hold what the driver promised: it lacks signals or elements", 1.0, 0.0)
        return Violation("reading: largest number", float(np.max(np.abs(state.measurement))), LARGEST)
    values = now.target.values
    if values.shape != plan.lower.shape:
        return Violation("target: how many numbers", float(values.size), float(plan.lower.size))
    if is_sound(values):
        return None
    return Violation("target: largest number", float(np.max(np.abs(values))), LARGEST)


def frozen(now: Now, plan: Plan) -> Violation | None:
    """Refuse readings that count on but repeat the same numbers bit for bit; a real sensor has noise."""
    reading = now.state.reading
    if reading is None or reading.stamp - now.state.changed <= plan.limits.max_frozen:
        return None
    return Violation("readings repeat the same numbers: [s]", reading.stamp - now.state.changed, plan.limits.max_frozen)


def dead_man(now: Now, plan: Plan) -> Violation | None:
    """Refuse to go on when nobody holds the controls."""
    age = now.t - now.sensors.operator
    if age <= plan.limits.max_command_age:
        return None
    return Violation("operator last heard: age [s]", age, plan.limits.max_command_age)


def deadline(now: Now, plan: Plan) -> Violation | None:
    """Refuse a target of the policy that is several control periods old."""
    if not now.target.by_policy:
        return None
    late = (now.t - now.target.stamp) / plan.control_dt
    if late <= plan.limits.missed_deadlines:
        return None
    return Violation("target of the policy: age in control periods", late, plan.limits.missed_deadlines)


def attitude(now: Now, plan: Plan) -> Violation | None:
    """Refuse a quaternion that is none: its norm must be near 1."""
    if plan.quaternion is None:
        return None
    w, x, y, z = plan.quaternion
    n = now.numbers
    norm = math.hypot(n[w], n[x], n[y], n[z])
    return None if 0.9 <= norm <= 1.1 else Violation("norm of imu_quat_wxyz", norm, 1.0)


def position_range(now: Now, plan: Plan) -> Violation | None:
    """Refuse joints beyond their mechanical range: an encoder or an order is wrong."""
    return None if now.state.usual else _outside(plan.range, now.state.measurement)


def tilt(now: Now, plan: Plan) -> Violation | None:
    """Refuse to go on when the robot leans too far."""
    if plan.quaternion is None:
        return None
    up = _up(now.numbers, plan.quaternion)
    angle = math.acos(max(-1.0, min(1.0, up[2])))
    return None if angle <= plan.limits.max_tilt else Violation("tilt [rad]", angle, plan.limits.max_tilt)


def fall(now: Now, plan: Plan) -> Violation | None:
    """Refuse to go on when the gyro says that the robot will soon lean too far."""
    if plan.quaternion is None or plan.gyro is None:
        return None
    ux, uy, uz = _up(now.numbers, plan.quaternion)
    wx, wy = now.numbers[plan.gyro[0]], now.numbers[plan.gyro[1]]
    leaning = math.hypot(ux, uy)
    # d(up)/dt = up x gyro in the body's frame, so cos(tilt) falls by (gyro x up)_z
    rate = (wx * uy - wy * ux) / leaning if leaning > 1e-6 else math.hypot(wx, wy)
    ahead = math.atan2(leaning, uz) + plan.limits.fall_horizon * rate
    limit = plan.limits.max_fall_tilt
    return None if ahead <= limit else Violation("tilt to come [rad]", ahead, limit)


def training_range(now: Now, plan: Plan) -> Violation | None:
    """Refuse signals far from everything that the policy saw in training."""
    if now.state.usual or not now.target.by_policy:
        return None
    return _outside(plan.training, now.state.measurement)


def _up(numbers: list[float], places: list[int]) -> tuple[float, float, float]:
    """Return the vertical in the IMU's frame, (0, 0, 1) when level; the rule ``attitude`` has seen to the norm."""
    a, b, c, d = places
    w, x, y, z = numbers[a], numbers[b], numbers[c], numbers[d]
    s = 2.0 / (w * w + x * x + y * y + z * z)
    return s * (x * z - w * y), s * (y * z + w * x), 1.0 - s * (x * x + y * y)


def _outside(watched: Watched, x: Array | None) -> Violation | None:
    if x is None or not watched.names:
        return None
    values = x[watched.places]
    outside = (values < watched.lower) | (values > watched.upper)
    if not outside.any():
        return None
    i = int(np.argmax(outside))
    value = float(values[i])
    return Violation(watched.names[i], value, float(watched.lower[i] if value < watched.lower[i] else watched.upper[i]))


Rule = Callable[[Now, Plan], Violation | None]

AT_ONCE: tuple[tuple[str, Rule], ...] = (
    ("clock", clock), ("stale", stale), ("finite", finite), ("frozen", frozen), ("attitude", attitude),
    ("dead_man", dead_man), ("deadline", deadline),
)  # fmt: skip
"""Rules that trip at the first violation."""
PERSISTENT: tuple[tuple[str, Rule], ...] = (
    ("position_range", position_range), ("tilt", tilt), ("fall", fall), ("training_range", training_range),
)  # fmt: skip
"""Rules that trip when they have been violated for some time without a break: one sample may be a glitch."""
