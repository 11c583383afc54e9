"""Unitree's messages as numpy records, read from and written to the bytes on the wire.

A message is described once, by its fields. From them follow the IDL type (``idl``), the C struct on which the vendor
computes the CRC, and where each byte of it stands in CDR, the encoding of DDS. A record has the layout of the C struct;
``decode`` and ``encode`` move all its bytes with one indexed copy, a few microseconds where a codec of objects takes
hundreds. Fields, types and order: ``unitree_sdk2py/idl/unitree_go/msg/dds_`` of the vendor's SDK, BSD-3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from robodistill_deploy.drivers.unitree.crc import crc32_mpeg2

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]
Kind = Union[str, "Struct"]

HEADER = b"\x00\x01\x00\x00"
"""What stands before the payload: plain CDR, little-endian"""
_HEADERS = (HEADER[:2], b"\x00\x07")
"""Plain CDR and XCDR2, little-endian; without 8-byte fields both place every byte alike"""
NUMPY = {"byte": "u1", "int16": "<i2", "uint16": "<u2", "int32": "<i4", "uint32": "<u4", "float32": "<f4"}


@dataclass(frozen=True)
class Struct:
    """A type of fixed size: its DDS name and its fields, each (name, kind, count); count 0 is a single value."""

    name: str
    fields: tuple[tuple[str, Kind, int], ...]

    @property
    def c_type(self) -> np.dtype[Any]:
        """Return the record as a C compiler lays it out."""
        return np.dtype([_column(*field) for field in self.fields], align=True)

    def leaves(self) -> list[tuple[int, int]]:
        """Return (offset in the C struct, size) of every value, in the order of the wire."""
        record = self.c_type
        found: list[tuple[int, int]] = []
        for name, kind, count in self.fields:
            base, single = record.fields[name][1], record[name].base  # type: ignore[index]
            inner = kind.leaves() if isinstance(kind, Struct) else [(0, single.itemsize)]
            for i in range(max(count, 1)):
                found += [(base + i * single.itemsize + offset, size) for offset, size in inner]
        return found


def _column(name: str, kind: Kind, count: int) -> tuple[str, Any] | tuple[str, Any, tuple[int]]:
    single = kind.c_type if isinstance(kind, Struct) else np.dtype(NUMPY[kind])
    return (name, single, (count,)) if count else (name, single)


@dataclass(frozen=True)
class Message:
    """How a Struct travels. CDR aligns each value, a C compiler also pads each struct: hence the two layouts."""

    struct: Struct

    @cached_property
    def c_type(self) -> np.dtype[Any]:
        """Return the dtype of a record."""
        return self.struct.c_type

    @cached_property
    def _places(self) -> Places:
        """Return for each byte of the record its place on the wire; padding is 0, whose byte is always 0."""
        places, end = np.zeros(self.c_type.itemsize, np.intp), len(HEADER)
        for offset, size in self.struct.leaves():
            end += -end % size
            places[offset : offset + size] = np.arange(end, end + size)
            end += size
        return places

    @cached_property
    def _values(self) -> Places:
        """Return which bytes of the record are not padding."""
        return np.flatnonzero(self._places)

    @cached_property
    def _destinations(self) -> Places:
        """Return where those go."""
        return self._places[self._values]

    @cached_property
    def _summed(self) -> Places:
        """Return the bytes that the CRC covers, all words but the last, each word turned to big-endian."""
        return np.arange(self.c_type.itemsize - 4).reshape(-1, 4)[:, ::-1].ravel()

    @cached_property
    def size(self) -> int:
        """Return the bytes on the wire, with the header."""
        return int(self._places.max()) + 1

    def zeros(self) -> np.ndarray[tuple[()], np.dtype[Any]]:
        """Return an empty record, a writable array of no dimension."""
        return np.zeros((), self.c_type)

    def decode(self, wire: bytes) -> np.ndarray[tuple[()], np.dtype[Any]] | None:
        """Return the record in ``wire``, padding zeroed; None where it cannot be this message."""
        if len(wire) < self.size or wire[:2] not in _HEADERS:
            return None
        return np.frombuffer(wire, np.uint8)[self._places].view(self.c_type).reshape(())

    def encode(self, record: np.ndarray[Any, np.dtype[Any]]) -> bytes:
        """Return ``record`` as it travels."""
        wire = np.zeros(self.size, np.uint8)
        wire[: len(HEADER)] = np.frombuffer(HEADER, np.uint8)
        wire[self._destinations] = _bytes(record)[self._values]
        return wire.tobytes()

    def crc(self, record: np.ndarray[Any, np.dtype[Any]]) -> int:
        """Return the CRC of ``record`` without its last word, which holds it."""
        return crc32_mpeg2(_bytes(record)[self._summed])


def _bytes(record: np.ndarray[Any, np.dtype[Any]]) -> Bytes:
    return record.reshape(1).view(np.uint8)


MOTOR_SLOTS = 20
_HEAD: tuple[tuple[str, Kind, int], ...] = (
    ("head", "byte", 2),
    ("level_flag", "byte", 0),
    ("frame_reserve", "byte", 0),
    ("sn", "uint32", 2),
    ("version", "uint32", 2),
    ("bandwidth", "uint16", 0),
)
_IMU = Struct(
    "unitree_go.msg.dds_.IMUState_",
    (
        ("quaternion", "float32", 4),
        ("gyroscope", "float32", 3),
        ("accelerometer", "float32", 3),
        ("rpy", "float32", 3),
        ("temperature", "byte", 0),
    ),
)
_MOTOR_STATE = Struct(
    "unitree_go.msg.dds_.MotorState_",
    (
        ("mode", "byte", 0),
        ("q", "float32", 0),
        ("dq", "float32", 0),
        ("ddq", "float32", 0),
        ("tau_est", "float32", 0),
        ("q_raw", "float32", 0),
        ("dq_raw", "float32", 0),
        ("ddq_raw", "float32", 0),
        ("temperature", "byte", 0),
        ("lost", "uint32", 0),
        ("reserve", "uint32", 2),
    ),
)
_MOTOR_CMD = Struct(
    "unitree_go.msg.dds_.MotorCmd_",
    (
        ("mode", "byte", 0),
        ("q", "float32", 0),
        ("dq", "float32", 0),
        ("tau", "float32", 0),
        ("kp", "float32", 0),
        ("kd", "float32", 0),
        ("reserve", "uint32", 3),
    ),
)
_BMS_STATE = Struct(
    "unitree_go.msg.dds_.BmsState_",
    (
        ("version_high", "byte", 0),
        ("version_low", "byte", 0),
        ("status", "byte", 0),
        ("soc", "byte", 0),
        ("current", "int32", 0),
        ("cycle", "uint16", 0),
        ("bq_ntc", "byte", 2),
        ("mcu_ntc", "byte", 2),
        ("cell_vol", "uint16", 15),
    ),
)
_BMS_CMD = Struct("unitree_go.msg.dds_.BmsCmd_", (("off", "byte", 0), ("reserve", "byte", 3)))

LOW_STATE = Message(
    Struct(
        "unitree_go.msg.dds_.LowState_",
        (
            *_HEAD,
            ("imu_state", _IMU, 0),
            ("motor_state", _MOTOR_STATE, MOTOR_SLOTS),
            ("bms_state", _BMS_STATE, 0),
            ("foot_force", "int16", 4),
            ("foot_force_est", "int16", 4),
            ("tick", "uint32", 0),
            ("wireless_remote", "byte", 40),
            ("bit_flag", "byte", 0),
            ("adc_reel", "float32", 0),
            ("temperature_ntc1", "byte", 0),
            ("temperature_ntc2", "byte", 0),
            ("power_v", "float32", 0),
            ("power_a", "float32", 0),
            ("fan_frequency", "uint16", 4),
            ("reserve", "uint32", 0),
            ("crc", "uint32", 0),
        ),
    )
)
LOW_CMD = Message(
    Struct(
        "unitree_go.msg.dds_.LowCmd_",
        (
            *_HEAD,
            ("motor_cmd", _MOTOR_CMD, MOTOR_SLOTS),
            ("bms_cmd", _BMS_CMD, 0),
            ("wireless_remote", "byte", 40),
            ("led", "byte", 12),
            ("fan", "byte", 2),
            ("gpio", "byte", 0),
            ("reserve", "uint32", 0),
            ("crc", "uint32", 0),
        ),
    )
)
WIRELESS_CONTROLLER = Message(
    Struct(
        "unitree_go.msg.dds_.WirelessController_",
        (
            ("lx", "float32", 0),
            ("ly", "float32", 0),
            ("rx", "float32", 0),
            ("ry", "float32", 0),
            ("keys", "uint16", 0),
        ),
    )
)
