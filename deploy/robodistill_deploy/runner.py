"""Runner: drives a robot with a policy. Policy and commands each have their own rate, on absolute time.

    runner = Runner(load_policy("policy.onnx"), driver, Fixed((0.5, 0.0, 0.0)))
    summary = runner.run(seconds=10.0)

At a command tick (200 Hz): read, filter, publish. At a policy tick (the file's rate) the policy runs in between.
Whatever happens, the last thing the robot hears is damping.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.clock import Clock, MonotonicClock
from robodistill_deploy.drivers.base import Command, Driver, Reading
from robodistill_deploy.errors import SpecError
from robodistill_deploy.latency import Latency
from robodistill_deploy.machine import RAMP_SECONDS, Machine, MachineState, Mode
from robodistill_deploy.memory import settled_memory
from robodistill_deploy.operators import Operation, Operator
from robodistill_deploy.policy_inputs import PolicyInputs
from robodistill_deploy.preflight import Observation
from robodistill_deploy.runtime import Policy, PolicyOutputError, SignalError
from robodistill_deploy.safety import (
    Event,
    FilterState,
    SafetyFilter,
    SafetyLimits,
    Sensors,
    Target,
)
from robodistill_deploy.safety.layout import Layout
from robodistill_deploy.schedule import Schedule

Array = NDArray[np.float64]

COMMAND_RATE = 200.0
"""[Hz] of command ticks"""
MAX_COMMAND_RATE = 10_000.0
"""[Hz] no robot takes commands faster, no program of this kind makes them"""
PREFLIGHT_SECONDS = 1.0
"""[s] that the robot is looked at before it may be armed"""
FAREWELL = 0.5
"""[s] of damping that is published before the driver is closed"""


class Record(NamedTuple):
    """One command tick, for a black box. ``inputs`` is not copied: read it, or copy it, before you return."""

    stamp: float
    """[s] of the clock"""
    mode: Mode
    reading: Reading | None
    """The newest in order; None before the first."""
    operation: Operation
    inputs: NDArray[np.float32] | None
    """What went into the policy at this tick (``Policy.signals`` one after another); None where it did not run."""
    targets: Array | None
    """What came out of it, one per name of every action part."""
    command: Command
    """As published."""
    events: tuple[Event, ...]
    busy: float
    """[s] from waking up to the command being published"""
    due: float
    """[s] the time of the tick by its schedule"""
    measurement: Array | None
    """The numbers of ``reading``, see ``Layout``; None if it did not hold what the driver promised."""


class Summary(NamedTuple):
    """What a run was like."""

    seconds: float
    mode: Mode
    """At the end, before the farewell."""
    command_ticks: int
    policy_ticks: int
    missed_commands: int
    """Command ticks that were skipped because an earlier one took too long."""
    missed_policies: int
    busy_p50: float
    """[s] of a command tick, from waking up to publishing; half took longer"""
    busy_p99: float
    trip: Event | None


Observer = Callable[[Record], None]


@dataclass(frozen=True)
class Settings:
    """What a run may be told besides policy, robot and operator."""

    limits: SafetyLimits | None = None
    """Thresholds other than the policy file's."""
    command_rate: float = COMMAND_RATE
    """[Hz] of command ticks"""
    ramp_seconds: float = RAMP_SECONDS
    """[s] from the measured pose to the policy's default pose"""
    preflight_seconds: float = PREFLIGHT_SECONDS
    """[s] that the robot is looked at before it may be armed; 0 arms it unseen, for simulations"""

    def __post_init__(self) -> None:
        """Refuse what no clock can keep, before a robot is opened."""
        if not 0.0 < self.command_rate <= MAX_COMMAND_RATE:  # NaN compares false
            raise SpecError(f"command_rate {self.command_rate:g} Hz: must be above 0, at most {MAX_COMMAND_RATE:g}")
        for name in ("ramp_seconds", "preflight_seconds"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise SpecError(f"{name} {getattr(self, name):g} s: must be 0 or more, and finite")


DEFAULTS = Settings()


class Runner:
    """One policy on one robot, in one thread; ``stop`` may be called from anywhere, such as a signal handler."""

    def __init__(
        self,
        policy: Policy,
        driver: Driver,
        operator: Operator,
        settings: Settings = DEFAULTS,
        *,
        observer: Observer | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Match names and prepare; nothing is opened yet."""
        interface = policy.spec.interface
        self.command_rate = settings.command_rate
        if self.command_rate * interface.control_dt < 1.0:
            raise SpecError(
                f"command_rate {self.command_rate:g} Hz is under the policy's "
                f"{1.0 / interface.control_dt:g} Hz; raise it"
            )
        self.policy, self.driver, self.operator = policy, driver, operator
        self.layout = Layout(interface, driver.joints, driver.signals)
        spec = policy.spec
        self.filter = SafetyFilter(self.layout, settings.limits or spec.safety, spec.envelope.observations)
        self._machine = Machine(interface, spec.robot.stand_up, settings.ramp_seconds)
        self._inputs = PolicyInputs(spec, self.layout)
        self._preflight_seconds = settings.preflight_seconds
        self._observer, self._clock = observer, clock or MonotonicClock()
        self._why = ""
        self._forget()

    def _forget(self) -> None:
        """Begin as a new run does."""
        self._state, self._mode = FilterState(), MachineState()
        self._target: Target | None = None
        self._policy_clock: Schedule | None = None
        self._policy_ticks, self._missed_policies = 0, 0
        self._latency = Latency()
        self._seen = Observation(self.policy.spec, self.driver, self._preflight_seconds)

    @property
    def trip(self) -> Event | None:
        """Return what tripped, if anything has."""
        return self._state.trip

    @property
    def preparation(self) -> tuple[float, float, float]:
        """Return how long a robot is looked at, stands up if it lies, and goes to the policy's first pose [s]."""
        return self._preflight_seconds, *self._machine.seconds

    def stop(self, why: str) -> None:
        """Latch damping at the next tick and end the run after the farewell."""
        self._why = self._why or why

    def run(self, seconds: float = math.inf) -> Summary:
        """Open the robot, drive it for ``seconds`` or until ``stop``, damp it and close it.

        An error on the way is raised after the robot was damped and closed.
        """
        if not seconds > 0.0:
            raise SpecError(f"seconds {seconds:g}: must be above 0; leave it out to run until stop()")
        self._forget()
        with settled_memory():
            self.operator.open()
            try:
                self.driver.open()
                try:
                    return self._drive(seconds)
                finally:
                    self._farewell()
            finally:
                self.operator.close()

    def _drive(self, seconds: float) -> Summary:
        begin = self._clock.now()
        commands = Schedule(1.0 / self.command_rate, begin)
        ticks = 0
        while not self._why:
            due = self._next(commands)
            self._clock.sleep_until(min(due, begin + seconds))
            if due >= begin + seconds:
                break
            self.tick(due)
            ticks += 1
            if commands.is_due(due):
                commands.advance(self._clock.now())
        mode = self._mode.mode
        end = self._clock.now()
        if self._why:
            self._state, _ = self.filter.trip(self._state, "stop", self._why, end)
        missed = self._policy_clock.missed if self._policy_clock is not None else 0
        return Summary(
            end - begin, mode, ticks, self._policy_ticks, commands.missed, missed,
            self._latency.quantile(0.5), self._latency.quantile(0.99), self._state.trip,
        )  # fmt: skip

    def _next(self, commands: Schedule) -> float:
        policy = self._policy_clock
        if policy is None or self._mode.mode is not Mode.POLICY:
            return commands.due
        return min(commands.due, policy.due)

    def tick(self, due: float) -> None:
        """Read, filter and publish; let the policy run where ``due`` [s] is a time of its clock, too.

        ``run`` calls it in time; call it yourself only where another loop keeps the time.
        """
        woke = time.perf_counter()
        offered = self.driver.read()
        t = self._clock.now()  # after reading: held up in between, it would be older than what it reads
        self._state = state = self.filter.admit(self._state, offered)
        if self._mode.mode is Mode.PASSIVE:
            self._seen.add(offered, t)
        operation = self.operator.poll(t, None if state.reading is None else state.reading.remote)
        events = self._trip("stop", "the operator pressed stop", t) if operation.stop else ()
        goal, more = self._advance(operation, t, due)
        ran, late = self._run_policy(operation, t, due) if goal is None else (False, ())
        target = self._target if goal is None else Target(goal, t, by_policy=False)
        sensors = Sensors(offered, operation.stamp)
        self._state, command, last = self.filter.step(self._state, sensors, target, t)
        self.driver.write(command)
        busy = time.perf_counter() - woke
        self._latency.add(busy)
        if self._observer is not None:
            mode = Mode.DAMPING if self._state.trip is not None else self._mode.mode
            self._observer(
                Record(
                    t, mode, self._state.reading, operation, self._inputs.vector if ran else None,
                    self._target.values if ran and self._target is not None else None,
                    command, (*events, *more, *late, *last), busy, due,
                    self._state.measurement,
                )
            )  # fmt: skip

    def _trip(self, rule: str, what: str, t: float) -> tuple[Event, ...]:
        self._state, events = self.filter.trip(self._state, rule, what, t)
        return events

    def _advance(self, operation: Operation, t: float, due: float) -> tuple[Array | None, tuple[Event, ...]]:
        """Let the machine decide on the mode; return the values it wants, if it wants any."""
        before = self._mode.mode
        measured = self.filter.measured(self._state) if before in (Mode.PASSIVE, Mode.RAMP) else None
        tripped = self._state.trip is not None
        arm = operation.arm and before is Mode.PASSIVE and not tripped and self._seen.passed(t)
        step = self._machine.step(self._mode, measured, arm=arm, tripped=tripped, t=t)
        self._mode = step.state
        if self._mode.mode is Mode.POLICY and before is not Mode.POLICY:
            self.policy.reset()
            self._inputs.reset()
            self._policy_clock = Schedule(self.policy.spec.interface.control_dt, due)
        elif self._mode.mode is not Mode.POLICY:
            self._target = None
        return step.goal, self._trip("ramp", step.fault, t) if step.fault else ()

    def _run_policy(self, operation: Operation, t: float, due: float) -> tuple[bool, tuple[Event, ...]]:
        """Run the policy where its tick is due; whatever it cannot use or cannot give trips."""
        clock, state = self._policy_clock, self._state
        if self._mode.mode is not Mode.POLICY or clock is None or not clock.is_due(due) or state.trip is not None:
            return False, ()
        clock.advance(t)
        if not state.sound or state.measurement is None:
            return False, ()  # the filter's rules say why
        try:
            self._inputs.fill(state.measurement, operation.command)
            values = self.policy.tick_vector(self._inputs.vector)
        except (SignalError, PolicyOutputError) as error:
            return False, self._trip("policy", str(error), t)
        self._target = Target(values, t, by_policy=True)
        self._policy_ticks += 1
        return True, ()

    def _farewell(self) -> None:
        """Damp for a moment, then let go. A second interrupt closes at once."""
        try:
            schedule = Schedule(1.0 / self.command_rate, self._clock.now())
            end = self._clock.now() + FAREWELL
            while self._clock.now() < end:
                self.driver.write(self.filter.damping)
                schedule.advance(self._clock.now())
                self._clock.sleep_until(schedule.due)
        finally:
            self.driver.close()

