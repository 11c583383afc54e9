"""The robot's process: a link, a robot and a clock.

Lines of JSON on standard output say when it is ready, and at the end how it went.

With ``control``, lines on standard input are obeyed: ``report`` says how the run goes, ``restart {"payload": 2.0}``
reports, then begins another run with other options. The end of the input ends the process, so that no robot outlives
who started it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import Any

from robodistill_deploy.drivers.base import Reading
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.memory import settled_memory
from robodistill_envs.config import TaskConfig
from robodistill_envs.simrobot.links import Face, open_link
from robodistill_envs.simrobot.options import Process, Robot
from robodistill_envs.simrobot.robot import SimRobot

_SLIP_S = 0.1
"""[s] behind the clock from which on lost time is given up instead of made up for."""
_GREET_S = 0.01
"""[s] of wall time between two states before the first command in lockstep"""
_WAIT_S = 5e-5
"""[s] between two looks for a command in lockstep"""


class RobotProcess:
    """One robot behind one link."""

    def __init__(self, task: TaskConfig, robot: Robot, process: Process, link: Mapping[str, str]) -> None:
        self._task, self._options, self._process = task, robot, process
        if process.lockstep:
            self._steps_per_command()  # refused before anybody is told that the robot is ready
        self._robot = SimRobot(task, robot)
        face = Face(task.robot, self._robot.joints, self._robot.elements)
        self._link = open_link(process.link, face, link)
        self._stopped = False
        self._late_s = 0.0
        self._input = b""
        self._greeting: Reading | None = None

    def run(self) -> None:
        """Serve until a signal, the end of standard input or the end of ``seconds``."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        end = time.monotonic() + self._process.seconds if self._process.seconds else float("inf")
        _say({"ready": {"link": self._process.link, "client": dict(self._link.client)}})
        try:
            with settled_memory():
                (self._lockstep if self._process.lockstep else self._real_time)(end)
        finally:
            self._link.close()
        _say({"excursions": self._report()})
        self._robot.close()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def _real_time(self, end: float) -> None:
        """Step on absolute time, so that what one step takes longer the next ones make up for."""
        due = time.monotonic()
        period = self._options.timestep / self._process.speed
        while not self._stopped and due < end:
            command = self._link.poll()
            if command is not None:
                self._robot.take(command)
            self._robot.step()
            self._link.publish(self._robot.read())
            self._obey()
            due += period
            ahead = due - time.monotonic()
            if ahead > 0.0:
                time.sleep(ahead)
            elif ahead < -_SLIP_S:
                self._late_s -= ahead
                due -= ahead

    def _lockstep(self, end: float) -> None:
        steps, shown = self._steps_per_command(), 0.0
        while not self._stopped and (now := time.monotonic()) < end:
            command = self._link.poll()
            if command is not None:
                self._robot.take(command)
                for _ in range(steps):
                    self._robot.step()
                self._link.publish(self._robot.read())
                continue
            self._obey()
            if not self._robot.commands and now - shown > _GREET_S:
                self._link.publish(self._first())
                shown = now
            time.sleep(_WAIT_S)

    def _steps_per_command(self) -> int:
        period = self._process.command_dt or self._task.control_dt
        steps = round(period / self._options.timestep)
        if steps < 1 or abs(steps * self._options.timestep - period) > 1e-9:
            raise RobodistillError(
                f"command_dt {period:g} s is no multiple of timestep {self._options.timestep:g} s; set one of them"
            )
        return steps

    def _first(self) -> Reading:
        """Return the reading before the first command, measured once: repeating it must not use up noise."""
        if self._greeting is None:
            self._greeting = self._robot.read()
        return self._greeting

    def _obey(self) -> None:
        """Do what standard input says, if anything."""
        if not self._process.control or not select.select([0], [], [], 0.0)[0]:
            return
        data = os.read(0, 65536)
        self._stopped = self._stopped or not data
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            word, _, text = line.decode().partition(" ")
            if word not in ("report", "restart"):
                raise RobodistillError(f"standard input: {unknown('word', word, ['report', 'restart'])}")
            report = self._report()
            if word == "restart":
                self._restart(text)
            _say({"excursions": report})

    def _restart(self, text: str) -> None:
        fields = {field.name for field in dataclasses.fields(Robot)}
        options: dict[str, Any] = json.loads(text or "{}")
        for key in options:
            if key not in fields:
                raise RobodistillError(f"restart: {unknown('key', key, fields)}")
        self._options = dataclasses.replace(self._options, **options)
        self._robot.close()
        self._robot, self._greeting, self._late_s = SimRobot(self._task, self._options), None, 0.0
        self._link.publish(self._first())  # before the answer: who reads that finds the new robot

    def _report(self) -> dict[str, Any]:
        return {
            **self._robot.report(), "rejected": dict(self._link.rejected), "late_s": self._late_s,
            "options": dataclasses.asdict(self._options),
        }  # fmt: skip


def _say(message: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError):  # who started this is gone; the robot still ends in order
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
