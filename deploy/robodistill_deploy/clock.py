"""Time for the runner: real, or moved by a test."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a runner reads the time and waits."""

    def now(self) -> float:
        """Return [s], never going back, on the clock of ``Reading.stamp``."""
        ...

    def sleep_until(self, t: float) -> None:
        """Return at ``t`` [s] or a little later; at once if it has passed."""
        ...


class MonotonicClock:
    """``time.monotonic``. It sleeps, never spins: a busy loop starves the robot's other programs."""

    def now(self) -> float:
        """Return [s] of ``time.monotonic``."""
        return time.monotonic()

    def sleep_until(self, t: float) -> None:
        """Sleep; Linux wakes about 0.06 ms late."""
        rest = t - time.monotonic()
        if rest > 0.0:
            time.sleep(rest)
