"""The log of a run: ``metrics.jsonl`` for programs and people, tensorboard for looking."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robodistill.files import write_text
from robodistill_deploy.errors import RobodistillError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_COUNTERS = ("iteration", "env_steps", "wall_s")


class MetricsLog:
    """Appends one line of figures for each iteration.

    A line is ``{"iteration", "env_steps", "wall_s", <key>: float...}`` with keys such as ``loss/value``. A
    figure that is not finite is written as null and left out of tensorboard. ``wall_s`` [s] counts the time
    spent, going on after a resume where the kept lines end.
    """

    def __init__(
        self, folder: Path, tensorboard: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = Path(folder) / "metrics.jsonl"
        self._events = Path(folder) / "tensorboard"
        self._tensorboard = tensorboard
        self._writer: SummaryWriter | None = None
        self._clock = clock
        self._start = clock() - _last_wall(read_metrics(self.path))
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def wall_s(self) -> float:
        """Return the time spent on this run so far [s], in all its sessions."""
        return self._clock() - self._start

    def write(self, iteration: int, env_steps: int, values: Mapping[str, float]) -> None:
        """Append the figures of ``iteration``, after ``env_steps`` steps of all worlds together."""
        clash = [key for key in _COUNTERS if key in values]
        if clash:
            raise RobodistillError(f"metric {clash[0]!r} is one of the log's counters; rename it")
        line: dict[str, Any] = {
            "iteration": iteration,
            "env_steps": env_steps,
            "wall_s": round(self.wall_s, 3),
        }
        line |= {key: float(value) for key, value in values.items()}
        encoded = {key: value if math.isfinite(value) else None for key, value in line.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(encoded, allow_nan=False) + "\n")
        self._show(line, time.time())

    def truncate_to(self, iteration: int) -> None:
        """Forget all lines after ``iteration``, so that a resumed run's log is that of one run."""
        kept = [line for line in read_metrics(self.path) if line["iteration"] <= iteration]
        texts = (json.dumps({k: v if math.isfinite(v) else None for k, v in line.items()}) for line in kept)
        write_text(self.path, "".join(f"{text}\n" for text in texts))
        self._start = self._clock() - _last_wall(kept)
        # A killed writer's event file ends before or after the checkpoint: write it anew from the lines.
        self.close()
        for old in self._events.glob("events.out.tfevents.*"):
            old.unlink()
        origin = time.time() - _last_wall(kept)
        for line in kept:
            self._show(line, origin + line["wall_s"])

    def close(self) -> None:
        """Write out what tensorboard still holds in memory; writing again reopens it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _show(self, line: Mapping[str, Any], wall_time: float) -> None:
        if not self._tensorboard:
            return
        writer = self._writer = self._writer or self._open()
        for key, value in line.items():
            if key not in _COUNTERS and math.isfinite(value):
                writer.add_scalar(key, value, line["iteration"], walltime=wall_time)
        writer.add_scalar("time/env_steps", line["env_steps"], line["iteration"], walltime=wall_time)

    def _open(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self._events), flush_secs=30)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a ``metrics.jsonl``, null as nan; none without the file.

    The last line is left out when its writer was killed half-way; a broken one elsewhere is an error.
    """
    if not Path(path).exists():
        return []
    texts = Path(path).read_text().split("\n")
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(texts, 1):
        if number == len(texts):
            break  # after the last newline: empty, or a line whose writer was killed
        try:
            line = json.loads(text)
        except ValueError as error:
            raise RobodistillError(f"metrics {path}: line {number} is not JSON; remove the line") from error
        lines.append({key: math.nan if value is None else value for key, value in line.items()})
    return lines


def _last_wall(lines: list[dict[str, Any]]) -> float:
    return float(lines[-1]["wall_s"]) if lines else 0.0
