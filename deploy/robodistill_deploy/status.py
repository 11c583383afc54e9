"""What a person sees of a run: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable

from robodistill_deploy.latency import Latency
from robodistill_deploy.machine import Mode
from robodistill_deploy.runner import Record

LIVE_HZ = 5.0
"""How often the live line is written anew."""
REMINDER = 5.0
"""[s] without being armed, after which it is said what arms"""


class Status:
    """An observer. Events and changes of mode get a line of their own; the live line stays the last."""

    def __init__(
        self, write: Callable[[str], object], *, live: bool, waits: str = "", remote: bool = False
    ) -> None:
        """``write`` takes text as it is, with its line ends; ``live`` where it can go back to a line's begin.

        ``waits`` tells how a person arms the robot, ``remote`` whether with the robot's own remote.
        """
        self._write, self._live, self._waits, self._remote = write, live, waits, remote
        self._mode: Mode | None = None
        self._begin: float | None = None
        self._shown = -math.inf
        self._latency = Latency(1000)

    def __call__(self, record: Record) -> None:
        """Take one tick."""
        self._begin = record.stamp if self._begin is None else self._begin
        t = record.stamp - self._begin
        self._latency.add(record.busy)
        if record.mode is not self._mode:
            self._mode = record.mode
            self._line(f"{t:8.3f} s  {record.mode.value}")
        for event in record.events:
            self._line(f"{t:8.3f} s  {'TRIP ' if event.trip else ''}{event}")
        if self._waits and t >= REMINDER and record.mode is Mode.PASSIVE:
            absent = self._remote and record.reading is not None and record.reading.remote is None
            missing = "; no reading brings a remote: turn it on, or take another --operator" if absent else ""
            self._line(f"{t:8.3f} s  not armed yet: {self._waits}{missing}")
            self._waits = ""
        if self._live and t - self._shown >= 1.0 / LIVE_HZ:
            self._shown = t
            self._write(f"\r\x1b[K{self.line(t, record)}")

    def line(self, t: float, record: Record) -> str:
        """Return the live line: time, mode, command, latency."""
        command = " ".join(f"{value:+.2f}" for value in record.operation.command) or "none"
        p50, p99 = (1e3 * self._latency.quantile(share) for share in (0.5, 0.99))
        return f"{t:8.1f} s  {record.mode.value:<9} command {command}  tick p50 {p50:.2f} p99 {p99:.2f} ms"

    def close(self) -> None:
        """End the live line."""
        if self._live:
            self._write("\n")

    def _line(self, text: str) -> None:
        self._write(f"\r\x1b[K{text}\n" if self._live else f"{text}\n")
