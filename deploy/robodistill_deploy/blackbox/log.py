"""Log: what is left of a run, read back; also of one that was killed."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import McapError
from mcap.records import Channel, Footer, McapRecord, Message, Metadata
from mcap.stream_reader import CRCValidationError, StreamReader
from zstandard import ZstdError

from robodistill_deploy.blackbox.about import About
from robodistill_deploy.blackbox.recorder import ABOUT, END, EVENTS, TICKS
from robodistill_deploy.blackbox.row import Row, RowFormat
from robodistill_deploy.errors import RobodistillError, SpecError

_DAMAGE = (McapError, CRCValidationError, ZstdError, struct.error, ValueError, EOFError)
"""What the reader raises where a file ends too early or was changed."""


@dataclass(frozen=True)
class Log:
    """A run, tick by tick."""

    path: Path
    about: About
    rows: Row
    """(T,), a field per group of numbers, see ``RowFormat``."""
    events: tuple[dict[str, Any], ...]
    """Changes of mode and what rules did, in order, as the channel ``/events`` has them."""
    complete: bool
    """Whether the run closed the log; a killed one did not."""
    dropped: int
    """Ticks that are known to be missing."""
    first_gap: int
    """How many ticks follow one another from the first on; later ones stand behind a gap."""


def read_log(path: str | Path) -> Log:
    """Read a log up to its end, or to where it was cut off."""
    path = Path(path)
    metadata: dict[str, dict[str, str]] = {}
    topics: dict[int, str] = {}
    ticks: list[bytes] = []
    events: list[dict[str, Any]] = []
    complete = False
    for record in _records(path):
        if isinstance(record, Metadata):
            metadata[record.name] = record.metadata
        elif isinstance(record, Channel):
            topics[record.id] = record.topic
        elif isinstance(record, Message) and topics.get(record.channel_id) == TICKS:
            ticks.append(record.data)
        elif isinstance(record, Message) and topics.get(record.channel_id) == EVENTS:
            events.append(json.loads(record.data))
        complete = complete or isinstance(record, Footer)
    if ABOUT not in metadata:
        raise SpecError(f"{path}: says nothing of a run; it is no log of robodistill-run, or was cut off at once")
    about = About.from_metadata(metadata[ABOUT])
    rows = RowFormat(about.policy, about.layout).rows(ticks)
    missing, first_gap = _gaps(rows)
    dropped = max(missing, int(metadata.get(END, {}).get("dropped", "0")))
    return Log(path, about, rows, tuple(events), complete, dropped, first_gap)


def _records(path: Path) -> Iterator[McapRecord]:
    """Yield what can be read; a log that was cut off ends there."""
    try:
        with path.open("rb") as file:
            yield from _until_damage(StreamReader(file, validate_crcs=True).records)
    except OSError as error:
        raise RobodistillError(f"{path}: cannot be read: {error.strerror}") from error


def _until_damage(records: Iterator[McapRecord]) -> Iterator[McapRecord]:
    while True:
        try:
            record = next(records)
        except (StopIteration, *_DAMAGE):
            return
        yield record


def _gaps(rows: Row) -> tuple[int, int]:
    """Return how many ticks are missing before the last one, and how many follow the beginning without a gap."""
    sequence = rows["sequence"].astype(np.int64)
    if sequence.size == 0:
        return 0, 0
    inside = np.flatnonzero(sequence != np.arange(sequence.size))
    return int(sequence[-1]) + 1 - sequence.size, int(inside[0]) if inside.size else sequence.size
