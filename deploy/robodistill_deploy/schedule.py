"""Two clocks on absolute time: when the next command tick is due, and when the next policy tick."""

from __future__ import annotations

import math

_TOGETHER = 5e-4
"""[s] Ticks nearer than this are one wake-up."""


class Schedule:
    """Ticks at ``start + n * period``: a late one does not move those after it, so nothing drifts."""

    def __init__(self, period: float, start: float) -> None:
        self.period = period
        self._start, self._count = start, 0
        self.missed = 0
        """Ticks whose time passed while an earlier one was still at work."""

    @property
    def due(self) -> float:
        """Return when the next tick is due [s]."""
        return self._start + self._count * self.period

    def is_due(self, t: float) -> bool:
        """Return whether the next tick belongs to a wake-up at ``t`` [s]."""
        return t >= self.due - _TOGETHER

    def advance(self, t: float) -> None:
        """Count the tick that was due as done at ``t`` [s], and those that have been missed meanwhile."""
        self._count += 1
        late = math.floor((t - self.due) / self.period + 1e-9)
        if late > 0:
            self.missed += late
            self._count += late
