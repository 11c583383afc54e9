"""A gamepad on Linux, read from its event device without any package.

Hold LB (L1) to steer: left stick forward and sideways, right stick turns. START arms. B (circle) stops, always.
Codes are those of the kernel's gamepad layout (Documentation/input/gamepad.rst), alike for all pads that follow it;
an event is ``struct input_event`` (linux/input.h).
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from pathlib import Path

from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.operators.device import PATIENCE, DeviceOperator
from robodistill_deploy.operators.steering import Steering, without_rest
from robodistill_deploy.operators.stop import EmergencyStop

EVENT = struct.Struct("llHHi")
"""time (two longs), type, code, value"""
SYNC, KEY, ABSOLUTE = 0, 1, 3
DROPPED = 3
"""Code of SYNC: the kernel's queue ran over, some changes are lost."""
STOP, HOLD, ARM = 0x131, 0x136, 0x13B
"""BTN_EAST, BTN_TL, BTN_START"""
LEFT_X, LEFT_Y, RIGHT_X = 0, 1, 3
FRESH = 3.0
"""[s] that a stick counts without any event: a pad out of radio range sends none, and keeps its last values"""
DEAD = 0.1
"""Share of a stick's way that counts as its middle"""
DEVICES = Path("/proc/bus/input/devices")
_RANGE = struct.Struct("6i")
_EVIOCGABS = (2 << 30) | (_RANGE.size << 16) | (ord("E") << 8) | 0x40


def find_gamepad(devices: Path = DEVICES) -> Path:
    """Return the event device of the first joystick that the kernel lists."""
    text = devices.read_text() if devices.exists() else ""
    for block in text.split("\n\n"):
        handlers = re.search(r"^H: Handlers=(.*)$", block, re.MULTILINE)
        words = handlers[1].split() if handlers else []
        events = [word for word in words if re.fullmatch(r"event\d+", word)]
        if events and any(re.fullmatch(r"js\d+", word) for word in words):
            return Path("/dev/input") / events[0]
    raise RobodistillError("operator gamepad: none found; plug it in or pair it, or name its device with --device")


class Gamepad(DeviceOperator):
    """One pad; its sticks count only while the dead man's button is held."""

    def __init__(
        self, steering: Steering, stop: EmergencyStop, patience: float = PATIENCE, device: str | Path | None = None
    ) -> None:
        """``device`` is such as ``/dev/input/event5``; without, the first pad is taken."""
        super().__init__(steering, stop, patience)
        self._device = device
        self._sticks = {LEFT_X: 0.0, LEFT_Y: 0.0, RIGHT_X: 0.0}
        self._ranges: dict[int, tuple[int, int]] = {}
        self._held = False
        self._rest = b""

    def _connect(self) -> int:
        path = find_gamepad() if self._device is None else Path(self._device)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except PermissionError as error:
            raise RobodistillError(f"operator gamepad: {path} may not be read; add yourself to group input") from error
        except OSError as error:
            raise RobodistillError(f"operator gamepad: {path}: {error.strerror}; name another --device") from error
        try:
            self._ranges = {axis: stick_range(fd, axis) for axis in self._sticks}
        except OSError as error:
            os.close(fd)
            raise RobodistillError(f"operator gamepad: {path} is no pad with two sticks; name its --device") from error
        self._held, self._rest = False, b""
        return fd

    def _disconnect(self, fd: int) -> None:
        os.close(fd)

    def _take(self, data: bytes, now: float) -> None:
        data = self._rest + data
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        for _, _, kind, code, value in EVENT.iter_unpack(data[:whole]):
            if kind == KEY and code == STOP and value:
                self._stop.press("the operator pressed stop")
            elif kind == KEY and code == ARM and value:
                self._armed = True
            elif kind == KEY and code == HOLD:
                self._held = bool(value)
            elif kind == ABSOLUTE and code in self._sticks:
                low, high = self._ranges[code]
                self._sticks[code] = 2.0 * (value - low) / (high - low) - 1.0
            elif kind == SYNC and code == DROPPED:
                self._held = False  # whether it still is, nobody knows

    def _axes(self, t: float) -> tuple[float, float, float]:
        if not self._held or t - self._heard > FRESH:
            return 0.0, 0.0, 0.0
        sticks = {code: without_rest(value, DEAD) for code, value in self._sticks.items()}
        return -sticks[LEFT_Y], -sticks[LEFT_X], -sticks[RIGHT_X]  # sticks count right and down


def stick_range(fd: int, axis: int) -> tuple[int, int]:
    """Return the lowest and highest value of a stick, as the kernel knows the pad; an OSError if it has none."""
    _, low, high, *_ = _RANGE.unpack(fcntl.ioctl(fd, _EVIOCGABS + axis, bytes(_RANGE.size)))
    if high <= low:
        raise OSError("the axis has no range")
    return low, high
