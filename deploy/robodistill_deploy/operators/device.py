"""DeviceOperator: a keyboard or gamepad, read in a thread of its own, so that its stop works whatever the loop does."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from abc import ABC, abstractmethod

from robodistill_deploy.drivers.base import Remote
from robodistill_deploy.operators import Operation
from robodistill_deploy.operators.steering import Steering
from robodistill_deploy.operators.stop import EmergencyStop

PATIENCE = 30.0
"""[s] that a robot stands at its default command while nobody touches the controls, before it is damped"""
_LISTEN = 0.05
_BYTES = 4096


class DeviceOperator(ABC):
    """What keyboard and gamepad share: freshness, arming, stop. A device that is gone is silent at once.

    While input is fresh it steers. Without, the command is the policy's default; after ``patience`` [s] without any
    input, or at once without the device, ``Operation.stamp`` stands still, and the safety filter's dead man damps.
    """

    def __init__(self, steering: Steering, stop: EmergencyStop, patience: float = PATIENCE) -> None:
        self._steering, self._stop, self._patience = steering, stop, patience
        self._armed = False
        self._heard = -math.inf
        self._lost = math.inf
        self._fd = -1
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Find the device and listen to it."""
        self._fd = self._connect()
        self._heard, self._lost = time.monotonic(), math.inf
        self._ending.clear()
        self._thread = threading.Thread(target=self._listen, name="operator", daemon=True)
        self._thread.start()

    def poll(self, t: float, remote: Remote | None) -> Operation:
        """Return what is wanted at ``t`` [s]."""
        del remote
        forward, left, turn = self._axes(t) if t < self._lost else (0.0, 0.0, 0.0)
        stamp = min(t, self._heard + self._patience, self._lost)
        stopped = self._stop.pressed
        command = self._steering.command(forward, left, turn)
        return Operation(stamp, command, arm=self._armed and not stopped, stop=stopped)

    def close(self) -> None:
        """Stop listening and leave the device as it was found."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._fd >= 0:
            self._disconnect(self._fd)
            self._fd = -1

    def _listen(self) -> None:
        while not self._ending.is_set():
            if not select.select([self._fd], [], [], _LISTEN)[0]:
                continue
            try:
                data = os.read(self._fd, _BYTES)
            except BlockingIOError:
                continue
            except OSError:  # unplugged, or the terminal was closed
                data = b""
            if not data:
                self._lost = time.monotonic()
                return
            self._heard = time.monotonic()
            self._take(data, self._heard)

    @abstractmethod
    def _connect(self) -> int:
        """Return the descriptor to read from; a RobodistillError says what is missing."""

    @abstractmethod
    def _disconnect(self, fd: int) -> None:
        """Give the descriptor back."""

    @abstractmethod
    def _take(self, data: bytes, now: float) -> None:
        """Understand what was read at ``now`` [s]; in the thread."""

    @abstractmethod
    def _axes(self, t: float) -> tuple[float, float, float]:
        """Return forward, left and turn at ``t`` [s], each in [-1, 1]; zeros where input is not fresh."""
