"""Slow motion: a runner whose second lasts longer, with a simulated robot of the same ``speed``.

On a machine that is too busy for real time, everything in the loop keeps its proportions, thresholds included; only the
machine's own delays shrink beside them.
"""

from __future__ import annotations

import dataclasses
import time

from robodistill_deploy.drivers.base import Driver, Reading, WrappedDriver


class SlowClock:
    """``time.monotonic`` at ``speed``: simulated seconds."""

    def __init__(self, speed: float) -> None:
        self._speed = speed

    def now(self) -> float:
        """Return simulated seconds."""
        return self._speed * time.monotonic()

    def sleep_until(self, t: float) -> None:
        """Sleep until ``t`` simulated seconds."""
        rest = t / self._speed - time.monotonic()
        if rest > 0.0:
            time.sleep(rest)


class SlowDriver(WrappedDriver):
    """A driver whose readings are stamped on a ``SlowClock``."""

    def __init__(self, driver: Driver, speed: float) -> None:
        super().__init__(driver)
        self._speed = speed
        self._last: tuple[Reading, Reading] | None = None

    def read(self) -> Reading | None:
        """Return the newest reading, the same object as long as it is the same."""
        reading = self._driver.read()
        if reading is None:
            return None
        if self._last is None or self._last[0] is not reading:
            self._last = reading, dataclasses.replace(reading, stamp=self._speed * reading.stamp)
        return self._last[1]
