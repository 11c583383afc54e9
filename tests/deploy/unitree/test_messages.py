"""Records, bytes on the wire and check sums, against CycloneDDS's own codec and a sum done bit by bit."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodistill_deploy.drivers.unitree.crc import crc32_mpeg2
from robodistill_deploy.drivers.unitree.messages import (
    HEADER,
    LOW_CMD,
    LOW_STATE,
    WIRELESS_CONTROLLER,
    Message,
    Struct,
)

MESSAGES = {"LowState_": LOW_STATE, "LowCmd_": LOW_CMD, "WirelessController_": WIRELESS_CONTROLLER}


def bit_by_bit(data: bytes) -> int:
    """Return the CRC as its definition computes it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def random_record(message: Message, seed: int) -> Any:
    """Return a record full of noise, padding left at zero."""
    rng = np.random.default_rng(seed)
    wire = rng.integers(0, 256, message.size, np.uint8)
    wire[:4] = np.frombuffer(HEADER, np.uint8)
    return message.decode(wire.tobytes())


@given(st.binary(max_size=300))
def test_the_sum_is_that_of_its_definition(data: bytes) -> None:
    assert crc32_mpeg2(np.frombuffer(data, np.uint8)) == bit_by_bit(data)


def test_the_sum_has_the_published_check_value() -> None:
    assert crc32_mpeg2(np.frombuffer(b"123456789", np.uint8)) == 0x0376E6E7


@pytest.mark.parametrize("message", [LOW_STATE, LOW_CMD], ids=["LowState_", "LowCmd_"])
@pytest.mark.parametrize("seed", range(10))
def test_the_sum_of_a_record_covers_its_words_highest_byte_first(message: Message, seed: int) -> None:
    record = random_record(message, seed)
    words = struct.unpack(f"<{record.nbytes // 4}I", record.tobytes())
    assert message.crc(record) == bit_by_bit(b"".join(word.to_bytes(4, "big") for word in words[:-1]))


@pytest.mark.parametrize("message", [LOW_STATE, LOW_CMD], ids=["LowState_", "LowCmd_"])
def test_every_bit_but_those_of_the_sum_itself_changes_it(message: Message) -> None:
    record = message.zeros()
    before = message.crc(record)
    raw = record.reshape(1).view(np.uint8)
    for place in np.flatnonzero(random_record(message, 0).reshape(1).view(np.uint8)[:-4]):
        raw[place] ^= 1
        assert message.crc(record) != before, place
        raw[place] ^= 1
    record["crc"] = 7
    assert message.crc(record) == before


def test_sizes_are_those_of_the_vendors_c_structs() -> None:
    assert LOW_STATE.c_type.itemsize == LOW_STATE.size == 1180
    assert LOW_CMD.c_type.itemsize == LOW_CMD.size == 812


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_bytes_come_back(message: Message) -> None:
    record = random_record(message, 1)
    again = message.decode(message.encode(record))
    assert again is not None
    assert again.tobytes() == record.tobytes()


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_what_cannot_be_the_message_is_none(message: Message) -> None:
    wire = message.encode(message.zeros())
    assert message.decode(wire) is not None
    assert message.decode(wire[:-1]) is None
    assert message.decode(b"") is None
    assert message.decode(b"\x00\x00" + wire[2:]) is None  # big-endian
    assert message.decode(b"\x00\x07" + wire[2:]) is not None  # XCDR2, little-endian


def as_object(kind: Struct, values: Any) -> Any:
    """Return ``values`` as an object of CycloneDDS's own classes."""
    idl = pytest.importorskip("robodistill_deploy.drivers.unitree.idl", reason="needs cyclonedds")
    return idl.plain_type(kind)(**{name: as_field(field, values[name], n) for name, field, n in kind.fields})


def as_field(kind: Any, value: Any, count: int) -> Any:
    if isinstance(kind, Struct):
        return [as_object(kind, v) for v in value] if count else as_object(kind, value)
    return value.tolist()


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_the_wire_is_what_cyclonedds_itself_writes(message: Message) -> None:
    record = random_record(message, 2)
    for name, _, _ in message.struct.fields:  # not a number has many bit patterns, and Python keeps only one
        clean(record[name] if record[name].dtype.names else record, name)
    assert as_object(message.struct, record).serialize() == message.encode(record)


def clean(record: Any, name: str) -> None:
    """Replace float32 noise, which may be no number, by numbers."""
    names = record.dtype.names if name not in record.dtype.names else (name,)
    for field in names:
        if record[field].dtype.kind == "f":
            record[field] = np.arange(record[field].size).reshape(record[field].shape) + 0.25


def test_a_struct_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LOW_CMD.struct.name = "other"  # type: ignore[misc]
