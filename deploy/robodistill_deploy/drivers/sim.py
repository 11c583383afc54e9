"""The simulated robot as a driver: starts it as a process of its own and talks to it over the link of your choice.

The process needs the packages for training (``pip install 'robodistill[train]'``); this module does not.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from robodistill_deploy.drivers.base import Command, Driver, Reading
from robodistill_deploy.errors import DriverError, unknown
from robodistill_deploy.resolve import resolve

CLIENTS = {
    "udp": "robodistill_deploy.drivers.udp:UdpDriver",
    "unitree": "robodistill_deploy.drivers.unitree.go2:UnitreeDriver",
}
"""Link -> the driver that speaks it."""
_END_S = 5.0
Value = str | int | float | bool


class _Child:
    """The robot's process: started, listened to, ended."""

    def __init__(self, words: Sequence[str]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed by end
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, bufsize=0
        )
        self._stdin, self._stdout = (cast("IO[bytes]", pipe) for pipe in (self._process.stdin, self._process.stdout))
        self._output = b""

    def say(self, line: str) -> None:
        """Send it a line."""
        try:
            self._stdin.write(f"{line}\n".encode())
        except BrokenPipeError as error:
            raise self._ended() from error

    def hear(self, key: str, seconds: float) -> Any:
        """Return what it says about ``key``."""
        end = time.monotonic() + seconds
        while True:
            line, newline, rest = self._output.partition(b"\n")
            if not newline:
                self._listen(end, seconds)
                continue
            self._output = rest
            message = json.loads(line)
            if key in message:
                return message[key]

    def end(self) -> dict[str, Any]:
        """End it; return the excursions that it reports, or nothing if it had to be killed or had failed."""
        try:
            rest, _ = self._process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            rest, _ = self._process.communicate()
        self._stderr.close()
        found: dict[str, Any] = {}
        for line in (self._output + rest).splitlines():
            found = json.loads(line).get("excursions", found)
        return found

    def _listen(self, end: float, seconds: float) -> None:
        if not select.select([self._stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            raise DriverError(f"sim: the simulated robot said nothing for {seconds:g} s; set timeout")
        data = os.read(self._stdout.fileno(), 65536)
        if not data:
            raise self._ended()
        self._output += data

    def _ended(self) -> DriverError:
        self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return DriverError(f"sim: the simulated robot ended: {lines[-1] if lines else 'without a word'}")


class SimDriver:
    """Driver ``sim``.

    ``task``: name of a task, or a file with a resolved one, such as a run's config.yaml. ``link``: udp, or unitree for
    Unitree's DDS topics. ``lockstep``: no clock, each command advances the physics by the control period and ``read``
    waits for what came of it (udp only). ``timeout`` [s]: for the process to be ready. ``lying``: on the floor;
    ``robodistill-run run`` says so for a robot that can stand up, since one that waits damped sinks there anyway. Every
    other option is the simulated robot's own, such as ``payload=2``, ``noise=1``: docs/sim-robot.md.
    """

    def __init__(
        self, *, task: str, link: str = "udp", lockstep: bool = False, timeout: float = 60.0, lying: bool = False,
        **options: Value,
    ) -> None:  # fmt: skip
        if link not in CLIENTS:
            raise DriverError(f"sim: {unknown('link', link, CLIENTS)}")
        if lockstep and link != "udp":
            raise DriverError(f"sim: lockstep needs link=udp, got link={link}")
        self._task, self._link, self._lockstep, self._timeout = task, link, lockstep, timeout
        self._options = {"lying": lying, **options}
        self._child: _Child | None = None
        self._client: Driver | None = None
        self._names: tuple[tuple[str, ...], Mapping[str, tuple[str, ...]]] | None = None
        self.excursions: dict[str, Any] = {}
        """What the robot reported of its last run: filled by ``restart``, ``report`` and ``close``."""

    @property
    def other_time(self) -> str:
        """Return the option that lets the robot's time pass otherwise than this computer's; nothing if none does."""
        speed = self._options.get("speed", 1)
        return "lockstep=true" if self._lockstep else f"speed={speed}" if speed != 1 else ""

    @property
    def joints(self) -> tuple[str, ...]:
        """Return the robot's joints in its own order."""
        return self._known()[0]

    @property
    def signals(self) -> Mapping[str, tuple[str, ...]]:
        """Return the robot's signals."""
        return self._known()[1]

    def open(self) -> None:
        """Start the process, wait until it is ready, and connect, unless that is done."""
        if self._child is not None:
            return
        self._child = _Child(self._words())
        try:
            ready = self._child.hear("ready", self._timeout)
            options = {**ready["client"], **({"lockstep": True} if self._lockstep else {})}
            self._client = cast("Driver", resolve(CLIENTS[self._link])(**options))
            self._client.open()
        except BaseException:
            self.close()
            raise

    def read(self) -> Reading | None:
        """Return the newest reading, as the link's driver does."""
        return self._opened().read()

    def write(self, command: Command) -> None:
        """Send ``command``."""
        self._opened().write(command)

    def restart(self, **options: Value) -> dict[str, Any]:
        """Begin anew with other options of the robot (the rest stays); return the excursions of the run that ended."""
        return self._ask(f"restart {json.dumps(options)}")

    def report(self) -> dict[str, Any]:
        """Return the excursions of this run so far."""
        return self._ask("report")

    def close(self) -> None:
        """Let go, then end the process; the robot damps itself for as long as it lives."""
        client, self._client = self._client, None
        child, self._child = self._child, None
        if client is not None:
            client.close()
        if child is not None:
            self.excursions = child.end() or self.excursions

    def _ask(self, line: str) -> dict[str, Any]:
        if self._child is None:
            raise _closed()
        self._child.say(line)
        self.excursions = self._child.hear("excursions", self._timeout)
        return self.excursions

    def _words(self) -> list[str]:
        """Return the command line of the robot's process."""
        module = ["robodistill_envs.simrobot"] if Path(self._task).is_file() else ["robodistill", "sim"]
        given = {
            "task": self._task, "link": self._link, "lockstep": self._lockstep, "control": True, **self._options
        }  # fmt: skip
        if self._link == "udp":
            given.setdefault("link.port", 0)  # whichever is free; it is told when ready
        words = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in given.items()]
        return [sys.executable, "-m", *module, *words]

    def _known(self) -> tuple[tuple[str, ...], Mapping[str, tuple[str, ...]]]:
        if self._names is None:
            self.open()
            self._names = self._opened().joints, self._opened().signals
        return self._names

    def _opened(self) -> Driver:
        if self._client is None:
            raise _closed()
        return self._client


class LockstepClock:
    """Time of a robot in lockstep, for a Runner: it passes when a command is sent, however long that takes."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def now(self) -> float:
        """Return the robot's own time [s] after the last command."""
        reading = self._driver.read()
        if reading is None:
            raise DriverError("sim: no reading in lockstep; open the driver with lockstep=true")
        return reading.stamp

    def sleep_until(self, t: float) -> None:
        """Return at once: the next command is what lets time pass."""


def _closed() -> DriverError:
    return DriverError("sim: the robot is not running; call open() first")


driver = SimDriver
