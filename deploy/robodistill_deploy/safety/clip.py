"""The limits that a command can keep, whatever is wanted: its values are changed, and the robot goes on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robodistill_deploy.safety.plan import Plan
from robodistill_deploy.safety.state import Array, Event

_TOLERANCE = 1e-9
"""Rounding of the effort that a value was clipped to, as a share of the limit."""


class Limited(NamedTuple):
    """Values that keep every limit."""

    values: Array
    scale: Array | None
    """Factor of the gains and of the effort, per value, in [0, 1]; None where all are 1."""
    effort: Array | None
    """[N m] predicted, before ``scale``; None where nothing had to be changed"""


def start(plan: Plan, measurement: Array) -> Array:
    """Return the values that change nothing now: measured positions, else standstill; within the limits."""
    rest = np.where(plan.is_position, measurement[plan.position], 0.0)
    return np.clip(rest, plan.lower, plan.upper)


def limit(plan: Plan, measurement: Array, previous: Array, wanted: Array, dt: float) -> Limited:
    """Return the values nearest to ``wanted`` within all limits.

    Position and rate always hold. Within what they leave, a value is moved so that the predicted effort
    ``gain * value - kp * position - kd * velocity`` stays within its limit; where that is not enough (a joint that is
    driven fast from outside), the gains shrink instead.
    """
    if passes(plan, measurement, previous, wanted, dt):
        return Limited(wanted, None, None)
    resistance = plan.kp * measurement[plan.position] + plan.kd * measurement[plan.velocity]
    reach = plan.rate * dt
    lowest = np.maximum(previous - reach, plan.lower)
    highest = np.minimum(previous + reach, plan.upper)
    below = (resistance - plan.effort) * plan.inverse_gain
    above = (resistance + plan.effort) * plan.inverse_gain
    values = np.minimum(np.maximum(wanted, below), above)
    values = np.minimum(np.maximum(values, lowest), highest)
    effort = plan.gain * values - resistance
    size = np.abs(effort)
    allowed = plan.effort * (1.0 + _TOLERANCE)
    if (size <= allowed).all():
        return Limited(values, None, effort)
    return Limited(values, np.where(size > allowed, plan.effort / np.maximum(size, plan.effort), 1.0), effort)


def passes(plan: Plan, measurement: Array, previous: Array, wanted: Array, dt: float) -> bool:
    """Return whether ``wanted`` keeps every limit as it is: the usual case. For tens of joints a loop beats numpy."""
    if dt <= 0.0:
        return False
    x = measurement.tolist()
    for value, before, keep in zip(wanted.tolist(), previous.tolist(), plan.keeps, strict=True):
        low, high, rate, effort, gain, kp, position, kd, velocity = keep
        if not (low <= value <= high and abs((value - before) / dt) <= rate):  # NaN compares false
            return False
        if not abs(gain * value - (kp * x[position] + kd * x[velocity])) <= effort:
            return False
    return True


def explain(plan: Plan, done: Limited, previous: Array, wanted: Array, t: float, dt: float) -> tuple[Event, ...]:
    """Return an event for each rule that kept ``wanted`` from being commanded, with the value farthest off."""
    if done.effort is None:
        return ()
    events: list[Event] = []
    over = np.maximum(plan.lower - wanted, wanted - plan.upper)
    i = int(np.argmax(over))
    if over[i] > 0.0:
        end = plan.upper[i] if wanted[i] > plan.upper[i] else plan.lower[i]
        events.append(_event(plan, "soft_limit", i, t, float(wanted[i]), float(end)))
    inside, reach = np.clip(wanted, plan.lower, plan.upper), plan.rate * dt
    speed = np.abs(inside - previous) / (plan.rate * max(dt, 1e-9))
    i = int(np.argmax(speed))
    if speed[i] > 1.0 + _TOLERANCE:
        fastest = float(plan.rate[i])
        events.append(_event(plan, "rate", i, t, float(speed[i] * plan.rate[i]), fastest, plan.rate_units[i]))
    events += _effort(plan, done.values, done.effort, np.clip(inside, previous - reach, previous + reach), t)
    return tuple(events)


def _effort(plan: Plan, values: Array, effort: Array, free: Array, t: float) -> list[Event]:
    """Compare the effort that ``free``, kept by all other limits, would have asked for."""
    asked = np.abs(effort + plan.gain * (free - values))
    share = asked / plan.effort
    i = int(np.argmax(share))
    if share[i] <= 1.0 + _TOLERANCE:
        return []
    return [_event(plan, "effort", i, t, float(asked[i]), float(plan.effort[i]))]


def _event(plan: Plan, rule: str, i: int, t: float, value: float, limit: float, rate_unit: str = "") -> Event:
    return Event(t, rule, f"target of {plan.layout.value_names[i]!r}", value, limit, False, rate_unit)
