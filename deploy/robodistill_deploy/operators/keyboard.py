"""The keyboard of any terminal, also over ssh: W S forward and back, A D left and right, Q E turn, Enter arms.

Space stops. A held key repeats, which keeps it fresh; a released one is 0 after ``HOLD``. The terminal must be in
front: keys that another window takes are not seen.
"""

from __future__ import annotations

import os
import signal
import sys
import termios

from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.operators.device import PATIENCE, DeviceOperator
from robodistill_deploy.operators.steering import Steering
from robodistill_deploy.operators.stop import EmergencyStop

KEYS = {"w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "q": (2, 1.0), "e": (2, -1.0)}
"""Key -> axis (forward, left, turn) and sign"""
HOLD = 0.7
"""[s] that a key counts after it was heard: longer than any system waits before the first repeat of a held key"""
SPEED = 0.5
"""Share of the trained range that a key commands at first; + and - change it."""
STEP = 0.1
_INTERRUPT = "\x03"
_LOCAL = 3
"""Place of the local modes in what ``termios.tcgetattr`` returns."""


class Keyboard(DeviceOperator):
    """Reads single keys; the terminal's mode is restored by ``close``."""

    def __init__(
        self, steering: Steering, stop: EmergencyStop, patience: float = PATIENCE, fd: int | None = None
    ) -> None:
        """``fd`` is the terminal; standard input unless given."""
        super().__init__(steering, stop, patience)
        self._terminal = fd
        self._saved: list[object] | None = None
        self._values, self._times = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        self.speed = SPEED

    def _connect(self) -> int:
        fd = sys.stdin.fileno() if self._terminal is None else self._terminal
        try:
            self._saved = termios.tcgetattr(fd)
        except termios.error as error:
            raise RobodistillError(
                "operator keyboard: standard input is no terminal; start it in one (ssh -t), or use --command"
            ) from error
        mode = termios.tcgetattr(fd)
        # Signals too come as bytes, so that Ctrl-C stops the robot even while the main thread hangs.
        mode[_LOCAL] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
        termios.tcsetattr(fd, termios.TCSANOW, mode)
        return fd

    def _disconnect(self, fd: int) -> None:
        if self._saved is None:
            return
        try:
            termios.tcsetattr(fd, termios.TCSADRAIN, self._saved)  # pyright: ignore[reportArgumentType]
        except termios.error:
            return  # the terminal was closed, nothing is left to restore
        finally:
            self._saved = None

    def _take(self, data: bytes, now: float) -> None:
        for key in data.decode("latin-1").lower():
            if key in (" ", _INTERRUPT):
                self._stop.press("the operator pressed stop")
            if key == _INTERRUPT:
                os.kill(os.getpid(), signal.SIGINT)
            elif key in ("\r", "\n"):
                self._armed = True
            elif key in "+=-":
                self.speed = min(1.0, max(STEP, self.speed + (-STEP if key == "-" else STEP)))
            elif key in KEYS:
                axis, sign = KEYS[key]
                self._values[axis], self._times[axis] = sign, now

    def _axes(self, t: float) -> tuple[float, float, float]:
        fresh = [v * self.speed if t - at <= HOLD else 0.0 for v, at in zip(self._values, self._times, strict=True)]
        return fresh[0], fresh[1], fresh[2]
