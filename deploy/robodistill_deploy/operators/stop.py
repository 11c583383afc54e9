"""Emergency stop: a latch, and a guard around the driver that obeys it even when the loop hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from robodistill_deploy.drivers.base import Command, Driver, Reading, Remote, WrappedDriver
from robodistill_deploy.errors import RobodistillError

SILENT = 0.02
"""[s] without a command from the loop, after which a pressed stop is sent by the guard itself"""
DEAF = 0.1
"""[s] without a read by the loop, after which the guard itself looks at the robot's remote"""
PERIOD = 0.01
"""[s] between two looks of the guard"""


class EmergencyStop:
    """Once pressed, it stays. Any thread may press it."""

    def __init__(self) -> None:
        self.why = ""
        """What pressed it first; empty while nothing has."""

    @property
    def pressed(self) -> bool:
        """Return whether it was pressed."""
        return bool(self.why)

    def press(self, why: str) -> None:
        """Latch it."""
        self.why = self.why or why


class GuardedDriver(WrappedDriver):
    """A driver that passes nothing but damping on once the stop is pressed.

    A thread of its own watches: a loop that hangs in the network or in a callback neither sends nor looks, so the guard
    damps the robot in its place, and looks at the remote in its place. What it cannot help against is a process that is
    killed or a call that never gives the interpreter back; there the robot's own watchdog must act.
    """

    def __init__(
        self, driver: Driver, stop: EmergencyStop, watch: Callable[[Remote], object] | None = None
    ) -> None:
        """``watch`` looks at the robot's remote and presses ``stop`` if it says so; None without a remote."""
        super().__init__(driver)
        self._stop, self._watch = stop, watch
        self._damping: Command | None = None
        self._reads, self._writes = threading.Lock(), threading.Lock()
        self._read_at = self._written_at = 0.0
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def damp_with(self, damping: Command) -> None:
        """Say what stops this robot, before ``open``."""
        self._damping = damping

    def open(self) -> None:
        """Connect, and begin to watch."""
        self._driver.open()
        self._read_at = self._written_at = time.monotonic()
        self._ending.clear()
        self._thread = threading.Thread(target=self._guard, name="emergency stop", daemon=True)
        self._thread.start()

    def read(self) -> Reading | None:
        """Return the driver's newest reading."""
        with self._reads:
            self._read_at = time.monotonic()
            return self._driver.read()

    def write(self, command: Command) -> None:
        """Send ``command``, or damping once the stop is pressed: also for a loop that comes back late."""
        with self._writes:
            self._written_at = time.monotonic()
            stopped = self._stop.pressed and self._damping is not None
            self._driver.write(self._damping if stopped and self._damping is not None else command)

    def close(self) -> None:
        """Stop watching, then let go."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        self._driver.close()

    def _guard(self) -> None:
        while not self._ending.wait(PERIOD):
            now = time.monotonic()
            if self._watch is not None and not self._stop.pressed and now - self._read_at > DEAF:
                self._look(self._watch)
            if self._stop.pressed and self._damping is not None and now - self._written_at > SILENT:
                self._damp(self._damping)

    def _look(self, watch: Callable[[Remote], object]) -> None:
        if self._reads.acquire(timeout=SILENT):
            try:
                reading = self._driver.read()
            except (RobodistillError, OSError):
                return
            finally:
                self._reads.release()
            if reading is not None and reading.remote is not None:
                watch(reading.remote)

    def _damp(self, damping: Command) -> None:
        if self._writes.acquire(timeout=SILENT):
            try:
                self._driver.write(damping)
            except (RobodistillError, OSError):
                return  # the next period tries again; the loop, if it still runs, says what is wrong
            finally:
                self._writes.release()
