"""Real time for a session: absolute deadlines in a thread of its own, with pause, single steps and slow motion."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from robodistill.play.session import Session

SLOWEST, FASTEST = 0.25, 1.0
_LATE_S = 0.25
"""[s] behind which lost time is given up instead of caught up."""
_MEASURED_S = 1.0
_IDLE_S = 0.02


class Pacer:
    """Says how long to wait for tick after tick: each is due at a fixed time, so that errors do not add up."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._due = self._since = clock()
        self._made = 0.0
        self.factor = 0.0
        """Simulated time per real time, measured over about a second."""

    def restart(self) -> None:
        """Count from now: after a pause."""
        self._due = self._since = self._clock()
        self._made = self.factor = 0.0

    def wait_s(self, period_s: float, simulated_s: float) -> float:
        """Return how long [s] to sleep after a tick of ``simulated_s`` that may take ``period_s``; 0 when late."""
        now = self._clock()
        self._made += simulated_s
        if now - self._since >= _MEASURED_S:
            self.factor = self._made / (now - self._since)
            self._since, self._made = now, 0.0
        self._due += period_s
        if now - self._due > _LATE_S:
            self._due = now
        return max(0.0, self._due - now)


class Loop:
    """Runs a session in a thread; whoever else touches the session holds ``lock``."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lock = threading.Lock()
        self.pacer = Pacer()
        self.paused = False
        self.speed = FASTEST
        self.failure: Exception | None = None
        """What ended the simulation, if anything did."""
        self._steps = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="play", daemon=True)

    def start(self) -> None:
        """Let time pass."""
        self.pacer.restart()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    def single_step(self) -> None:
        """Pause, and make one more tick."""
        self.paused = True
        with self.lock:
            self._steps += 1

    def set_speed(self, speed: float) -> None:
        """Set simulated per real time, from a quarter to 1."""
        self.speed = min(max(speed, SLOWEST), FASTEST)

    def _run(self) -> None:
        dt = self.session.task.control_dt
        while not self._stop.is_set():
            if self.paused and not self._steps:
                self._stop.wait(_IDLE_S)
                self.pacer.restart()
                continue
            try:
                with self.lock:
                    self._steps -= int(self._steps > 0)
                    self.session.tick()
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to: the page shows it
                self.failure = error
                return
            self._stop.wait(self.pacer.wait_s(dt / self.speed, dt))
