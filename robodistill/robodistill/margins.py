"""Margins: how far the robot may differ from the trained one before a policy, under the real runtime, lets it fall.

The exported file, the Runner with its safety filter and a driver run as on a robot; the robot is simulated in lockstep,
so that a run takes less time than it lasts, and repeats itself. One thing at a time grows until the robot falls or
safety stops it, or it no longer follows its command; a bisection then narrows the gap.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robodistill.margins_judge import drive, floor_friction, judge_of
from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.drivers.sim import LockstepClock, SimDriver
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.operators import Operation, Scripted
from robodistill_deploy.preflight import PreflightError
from robodistill_deploy.runner import COMMAND_RATE, DEFAULTS, Record, Runner, Settings
from robodistill_deploy.runtime import Policy
from robodistill_deploy.safety import Event
from robodistill_deploy.spec import InterfaceSpec
from robodistill_envs.simrobot.__main__ import load_task
from robodistill_envs.simrobot.track import read_track

TIMESTEP = 0.00125
"""[s] of physics: four steps to a command at 200 Hz"""
HOLD_S = 2.0
"""[s] that each command is held"""
RAMP_S = 1.0
TRACKING = 1.5
"""Errors of tracking may be this many times the task's own targets."""
_COMMAND_SHARE = 0.7
"""Of the range trained in."""
_BEGIN_S = 10.0
"""[s] that the whole procedure may take before the policy drives: look, stand up, ramp"""
_NOMINAL = {
    "lying": False, "gain": 1.0, "friction": -1.0, "payload": 0.0, "delay": 0.0, "noise": 0.0,
}  # fmt: skip
Sweeps = dict[str, "Sweep"]
Timed = tuple[float, tuple[float, ...]]
"""(start [s], command)"""


@dataclass(frozen=True)
class Sweep:
    """One perturbation and the levels at which it is tried, growing."""

    option: str
    """Of the simulated robot."""
    unit: str
    nominal: float
    levels: tuple[float, ...]


SWEEPS: Sweeps = {
    "gain_up": Sweep("gain", "1", 1.0, (1.5, 2.5, 4.0, 8.0)),
    "gain_down": Sweep("gain", "1", 1.0, (0.7, 0.45, 0.2)),
    "delay": Sweep("delay", "s", 0.0, (0.02, 0.04, 0.08, 0.16)),
    "friction": Sweep("friction", "1", math.nan, (0.5, 0.25, 0.1, 0.05)),
    "payload": Sweep("payload", "kg", 0.0, (3.0, 6.0, 12.0, 24.0)),
    "noise": Sweep("noise", "of the task's", 0.0, (2.0, 4.0, 8.0, 16.0)),
}
"""Friction's nominal value is the task's."""


@dataclass(frozen=True)
class Trial:
    """What became of one run."""

    level: float
    stood: bool
    """Whether it did not fall, sink or lose its command, and nothing stopped it."""
    why: str
    """What ended it; empty where nothing did."""
    excursions: dict[str, Any]


@dataclass(frozen=True)
class Margin:
    """What came of a sweep."""

    name: str
    unit: str
    nominal: float
    survives: float
    """Farthest level from nominal at which it stood, all nearer ones too."""
    fails: float | None
    """Nearest at which it did not; None if it stood at all of them."""
    trials: tuple[Trial, ...]

    @property
    def why(self) -> str:
        """Return how the run at ``fails`` ended."""
        return next((trial.why for trial in self.trials if trial.level == self.fails), "")


class _Borrowed:
    """A driver that runners neither open nor close: starting a robot's process takes seconds."""

    def __init__(self, driver: SimDriver) -> None:
        self._driver = driver
        self.joints, self.signals = driver.joints, driver.signals

    def open(self) -> None:
        """It is open."""

    def read(self) -> Reading | None:
        """Return the newest reading."""
        return self._driver.read()

    def write(self, command: Command) -> None:
        """Send ``command``."""
        self._driver.write(command)

    def close(self) -> None:
        """It stays open."""


class Bench:
    """One policy on one simulated robot, run again and again."""

    def __init__(self, policy: Policy, task: Path, seconds: float, seed: int, tracking: float = TRACKING) -> None:
        """``task`` is a file with the resolved task; ``seconds`` is how long the policy drives in each run."""
        self._policy, self._seconds, self._seed = policy, seconds, seed
        self._track = task.with_name("track.bin")
        loaded = load_task(task)
        self._judge, self._friction = judge_of(loaded, tracking), floor_friction(loaded)
        self.driver = SimDriver(
            task=str(task), lockstep=True, command_dt=1.0 / COMMAND_RATE, timestep=TIMESTEP, seed=seed,
            record=str(self._track), timeout=600.0,
        )  # fmt: skip

    def __enter__(self) -> Bench:
        """Start the robot."""
        self.driver.open()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.driver.close()
        self._track.unlink(missing_ok=True)

    def known(self, sweep: Sweep) -> Sweep:
        """Return ``sweep`` with the task's nominal value where it has one of its own, and levels beyond that."""
        if sweep.option != "friction" or self._friction is None:
            return sweep
        nominal = self._friction
        return dataclasses.replace(sweep, nominal=nominal, levels=tuple(v for v in sweep.levels if v < nominal))

    def nominal(self) -> Trial:
        """Run the whole procedure on the nominal robot: from lying, look before arming, stand up, ramp, policy."""
        self.driver.restart(**{**_NOMINAL, "lying": True})
        return self._run(_BEGIN_S, DEFAULTS, 0.0)

    def perturbed(self, option: str, level: float) -> Trial:
        """Run from standing, with one option of the robot at ``level``."""
        self.driver.restart(**{**_NOMINAL, option: level})
        return self._run(RAMP_S, Settings(ramp_seconds=RAMP_S, preflight_seconds=0.0), level)

    def _run(self, begin: float, settings: Settings, level: float) -> Trial:
        """Let the policy drive, from ``begin`` [s] on by the commands that a margin is measured with."""
        script = list(commands(self._policy.spec.interface, begin, self._seconds))
        operator = Scripted(tuple((start, Operation(math.nan, c, arm=True, stop=False)) for start, c in script))
        started: list[float] = []

        def observe(record: Record) -> None:
            if record.inputs is not None and not started:
                started.append(record.stamp)

        runner = Runner(
            self._policy, _Borrowed(self.driver), operator, settings,
            observer=observe, clock=LockstepClock(self.driver),
        )  # fmt: skip
        end = begin + self._seconds
        try:
            summary = runner.run(end)
        except PreflightError as error:
            return Trial(level, False, f"refused before arming: {error}", {})
        report = self.driver.report()
        if not started:
            why = "the policy never drove" if summary.trip is None else _stopped(summary.trip)
            return Trial(level, False, why, report)
        why = self._judged(report, started[0], end if summary.trip is None else summary.trip.t, script)
        if summary.trip is not None:
            why = _stopped(summary.trip)
        return Trial(level, not why, why, report)

    def _judged(self, report: dict[str, Any], begin: float, end: float, script: list[Timed]) -> str:
        """Add what the robot did while the policy drove to ``report``; return why that is not standing."""
        if self._judge.min_height is None:
            return ""
        track = read_track(self._track)
        moves = max(begin, script[min(1, len(script) - 1)][0])  # before, it waits for its first command
        report["driven"] = drive(track, moves if moves < end else begin, end, script)
        return self._judge.fall(track, begin, end) or self._judge.why(report["driven"])


def _stopped(trip: Event) -> str:
    return f"stopped by safety at {trip.t:.1f} s: {trip}"


def commands(interface: InterfaceSpec, begin: float, seconds: float) -> Iterator[Timed]:
    """Yield (start [s], command): stand still until ``begin``, then ahead, turn, sideways, again and again.

    Each axis goes one way only, so that mean speeds do not cancel and can be held against what was commanded.
    """
    upper = [v for c in interface.commands for v in c.upper]
    still = (0.0,) * len(upper)
    yield 0.0, still
    axes = [0, *range(len(upper) - 1, 0, -1)] if upper else []
    moves = [tuple(_COMMAND_SHARE * v if i == axis else 0.0 for i, v in enumerate(upper)) for axis in axes]
    for number in range(math.ceil(seconds / HOLD_S) if moves else 0):
        yield begin + number * HOLD_S, moves[number % len(moves)]


def measure(sweep: Sweep, name: str, run: Callable[[str, float], Trial], bisections: int = 1) -> Margin:
    """Grow ``sweep`` until ``run(option, level)`` no longer stands, then halve the gap ``bisections`` times."""
    trials: list[Trial] = []
    survives, fails = sweep.nominal, None
    for level in sweep.levels:
        trials.append(run(sweep.option, level))
        if not trials[-1].stood:
            fails = level
            break
        survives = level
    for _ in range(bisections if fails is not None else 0):
        assert fails is not None
        middle = (survives + fails) / 2.0
        trials.append(run(sweep.option, middle))
        survives, fails = (middle, fails) if trials[-1].stood else (survives, middle)
    return Margin(name, sweep.unit, sweep.nominal, survives, fails, tuple(trials))


def chosen(names: str, levels: dict[str, str]) -> Sweeps:
    """Return the sweeps that ``names`` (with commas) lists, with the ``levels`` that are given by name."""
    found: Sweeps = {}
    for name in names.split(","):
        if name not in SWEEPS:
            raise RobodistillError(f"only={names}: {name!r} is none of {', '.join(SWEEPS)}")
        found[name] = SWEEPS[name]
    for name, text in levels.items():
        try:
            values = tuple(float(value) for value in text.split(","))
        except ValueError as error:
            raise RobodistillError(f"{name}={text}: write numbers with commas") from error
        if name in found:
            found[name] = dataclasses.replace(found[name], levels=values)
    return found
