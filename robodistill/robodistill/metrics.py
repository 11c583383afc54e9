"""The log of a run: ``metrics.jsonl`` for programs and people, tensorboard for looking."""

from __future__ import annotations

import importlib
import io
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from robodistill.files import append, write_bytes, write_text, writing
from robodistill_deploy.errors import RobodistillError

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
        self._event_file: Path | None = None
        self._clock = clock
        self._start = clock() - _last_wall(read_metrics(self.path))

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
        append(self.path, (json.dumps(encoded, allow_nan=False) + "\n").encode())
        if self._tensorboard:
            self._event_file, start = (self._event_file, b"") if self._event_file else self._begin()
            append(self._event_file, start + _event(line, time.time()))

    def truncate_to(self, iteration: int) -> None:
        """Forget all lines after ``iteration``, so that a resumed run's log is that of one run."""
        kept = [line for line in read_metrics(self.path) if line["iteration"] <= iteration]
        texts = (json.dumps({k: v if math.isfinite(v) else None for k, v in line.items()}) for line in kept)
        write_text(self.path, "".join(f"{text}\n" for text in texts))
        self._start = self._clock() - _last_wall(kept)
        # A killed writer's event file ends before or after the checkpoint: write it anew from the lines.
        with writing(self._events):
            for old in self._events.glob("*.tfevents.*"):
                old.unlink()
        self._event_file = None
        if self._tensorboard and kept:
            self._event_file, start = self._begin()
            origin = time.time() - _last_wall(kept)
            write_bytes(self._event_file, start + b"".join(_event(k, origin + k["wall_s"]) for k in kept))

    def _begin(self) -> tuple[Path, bytes]:
        """Return a new event file's path, by whose name tensorboard orders files, and how it begins."""
        now = time.time()
        path = self._events / f"events.out.tfevents.{int(now):010d}.{platform.node()}.{os.getpid()}"
        return path, _record(_message("event", "Event")(wall_time=now, file_version="brain.Event:2"))


def _event(line: Mapping[str, Any], wall_time: float) -> bytes:
    """Return the scalars of one iteration as a record of tensorboard's event files."""
    scalars = {k: v for k, v in line.items() if k not in _COUNTERS and math.isfinite(v)}
    scalars["time/env_steps"] = line["env_steps"]
    summary = _message("summary", "Summary")
    values = [summary.Value(tag=key, simple_value=value) for key, value in scalars.items()]
    event = _message("event", "Event")
    return _record(event(wall_time=wall_time, step=line["iteration"], summary=summary(value=values)))


def _message(module: str, name: str) -> Any:
    # by name: protobuf makes these classes at run time
    return getattr(importlib.import_module(f"tensorboard.compat.proto.{module}_pb2"), name)


def _record(event: Any) -> bytes:
    """Frame a message with length and checksums.

    Written here and now, not by torch's SummaryWriter: its thread loses up to half a minute to a kill, and a full
    disk ends it with a traceback of its own.
    """
    from tensorboard.summary.writer.record_writer import RecordWriter

    frame = io.BytesIO()
    RecordWriter(frame).write(event.SerializeToString())
    return frame.getvalue()


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
