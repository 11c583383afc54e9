"""SafetyFilter: the pure step that every command passes on its way to a robot."""

from __future__ import annotations

import math

import numpy as np

from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.masks import all_true
from robodistill_deploy.policy_spec import Statistics
from robodistill_deploy.safety.clip import Limited, explain, limit, start
from robodistill_deploy.safety.layout import Layout
from robodistill_deploy.safety.plan import Plan
from robodistill_deploy.safety.rules import AT_ONCE, PERSISTENT, Now, is_sound
from robodistill_deploy.safety.state import Array, Event, FilterState, Sensors, Target, Violation
from robodistill_deploy.safety_limits import SafetyLimits

_NEVER = (math.inf,) * len(PERSISTENT)
_ROUNDING = 1e-9
"""[s] of clocks that are sums"""
Events = tuple[Event, ...]


class SafetyFilter:
    """Immutable; all that changes is in ``FilterState``, so a log of inputs repeats every command bit for bit."""

    def __init__(
        self, layout: Layout, limits: SafetyLimits, observations: dict[str, Statistics] | None = None
    ) -> None:
        """Prepare for one robot. ``observations`` are the training statistics of the policy's terms."""
        self.layout, self.limits = layout, limits
        self.plan = plan = Plan(layout, limits, observations or {})
        n, none = len(layout.joints), np.zeros(len(layout.joints))
        kp, kd, damping = np.zeros(n), np.zeros(n), np.zeros(n)
        own, joint = layout.joint_values, layout.joint_of_value
        kp[joint], kd[joint], damping[joint] = plan.kp[own], plan.kd[own], plan.damping[own]
        self._kp, self._kd, self._none = kp, kd, none
        self._all_positions = bool(plan.is_position.all())
        twist = np.zeros(len(layout.twist_values))
        self.damping = Command(none, none, none, damping, none, twist)
        for array in (kp, kd, damping, none, twist):
            array.flags.writeable = False  # they are handed out with every command

    @property
    def rules(self) -> tuple[str, ...]:
        """Return the rules that watch this robot; what is missing, no signal of the driver can tell."""
        plan = self.plan
        off = {
            "attitude": plan.quaternion is None, "tilt": plan.quaternion is None, "fall": plan.gyro is None,
            "position_range": not plan.range.names, "training_range": not plan.training.names,
        }  # fmt: skip
        return tuple(name for name, _ in (*AT_ONCE, *PERSISTENT) if not off.get(name, False))

    def admit(self, state: FilterState, reading: Reading | None) -> FilterState:
        """Take ``reading`` if it is newer than what was seen, by stamp and by the robot's own count."""
        last = state.reading
        if reading is None or reading is last or not math.isfinite(reading.stamp):
            return state
        if last is not None and not (reading.tick > last.tick and reading.stamp >= last.stamp):
            return state
        x = self.layout.measurement(reading)
        same = x is not None and state.measurement is not None and x.tobytes() == state.measurement.tobytes()
        changed = state.changed if same else reading.stamp
        usual = x is not None and all_true((x >= self.plan.usual_lower) & (x <= self.plan.usual_upper))
        sound = usual or (x is not None and is_sound(x))
        return FilterState(
            state.t, reading, x, sound, usual, changed, state.previous, state.since, state.clipped, state.trip
        )

    def step(
        self, state: FilterState, sensors: Sensors, target: Target | None, t: float
    ) -> tuple[FilterState, Command, Events]:
        """Return the next state, the command for the robot and what happened.

        Without a ``target`` the robot is damped, which is no trip. ``t`` [s] is the clock of the readings' stamps.
        """
        before = state.t
        state = self.admit(state, sensors.reading)
        if state.trip is not None or target is None:
            return self._damped(state, t), self.damping, ()
        numbers = [] if state.measurement is None else state.measurement.tolist()
        now = Now(t, before, sensors, state, target, numbers)
        trip, since = self._judge(now)
        if trip is not None:
            return self._damped(state, t, trip), self.damping, (trip,)
        return self._go_on(now, since)

    def trip(self, state: FilterState, rule: str, what: str, t: float) -> tuple[FilterState, Events]:
        """Latch damping for a reason from outside, such as the operator's stop. The first reason stays."""
        if state.trip is not None:
            return state, ()
        event = Event(t, rule, what, math.nan, math.nan, True)
        return self._damped(state, t, event), (event,)

    def measured(self, state: FilterState) -> Array | None:
        """Return the values that change nothing now: measured positions, else standstill. None before a reading."""
        if state.measurement is None or not state.sound:
            return None
        return start(self.plan, state.measurement)

    def _go_on(self, now: Now, since: tuple[float, ...]) -> tuple[FilterState, Command, Events]:
        """Keep the limits; an event tells when a rule begins to change the command, not every time it does."""
        plan, state, t, wanted = self.plan, now.state, now.t, now.target.values
        x = state.measurement
        if x is None:  # the rule finite has tripped on it
            raise RobodistillError("safety: no measurement to predict the effort from")
        previous = start(plan, x) if state.previous is None else state.previous
        dt = min(t - now.before, plan.control_dt)
        done = limit(plan, x, previous, wanted, dt)
        events = explain(plan, done, previous, wanted, t, dt)
        rules = tuple(event.rule for event in events)
        news = tuple(event for event in events if event.rule not in state.clipped)
        after = FilterState(
            t, state.reading, x, state.sound, state.usual, state.changed, done.values, since, rules, None
        )
        return after, self._command(done), news

    def _command(self, done: Limited) -> Command:
        if self._all_positions and done.scale is None:
            position = self._none.copy()
            position[self.layout.joint_of_value] = done.values
            return Command(position, self._none, self._kp, self._kd, self._none, self.damping.twist)
        return self._mixed(done)

    def _mixed(self, done: Limited) -> Command:
        """Scatter values of every kind to the robot's joints, with their gains shrunk where needed."""
        plan, layout = self.plan, self.layout
        own, joint = layout.joint_values, layout.joint_of_value
        scale = np.ones_like(done.values) if done.scale is None else done.scale

        def spread(values: Array) -> Array:
            out = np.zeros(len(layout.joints))
            out[joint] = values[own]
            return out

        return Command(
            position=spread(np.where(plan.is_position, done.values, 0.0)),
            velocity=spread(np.where(plan.is_velocity, done.values, 0.0)),
            kp=spread(scale * plan.kp),
            kd=spread(scale * plan.kd),
            effort=spread(np.where(plan.is_effort, scale * done.values, 0.0)),
            twist=done.values[layout.twist_values],
        )

    def _damped(self, state: FilterState, t: float, trip: Event | None = None) -> FilterState:
        later = t if t > state.t else state.t
        return state._replace(t=later, previous=None, since=_NEVER, clipped=(), trip=trip or state.trip)

    def _judge(self, now: Now) -> tuple[Event | None, tuple[float, ...]]:
        plan = self.plan
        for name, rule in AT_ONCE:
            found = rule(now, plan)
            if found is not None:
                return _event(now.t, name, found), _NEVER
        since = []
        for i, (name, rule) in enumerate(PERSISTENT):
            found = rule(now, plan)
            begin = math.inf
            if found is not None:
                begin = min(now.t, now.state.since[i] if now.state.since else math.inf)
                patience = self.limits.ood_persistence if name == "training_range" else self.limits.persistence
                if now.t - begin >= patience - _ROUNDING:
                    return _event(now.t, name, found), _NEVER
            since.append(begin)
        return None, tuple(since)


def _event(t: float, rule: str, found: Violation) -> Event:
    return Event(t, rule, found.what, found.value, found.limit, True)
