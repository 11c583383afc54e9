"""What long work shows while it runs: a bar with ETA on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich import progress as rich_progress


@dataclass
class Progress:
    """Shows how far work is, when it will end, and a few figures. A context manager.

    On a terminal it draws one bar in place; into a file or a pipe it writes a line about every ``every_s``
    seconds, the first and the last always; with ``quiet`` nothing.
    """

    title: str
    total: int
    """How much there is to do, in any unit."""
    start: int = 0
    """How much was done before, when work resumes; it does not count for the speed."""
    quiet: bool = False
    every_s: float = 10.0
    """[s] between two lines where there is no terminal"""
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Start the clock."""
        self.done = self.start
        self._began = self.clock()
        self._said: float | None = None
        self._unsaid = False
        self._figures: dict[str, float] = {}
        self._bar: rich_progress.Progress | None = None
        self._task: rich_progress.TaskID | None = None

    def __enter__(self) -> Progress:
        if not self.quiet and self.stream.isatty():
            self._draw()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._unsaid:
            self._write_line()

    @staticmethod
    def say(text: str, stream: TextIO | None = None) -> None:
        """Show one line that is not progress, between two pieces of work."""
        (stream or sys.stderr).write(text + "\n")

    def update(self, done: int, figures: Mapping[str, float] | None = None) -> None:
        """Say that ``done`` of ``total`` is done, and what the key figures are now."""
        self.done = done
        self._figures.update(figures or {})
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, figures=self.figures())
        elif not self.quiet:
            self._unsaid = True
            if self._said is None or self.clock() - self._said >= self.every_s:
                self._write_line()

    def figures(self) -> str:
        """Return the key figures as they are shown."""
        return "  ".join(f"{name} {value:.4g}" for name, value in self._figures.items())

    def eta_s(self) -> float | None:
        """Return how long the rest will take [s] at the mean speed so far; None before anything is done."""
        made = self.done - self.start
        return (self.clock() - self._began) / made * max(self.total - self.done, 0) if made > 0 else None

    def _write_line(self) -> None:
        now = self.clock()
        eta = self.eta_s()
        parts = [
            f"{self.title} {self.done}/{self.total} ({min(100 * self.done / max(self.total, 1), 100):.0f} %)",
            f"elapsed {clock_time(now - self._began)}",
            f"eta {'?' if eta is None else clock_time(eta)}",
            self.figures(),
        ]
        self.stream.write("  ".join(part for part in parts if part) + "\n")
        self.stream.flush()
        self._said, self._unsaid = now, False

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        figures = TextColumn("{task.fields[figures]}", style="dim")
        self._bar = RichProgress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn(), TimeElapsedColumn(),
            TextColumn("eta"), TimeRemainingColumn(), figures, console=Console(file=self.stream), refresh_per_second=4,
        )  # fmt: skip
        self._task = self._bar.add_task(self.title, total=self.total, completed=self.start, figures="")
        self._bar.start()


def clock_time(seconds: float) -> str:
    """Return a duration as ``1:02:03`` or ``2:03``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
