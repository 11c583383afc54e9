"""What runs now, in place on a terminal: a line for each job, the last one that it wrote into its log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.status import Status

_TAIL_BYTES = 4096


class Watch:
    """Shows running jobs while it is open, on a terminal only. A context manager."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Show on ``stream``, the errors' one unless given."""
        self._stream = stream or sys.stderr
        self._status: Status | None = None

    def __enter__(self) -> Watch:
        if self._stream.isatty():
            from rich.console import Console

            self._status = Console(file=self._stream, highlight=False).status("")
            self._status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, logs: Iterable[tuple[str, Path]]) -> None:
        """Show the titles of jobs, with the last line of the log of each."""
        if self._status is None:
            return
        from rich.text import Text

        width = self._status.console.width - len("⠏ ")
        lines = [f"{title}  {last_line(path)}"[:width] for title, path in logs]
        self._status.update(Text("\n".join(lines)))


def last_line(path: Path) -> str:
    """Return the last line of a text file that says something, of its end alone; nothing where there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = stream.read().decode(errors="replace").strip().splitlines()
    except OSError:  # somebody took the folder away: a display ends no job
        return ""
    return lines[-1] if lines else ""
