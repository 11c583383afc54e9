"""The UDP protocol between a driver and a robot: packets of fixed layout, described in docs/udp.md.

A packet is a header, a body and a CRC-32 (IEEE 802.3, as zlib's) of all bytes before it; everything is little-endian
and packed. HELLO asks a robot what it is, DESCRIPTION answers with names as JSON, and its CRC-32 is the *layout* that
every STATE and COMMAND carries: two sides that disagree about names or order refuse each other's packets.
Both sides pack and unpack with the functions here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.drivers.base import Command, Reading, Remote
from robodistill_deploy.errors import DriverError

MAGIC, VERSION = b"RDUP", 1
HELLO, DESCRIPTION, STATE, COMMAND = 1, 2, 3, 4
PORT = 5600
"""Where a robot listens unless told otherwise."""
MAX_BYTES = 65507
"""Longest payload of a UDP datagram over IPv4."""
BUTTONS = (
    "A", "B", "X", "Y", "L1", "L2", "R1", "R2", "up", "right", "down", "left", "select", "start", "F1", "F2",
)  # fmt: skip
"""Button of bit 0, 1, ... of a STATE's ``buttons``."""

_HEADER = [
    ("magic", "S4"), ("version", "<u2"), ("kind", "<u2"), ("layout", "<u4"), ("length", "<u4"),
    ("sequence", "<u8"), ("stamp", "<f8"),
]  # fmt: skip
HEADER = np.dtype(_HEADER)
_CRC = 4
_HAS_REMOTE = 1


class MalformedPacketError(DriverError):
    """Bytes that are no packet of this protocol; ``reason`` is one word for counting."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"UDP packet ignored: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Layout:
    """What a robot's packets hold, in order."""

    robot: str
    joints: tuple[str, ...]
    signals: Mapping[str, tuple[str, ...]]
    twist: tuple[str, ...] = ()

    @cached_property
    def text(self) -> bytes:
        """Return the JSON of DESCRIPTION: keys as here, no spaces, UTF-8."""
        plain = {
            "robot": self.robot,
            "joints": list(self.joints),
            "signals": [[name, list(elements)] for name, elements in self.signals.items()],
            "twist": list(self.twist),
        }
        return json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def digest(self) -> int:
        """Return the layout number that STATE and COMMAND carry."""
        return zlib.crc32(self.text)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Return where each signal lies in a STATE's values."""
        found: dict[str, slice] = {}
        start = 0
        for name, elements in self.signals.items():
            found[name] = slice(start, start + len(elements))
            start += len(elements)
        return found

    @cached_property
    def state(self) -> np.dtype[Any]:
        """Return the STATE packet."""
        values = sum(len(elements) for elements in self.signals.values())
        return np.dtype([
            *_HEADER, ("tick", "<u8"), ("answers", "<u8"), ("axes", "<f4", 4), ("buttons", "<u4"), ("flags", "<u4"),
            ("values", "<f8", (values,)), ("crc", "<u4"),
        ])  # fmt: skip

    @cached_property
    def command(self) -> np.dtype[Any]:
        """Return the COMMAND packet."""
        n = (len(self.joints),)
        return np.dtype([
            *_HEADER, *((name, "<f8", n) for name in ("position", "velocity", "kp", "kd", "effort")),
            ("twist", "<f8", (len(self.twist),)), ("crc", "<u4"),
        ])  # fmt: skip


@dataclass(frozen=True)
class StatePacket:
    """A STATE, unpacked. ``reading.stamp`` is the sender's clock [s]."""

    reading: Reading
    sequence: int
    answers: int
    """Sequence of the newest COMMAND that the robot had taken when it measured; 0 for none."""


@dataclass(frozen=True)
class CommandPacket:
    """A COMMAND, unpacked."""

    command: Command
    sequence: int
    stamp: float
    """[s] of the sender's clock"""


def pack_hello(sequence: int, stamp: float) -> bytes:
    """Return a HELLO: header and CRC."""
    return _sealed(_plain(HELLO, 0, HEADER.itemsize + _CRC, sequence, stamp))


def pack_description(layout: Layout, sequence: int, stamp: float) -> bytes:
    """Return the DESCRIPTION of ``layout``: header, JSON, CRC."""
    length = HEADER.itemsize + len(layout.text) + _CRC
    if length > MAX_BYTES:
        raise DriverError(f"robot {layout.robot!r}: its names take {length} bytes, a packet holds {MAX_BYTES}")
    return _sealed(_plain(DESCRIPTION, layout.digest, length, sequence, stamp) + layout.text)


def pack_state(layout: Layout, packet: StatePacket) -> bytes:
    """Return a STATE."""
    reading, record = packet.reading, np.zeros(1, layout.state)
    _fill_header(record, STATE, layout, packet.sequence, reading.stamp)
    record["tick"], record["answers"] = reading.tick, packet.answers
    if reading.remote is not None:
        record["axes"] = reading.remote.axes
        record["buttons"] = sum(1 << i for i, name in enumerate(BUTTONS) if name in reading.remote.buttons)
        record["flags"] = _HAS_REMOTE
    values = record["values"][0]
    for name, where in layout.slices.items():
        values[where] = reading.signals[name]
    return _sealed(record.tobytes()[:-_CRC])


def pack_command(layout: Layout, packet: CommandPacket) -> bytes:
    """Return a COMMAND."""
    record = np.zeros(1, layout.command)
    _fill_header(record, COMMAND, layout, packet.sequence, packet.stamp)
    for name in ("position", "velocity", "kp", "kd", "effort"):
        record[name] = getattr(packet.command, name)
    if layout.twist:
        record["twist"] = packet.command.twist
    return _sealed(record.tobytes()[:-_CRC])


def kind_of(data: bytes) -> int:
    """Return the kind of a packet whose header and CRC are in order; MalformedPacketError otherwise."""
    if len(data) < HEADER.itemsize + _CRC:
        raise MalformedPacketError("short")
    header = np.frombuffer(data, HEADER, 1)[0]
    if header["magic"] != MAGIC:
        raise MalformedPacketError("magic")
    if header["version"] != VERSION:
        raise MalformedPacketError("version")
    if header["length"] != len(data):
        raise MalformedPacketError("length")
    if zlib.crc32(data[:-_CRC]) != int.from_bytes(data[-_CRC:], "little"):
        raise MalformedPacketError("crc")
    kind = int(header["kind"])
    if not HELLO <= kind <= COMMAND:
        raise MalformedPacketError("kind")
    return kind


def sequence_of(data: bytes) -> int:
    """Return the sequence number of a packet that ``kind_of`` accepted."""
    return int(np.frombuffer(data, HEADER, 1)[0]["sequence"])


def unpack_description(data: bytes) -> Layout:
    """Return the layout in a DESCRIPTION that ``kind_of`` accepted."""
    text = data[HEADER.itemsize : -_CRC]
    try:
        plain = json.loads(text)
        layout = Layout(
            _text(plain["robot"]),
            _texts(plain["joints"]),
            {_text(name): _texts(elements) for name, elements in plain["signals"]},
            _texts(plain["twist"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MalformedPacketError("description") from error
    # what was read must be all there was: a doubled signal or another spelling would shift every number after it
    if layout.text != text or layout.digest != np.frombuffer(data, HEADER, 1)[0]["layout"]:
        raise MalformedPacketError("description")
    return layout


def unpack_state(layout: Layout, data: bytes) -> StatePacket:
    """Return the STATE in a packet that ``kind_of`` accepted; its numbers may be NaN, which safety must see."""
    record = _record(layout, layout.state, data)
    remote = None
    if int(record["flags"]) & _HAS_REMOTE:
        pressed = int(record["buttons"])
        buttons = frozenset(name for i, name in enumerate(BUTTONS) if pressed >> i & 1)
        with np.errstate(invalid="ignore"):  # a signalling NaN, widened
            remote = Remote(record["axes"].astype(np.float64), buttons)
    values = record["values"]
    signals = {name: values[where].astype(np.float64) for name, where in layout.slices.items()}
    reading = Reading(float(record["stamp"]), int(record["tick"]), signals, remote)
    return StatePacket(reading, int(record["sequence"]), int(record["answers"]))


def unpack_command(layout: Layout, data: bytes) -> CommandPacket:
    """Return the COMMAND in a packet that ``kind_of`` accepted; a number that is not finite makes it malformed."""
    record = _record(layout, layout.command, data)
    with np.errstate(invalid="ignore"):  # a signalling NaN, widened; refused below
        position, velocity, kp, kd, effort, twist = (
            record[name].astype(np.float64)
            for name in ("position", "velocity", "kp", "kd", "effort", "twist")
        )
    if not np.isfinite(np.concatenate((position, velocity, kp, kd, effort, twist))).all():
        raise MalformedPacketError("not_finite")
    if kp.min(initial=0.0) < 0.0 or kd.min(initial=0.0) < 0.0:
        raise MalformedPacketError("negative_gain")
    command = Command(position, velocity, kp, kd, effort, twist)
    return CommandPacket(command, int(record["sequence"]), float(record["stamp"]))


def _record(layout: Layout, kind: np.dtype[Any], data: bytes) -> Any:
    if np.frombuffer(data, HEADER, 1)[0]["layout"] != layout.digest:
        raise MalformedPacketError("layout")
    if len(data) != kind.itemsize:
        raise MalformedPacketError("length")
    return np.frombuffer(data, kind, 1)[0]


def _plain(kind: int, layout: int, length: int, sequence: int, stamp: float) -> bytes:
    return np.array([(MAGIC, VERSION, kind, layout, length, sequence, stamp)], HEADER).tobytes()


def _fill_header(record: NDArray[Any], kind: int, layout: Layout, sequence: int, stamp: float) -> None:
    record["magic"], record["version"], record["kind"] = MAGIC, VERSION, kind
    record["layout"], record["length"] = layout.digest, record.dtype.itemsize
    record["sequence"], record["stamp"] = sequence, stamp


def _sealed(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(_CRC, "little")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {value!r}")
    return tuple(_text(item) for item in value)
