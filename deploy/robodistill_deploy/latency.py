"""Latency: the times of the last ticks in a ring, so that memory stays as it is."""

from __future__ import annotations

import math

import numpy as np


class Latency:
    """Durations [s] of the last ``size`` ticks."""

    def __init__(self, size: int = 2000) -> None:
        self._ring = np.zeros(size)
        self._count = 0

    def add(self, seconds: float) -> None:
        """Note one tick; the oldest is forgotten."""
        self._ring[self._count % len(self._ring)] = seconds
        self._count += 1

    def quantile(self, share: float) -> float:
        """Return what ``share`` of the noted ticks did not exceed [s]; NaN before the first."""
        noted = self._ring[: min(self._count, len(self._ring))]
        return float(np.quantile(noted, share)) if noted.size else math.nan
