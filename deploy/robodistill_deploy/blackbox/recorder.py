"""BlackBox: an observer of the runner that keeps every tick, without making the loop wait for a disk.

The loop hangs a tick into a queue, which takes a few microseconds; a thread turns it into bytes and writes them. A full
queue, a full disk and a file at its largest size cost ticks, which are counted and said, never a late command.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from mcap.writer import Writer
from numpy.typing import NDArray

from robodistill_deploy.blackbox.about import About
from robodistill_deploy.blackbox.row import SCHEMA_NAME, RowFormat
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.machine import Mode
from robodistill_deploy.runner import Record
from robodistill_deploy.safety import Event

ABOUT, END = "robodistill.run", "robodistill.end"
TICKS, EVENTS = "/tick", "/events"
MAX_BYTES = 2 << 30
"""[B] Largest file, hours of a quadruped at 200 Hz."""
QUEUE = 4000
"""Ticks that may wait for the disk: 20 s at 200 Hz."""
POLL = 0.05
"""[s] between two looks of the thread into the queue"""
FLUSH = 0.5
"""[s] between two chunks: what a kill can cost, with ``POLL`` added"""

_EVENT_SCHEMA = {
    "title": "foxglove.Log",
    "type": "object",
    "properties": {
        "timestamp": {
            "type": "object",
            "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
        },
        "level": {"type": "integer", "description": "2 information, 3 warning, 5 trip"},
        "message": {"type": "string"},
        "name": {"type": "string", "description": "the rule, or `mode`"},
        "file": {"type": "string"},
        "line": {"type": "integer"},
        "t": {"type": "number", "description": "[s] of the runner's clock"},
        "sequence": {"type": "integer", "description": "of the tick"},
        "what": {"type": "string"},
        "value": {"type": ["number", "null"]},
        "limit": {"type": ["number", "null"]},
        "trip": {"type": "boolean"},
    },
}
_INFO, _WARNING, _FATAL = 2, 3, 5
Item = tuple[int, Record, NDArray[np.float32] | None]


class BlackBox:
    """Use it as a context, and hand it to the runner as an observer."""

    def __init__(
        self,
        path: str | Path,
        about: About,
        *,
        max_bytes: int = MAX_BYTES,
        queue: int = QUEUE,
        warn: Callable[[str], object] = lambda text: None,
    ) -> None:
        """``about`` goes into the log's metadata; ``warn`` takes a line, at once, from the thread."""
        self.path, self._about = Path(path), about
        self._form = RowFormat(about.policy, about.layout)
        self._max_bytes, self._limit, self._warn = max_bytes, queue, warn
        self._queue: deque[Item] = deque()
        self._packer = self._form.packer()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="black box", daemon=True)
        self._seen = self._lost = self._refused = 0
        self._mode: Mode | None = None
        self._full, self._broken = "", False
        self._flushed = -math.inf
        self._file: IO[bytes] | None = None

    @property
    def dropped(self) -> int:
        """Return how many ticks are not in the file."""
        return self._lost + self._refused

    def __enter__(self) -> BlackBox:
        """Create the file and start the thread."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("xb")
        except FileExistsError as error:
            raise RobodistillError(f"{self.path}: exists; name another log, or move this one away") from error
        except OSError as error:
            raise RobodistillError(f"{self.path}: cannot be written: {error.strerror}; name another --log") from error
        self._begin(self._file)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, and the end."""
        self._closing.set()
        self._thread.join()

    def __call__(self, record: Record) -> None:
        """Take one tick; neither waits nor raises."""
        sequence = self._seen
        self._seen += 1
        if len(self._queue) >= self._limit:
            self._lost += 1
            return
        self._queue.append((sequence, record, None if record.inputs is None else record.inputs.copy()))

    def _begin(self, file: IO[bytes]) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()
        self._writer = writer = Writer(file)
        writer.start(profile="", library="robodistill")
        writer.add_metadata(ABOUT, self._about.to_metadata())
        definition = self._form.schema.encode()
        schema = writer.register_schema(SCHEMA_NAME, "ros2msg", definition)
        self._ticks = writer.register_channel(TICKS, "cdr", schema)
        schema = writer.register_schema("foxglove.Log", "jsonschema", json.dumps(_EVENT_SCHEMA).encode())
        self._events = writer.register_channel(EVENTS, "json", schema)
        writer.flush()

    def _work(self) -> None:
        file = self._file
        assert file is not None  # the thread starts after it was opened
        while not self._closing.wait(POLL):
            self._drain(file)
        self._drain(file)
        try:
            if not self._broken:
                end = {"ticks": self._seen, "dropped": self.dropped, "why": self._full}
                self._writer.add_metadata(END, {key: str(value) for key, value in end.items()})
                self._writer.finish()
            file.close()
        except OSError as error:
            self._break(error)

    def _drain(self, file: IO[bytes]) -> None:
        while self._queue:
            time.sleep(0.0)  # lets the loop have the interpreter between two ticks, instead of after its 5 ms
            item = self._queue.popleft()
            if self._broken:
                self._refused += 1
                continue
            try:
                self._write(item)
            except OSError as error:
                self._refused += 1
                self._break(error)
        now = time.monotonic()
        if self._broken or now - self._flushed < FLUSH:
            return
        self._flushed = now
        try:
            self._writer.flush()
            os.fsync(file.fileno())  # a robot's battery may be pulled
        except OSError as error:
            self._break(error)
            return
        if file.tell() > self._max_bytes:
            self._give_up(f"it is {file.tell() / 1e6:.0f} MB large, the most that was allowed; events go on")

    def _break(self, error: OSError) -> None:
        """Write nothing more: what follows a half chunk, no reader finds."""
        self._broken = True
        self._give_up(error.strerror or str(error))

    def _give_up(self, why: str) -> None:
        if not self._full:
            self._full = why
            self._warn(f"black box: {self.path} takes no more ticks: {why}")

    def _write(self, item: Item) -> None:
        sequence, record, inputs = item
        stamp, mode = record.stamp, record.mode
        ns = round(1e9 * stamp) + self._offset
        if self._full:
            self._refused += 1
        else:
            self._writer.add_message(self._ticks, ns, self._packer.pack(record, inputs, sequence), ns, sequence)
        if mode is not self._mode:
            self._mode = mode
            self._say(ns, sequence, Event(stamp, "mode", mode.value, math.nan, math.nan, trip=False), _INFO, mode.value)
        for event in record.events:
            self._say(ns, sequence, event, _FATAL if event.trip else _WARNING, str(event))

    def _say(self, ns: int, sequence: int, event: Event, level: int, text: str) -> None:
        value, limit = (v if math.isfinite(v) else None for v in (event.value, event.limit))
        message = {
            "timestamp": {"sec": ns // 10**9, "nsec": ns % 10**9}, "level": level, "message": text,
            "name": event.rule, "file": "", "line": 0, "t": event.t, "sequence": sequence, "what": event.what,
            "value": value, "limit": limit, "trip": event.trip,
        }  # fmt: skip
        self._writer.add_message(self._events, ns, json.dumps(message).encode(), ns, sequence)
