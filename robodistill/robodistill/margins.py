"""Margins: how far the robot may differ from the trained one before a policy, under the real runtime, lets it fall.

The exported file, the Runner with its safety filter and a driver run as on a robot; the robot is simulated in lockstep,
so that a run takes less time than it lasts, and repeats itself. One thing at a time grows until the robot falls or
safety stops it; a bisection then narrows the gap.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.drivers.sim import LockstepClock, SimDriver
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.operators import Operation, Scripted
from robodistill_deploy.preflight import PreflightError
from robodistill_deploy.runner import COMMAND_RATE, Runner
from robodistill_deploy.runtime import Policy
from robodistill_deploy.spec import InterfaceSpec

TIMESTEP = 0.00125
"""[s] of physics: four steps to a command at 200 Hz"""
HOLD_S = 2.0
"""[s] that each command is held"""
RAMP_S = 1.0
_COMMAND_SHARE = 0.7
"""Of the range trained in."""
_BEGIN_S = 10.0
"""[s] that the whole procedure may take before the policy drives: look, stand up, ramp"""
_NOMINAL = {
    "lying": False, "gain": 1.0, "friction": -1.0, "payload": 0.0, "delay": 0.0, "noise": 0.0,
}  # fmt: skip
Sweeps = dict[str, "Sweep"]


@dataclass(frozen=True)
class Sweep:
    """One perturbation and the levels at which it is tried, growing."""

    option: str
    """Of the simulated robot."""
    unit: str
    nominal: float
    levels: tuple[float, ...]


SWEEPS: Sweeps = {
    "gain_up": Sweep("gain", "1", 1.0, (1.25, 1.5, 2.0, 3.0, 4.0)),
    "gain_down": Sweep("gain", "1", 1.0, (0.8, 0.65, 0.5, 0.35, 0.2)),
    "delay": Sweep("delay", "s", 0.0, (0.01, 0.02, 0.03, 0.04, 0.06, 0.08)),
    "friction": Sweep("friction", "1", 0.8, (0.6, 0.4, 0.3, 0.2, 0.1, 0.05)),
    "payload": Sweep("payload", "kg", 0.0, (1.0, 2.0, 4.0, 6.0, 8.0, 12.0)),
    "noise": Sweep("noise", "of the task's", 0.0, (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)),
}
"""Friction's nominal value is the task's; 0.8 only places it on the plot."""


@dataclass(frozen=True)
class Trial:
    """What became of one run."""

    level: float
    stood: bool
    """Whether it neither fell nor was stopped."""
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

    def __init__(self, policy: Policy, task: Path, seconds: float, seed: int) -> None:
        """``task`` is a file with the resolved task; ``seconds`` is how long the policy drives in each run."""
        self._policy, self._seconds, self._seed = policy, seconds, seed
        self.driver = SimDriver(
            task=str(task), lockstep=True, command_dt=1.0 / COMMAND_RATE, timestep=TIMESTEP, seed=seed,
            timeout=600.0,
        )  # fmt: skip

    def __enter__(self) -> Bench:
        """Start the robot."""
        self.driver.open()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.driver.close()

    def nominal(self) -> Trial:
        """Run the whole procedure on the nominal robot: from lying, look before arming, stand up, ramp, policy."""
        self.driver.restart(**{**_NOMINAL, "lying": True})
        clock = LockstepClock(self.driver)
        runner = Runner(self._policy, _Borrowed(self.driver), self._operator(_BEGIN_S), clock=clock)
        return self._run(runner, self._seconds + _BEGIN_S, 0.0)

    def perturbed(self, option: str, level: float) -> Trial:
        """Run from standing, with one option of the robot at ``level``."""
        self.driver.restart(**{**_NOMINAL, option: level})
        runner = Runner(
            self._policy, _Borrowed(self.driver), self._operator(RAMP_S), clock=LockstepClock(self.driver),
            ramp_seconds=RAMP_S, preflight_seconds=0.0,
        )  # fmt: skip
        return self._run(runner, self._seconds + RAMP_S, level)

    def _operator(self, begin: float) -> Scripted:
        script = tuple(
            (start, Operation(math.nan, command, arm=True, stop=False))
            for start, command in commands(self._policy.spec.interface, begin, self._seconds)
        )
        return Scripted(script)

    def _run(self, runner: Runner, seconds: float, level: float) -> Trial:
        try:
            summary = runner.run(seconds)
        except PreflightError as error:
            return Trial(level, False, f"refused before arming: {error}", {})
        report = self.driver.report()
        fell_at = report["fell_at_s"]
        if summary.trip is not None:
            why = f"stopped by safety at {summary.trip.t:.1f} s: {summary.trip}"
        elif fell_at is not None and fell_at <= seconds:
            why = f"fell at {fell_at:.1f} s"
        elif summary.policy_ticks == 0:
            why = "the policy never drove"
        else:
            why = ""
        return Trial(level, not why, why, report)


def commands(interface: InterfaceSpec, begin: float, seconds: float) -> Iterator[tuple[float, tuple[float, ...]]]:
    """Yield (start [s], command): stand still until ``begin``, then each axis up and down in turn, again and again."""
    lower = [v for c in interface.commands for v in c.lower]
    upper = [v for c in interface.commands for v in c.upper]
    still = (0.0,) * len(lower)
    yield 0.0, still
    moves = [
        tuple(_COMMAND_SHARE * end[i] if i == axis else 0.0 for i in range(len(lower)))
        for axis in range(len(lower))
        for end in (upper, lower)
    ]
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
