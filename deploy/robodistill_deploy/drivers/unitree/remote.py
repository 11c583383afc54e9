"""The hand-held remote of a Unitree robot, from the two places where its state travels.

``LowState_.wireless_remote`` holds 40 bytes: two of head, 16 bits of buttons, then float32 left x, right x, right y,
the analogue trigger L2 and left y; the rest is not used. ``rt/wirelesscontroller`` carries the same as numbers. Bits
and order: ``include/unitree/dds_wrapper/common/unitree_joystick.hpp`` of the vendor's C++ SDK, and the example
``wireless_controller.py`` of its Python one. Right and up are positive in both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from robodistill_deploy.drivers.base import Remote

BUTTONS = (
    "R1", "L1", "start", "select", "R2", "L2", "F1", "F2", "A", "B", "X", "Y", "up", "right", "down", "left",
)  # fmt: skip
"""Name of each bit, lowest first"""
RECEIVER = np.dtype(
    {
        "names": ["buttons", "lx", "rx", "ry", "l2", "ly"],
        "formats": ["<u2", "<f4", "<f4", "<f4", "<f4", "<f4"],
        "offsets": [2, 4, 8, 12, 16, 20],
        "itemsize": 40,
    }
)


def from_receiver(wireless_remote: npt.NDArray[np.uint8]) -> Remote | None:
    """Return the remote in ``wireless_remote`` (40,); None where nothing was received: all zeros, or no numbers."""
    if not wireless_remote.any():
        return None
    fields = np.frombuffer(wireless_remote.tobytes(), RECEIVER)[0]
    return _remote(fields, int(fields["buttons"]))


def from_topic(sample: np.ndarray[Any, np.dtype[Any]]) -> Remote | None:
    """Return the remote in a ``WirelessController_``; None where an axis is not a number."""
    return _remote({name: sample[name] for name in ("lx", "ly", "rx", "ry")}, int(sample["keys"]))


def to_receiver(remote: Remote) -> npt.NDArray[np.uint8]:
    """Return the 40 bytes of ``remote``, as a robot fills them."""
    fields = np.zeros(1, RECEIVER)
    for name, value in zip(("lx", "ly", "rx", "ry"), remote.axes, strict=True):
        fields[name] = value
    fields["buttons"] = pressed_bits(remote.buttons)
    return fields.view(np.uint8)


def pressed_bits(buttons: Collection[str]) -> int:
    """Return the 16 bits of the pressed ``buttons``."""
    return sum(1 << bit for bit, name in enumerate(BUTTONS) if name in buttons)


def _remote(fields: Mapping[str, Any] | np.void, buttons: int) -> Remote | None:
    # looked at before it is widened: a signalling NaN, widened, is a warning on the way
    axes = np.array([fields["lx"], fields["ly"], fields["rx"], fields["ry"]], np.float32)
    if not np.isfinite(axes).all():
        return None
    pressed = frozenset(name for bit, name in enumerate(BUTTONS) if buttons >> bit & 1)
    return Remote(np.clip(axes.astype(np.float64), -1.0, 1.0), pressed)
