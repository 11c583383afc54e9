"""Replay: the runner once more, with a log in the place of robot, operator and clock.

Readings, operations and times go through the very code that ran on the robot: machine, policy and safety filter. On the
same backend, network inputs, targets and commands come out with the same bits; the first that does not is named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.blackbox.log import Log
from robodistill_deploy.blackbox.row import MALFORMED, MODES, NO_READING, Row, RowFormat
from robodistill_deploy.drivers.base import Command, Reading, Remote
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.machine import Mode
from robodistill_deploy.operators import Operation
from robodistill_deploy.runner import Record, Runner, Settings
from robodistill_deploy.runtime import Policy

_NOT_COMPUTED = ("busy", "arm")
"""Fields that no replay repeats: it arms where arming was granted."""

_CAUSES = ("signals", "operator", "inputs", "targets", "command")
"""Within a tick, each is computed from those before it: the first that differs is the one to look at."""


class OtherPolicyError(RobodistillError):
    """The log is of another policy file."""


@dataclass(frozen=True)
class Difference:
    """One number that came out otherwise."""

    sequence: int
    """Of the tick."""
    t: float
    """[s] since the first tick"""
    what: str
    """Such as ``targets.joint_pos of 'FL_calf_joint'``."""
    logged: float
    replayed: float

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"tick {self.sequence} at {self.t:.3f} s: {self.what} was {self.logged:.9g}, "
            f"replay gives {self.replayed:.9g}"
        )


@dataclass(frozen=True)
class Replay:
    """What came of a replay."""

    ticks: int
    """Command ticks that were repeated."""
    policy_ticks: int
    """Those of them in which the policy ran."""
    different: int
    """Ticks in which at least one number has other bits."""
    first: Difference | None
    unproven: int
    """Ticks behind a gap in the log: the policy's state there is not known."""
    largest: dict[str, float]
    """Per group of numbers, the largest difference; empty where all bits agree."""


class _Robot:
    """Driver, operator and clock in one: all come from the row that is due."""

    def __init__(self, log: Log) -> None:
        self.joints, self.signals = log.about.joints, log.about.signals
        self.rows, self.i = log.rows, 0
        self._reading: Reading | None = None

    def now(self) -> float:
        return float(self.rows["stamp"][self.i])

    def sleep_until(self, t: float) -> None:
        """Time is the log's."""

    def open(self) -> None:
        """There is no device."""

    def close(self) -> None:
        """There is no device."""

    def write(self, command: Command) -> None:
        """The command is compared, not sent."""

    def read(self) -> Reading | None:
        """Return the newest reading in order, the same object as before where nothing new had come."""
        row = self.rows[self.i]
        if row["reading_state"] == NO_READING:
            return None
        tick, stamp = int(row["reading_tick"]), float(row["reading_stamp"])
        last = self._reading
        if last is None or last.tick != tick or last.stamp != stamp:
            held = () if row["reading_state"] == MALFORMED else self.signals
            self._reading = Reading(stamp, tick, {name: row[f"signals.{name}"].copy() for name in held})
        return self._reading

    def poll(self, t: float, remote: Remote | None) -> Operation:
        """Return what the operator wanted; arming counts where it was granted, after the look at the robot."""
        del t, remote
        row = self.rows[self.i]
        granted = bool(row["arm"]) and MODES[row["mode"]] is not Mode.PASSIVE
        given = int(row["command_count"])
        known = row["operator.command"].tolist() if "operator.command" in (self.rows.dtype.names or ()) else []
        command = tuple([*known, *(0.0,) * given][:given])
        return Operation(float(row["operator_stamp"]), command, arm=granted, stop=bool(row["stop"]))


def replay(log: Log, policy: Policy, *, any_policy: bool = False) -> Replay:
    """Repeat the run of ``log`` with ``policy``, which must be the file that drove it, unless ``any_policy``."""
    about = log.about
    if policy.spec.digest != about.digest and not any_policy:
        raise OtherPolicyError(
            f"{log.path} is of the policy {about.digest[:12]}, this file is {policy.spec.digest[:12]}: name the file "
            "that drove the robot, or compare another one with --any-policy"
        )
    robot, kept = _Robot(log), list[Record]()
    form = RowFormat(about.policy, about.layout)
    if form.dtype != RowFormat(policy.spec, about.layout).dtype:
        raise OtherPolicyError(f"{log.path}: the policy that drove reads or commands other names than this one")
    settings = Settings(about.limits, about.command_rate, about.ramp_seconds, preflight_seconds=0.0)
    runner = Runner(policy, robot, robot, settings, observer=kept.append, clock=robot)
    packer = form.packer()
    messages: list[bytes] = []
    for i in range(log.first_gap):
        robot.i = i
        runner.tick(float(log.rows["due"][i]))
        record = kept.pop()
        messages.append(packer.pack(record, record.inputs, i))
    again = form.rows(messages)
    return _compared(log, again, form)


def _compared(log: Log, again: Row, form: RowFormat) -> Replay:
    n = log.first_gap
    logged = log.rows[:n]
    names = [name for name in logged.dtype.names or () if name not in _NOT_COMPUTED]
    names.sort(key=lambda name: _CAUSES.index(name.split(".")[0]) if "." in name else len(_CAUSES))
    first: Difference | None = None
    largest: dict[str, float] = {}
    ticks = np.zeros(n, bool)
    for name in names:
        mask = _differs(logged, again, name)
        if not mask.any():
            continue
        ticks |= mask.reshape(n, -1).any(axis=1)
        with np.errstate(invalid="ignore"):
            gap = np.abs(logged[name].astype(np.float64) - again[name].astype(np.float64))
        largest[name] = float(np.nanmax(gap)) if np.isfinite(gap).any() else float("nan")
        found = _first(logged, again, name, mask, form)
        first = found if first is None or found.sequence < first.sequence else first
    return Replay(n, int(logged["policy_ran"].sum()), int(ticks.sum()), first, len(log.rows) - n, largest)


def _differs(logged: Row, again: Row, name: str) -> NDArray[np.bool_]:
    """Return where bits differ, in the shape of the field."""
    a, b = (np.ascontiguousarray(rows[name]) for rows in (logged, again))
    bits = np.dtype(a.dtype.str.replace("f", "u"))
    return a.view(bits) != b.view(bits)


def _first(logged: Row, again: Row, name: str, mask: NDArray[np.bool_], form: RowFormat) -> Difference:
    place = tuple(np.argwhere(mask)[0].tolist())
    label = name
    if mask.ndim > 1:
        group = next(group for group in form.groups if group.path == name)
        label = f"{name} of {group.elements[place[1]]!r}"
    row = logged[place[0]]
    t = float(row["stamp"] - logged["stamp"][0])
    return Difference(int(row["sequence"]), t, label, float(logged[name][place]), float(again[name][place]))
