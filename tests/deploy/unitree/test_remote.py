"""The remote's bytes, made here by hand as the vendor's header lays them out."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodistill_deploy.drivers.base import Remote
from robodistill_deploy.drivers.unitree.messages import WIRELESS_CONTROLLER
from robodistill_deploy.drivers.unitree.remote import BUTTONS, from_receiver, from_topic, to_receiver

STICK = st.floats(-1.0, 1.0, width=32)


def receiver(lx: float, ly: float, rx: float, ry: float, buttons: int) -> np.ndarray:
    data = b"\x55\x51" + struct.pack("<H", buttons) + struct.pack("<5f", lx, rx, ry, 0.0, ly)
    return np.frombuffer(data.ljust(40, b"\x00"), np.uint8)


@given(STICK, STICK, STICK, STICK, st.integers(0, 0xFFFF))
def test_axes_and_buttons_are_found(lx: float, ly: float, rx: float, ry: float, buttons: int) -> None:
    remote = from_receiver(receiver(lx, ly, rx, ry, buttons))
    assert remote is not None
    assert remote.axes.tolist() == [lx, ly, rx, ry]
    assert remote.buttons == {name for bit, name in enumerate(BUTTONS) if buttons & 1 << bit}


@pytest.mark.parametrize(
    ("name", "byte", "bit"),
    [("R1", 2, 0), ("L1", 2, 1), ("start", 2, 2), ("L2", 2, 5), ("A", 3, 0), ("B", 3, 1), ("Y", 3, 3), ("left", 3, 7)],
)
def test_each_button_is_its_bit(name: str, byte: int, bit: int) -> None:
    data = np.zeros(40, np.uint8)
    data[byte] = 1 << bit
    remote = from_receiver(data)
    assert remote is not None
    assert remote.buttons == {name}


@given(STICK, STICK, STICK, STICK, st.sets(st.sampled_from(BUTTONS)))
def test_what_a_robot_fills_in_is_read_back(lx: float, ly: float, rx: float, ry: float, held: set[str]) -> None:
    remote = Remote(np.array([lx, ly, rx, ry]), frozenset(held))
    back = from_receiver(to_receiver(remote))
    if any((lx, ly, rx, ry, held)):
        assert back is not None
        assert back.axes.tolist() == remote.axes.tolist()
        assert back.buttons == remote.buttons


def test_nothing_received_and_no_numbers_are_none() -> None:
    assert from_receiver(np.zeros(40, np.uint8)) is None
    assert from_receiver(receiver(float("nan"), 0.0, 0.0, 0.0, 0)) is None
    assert from_receiver(receiver(0.5, 0.0, 0.0, 0.0, 0)) is not None


def test_an_axis_beyond_its_end_is_at_its_end() -> None:
    remote = from_receiver(receiver(0.0, 7.0, -3.0, 0.0, 0))
    assert remote is not None
    assert remote.axes.tolist() == [0.0, 1.0, -1.0, 0.0]


def test_the_topic_says_the_same() -> None:
    sample = WIRELESS_CONTROLLER.zeros()
    sample["lx"], sample["ly"], sample["rx"], sample["ry"], sample["keys"] = 0.25, -0.5, 0.75, -1.0, 0x0120
    remote = from_topic(sample)
    assert remote is not None
    assert remote.axes.tolist() == [0.25, -0.5, 0.75, -1.0]
    assert remote.buttons == {"L2", "A"}
    sample["ry"] = np.inf
    assert from_topic(sample) is None
