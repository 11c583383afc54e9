"""The robot's own remote, as its readings bring it: sticks steer, START arms, L2 and B together stop.

Left stick forward and sideways, right stick turns. A remote that the readings no longer bring is silent.
"""

from __future__ import annotations

import math

from robodistill_deploy.drivers.base import Remote
from robodistill_deploy.operators import Operation
from robodistill_deploy.operators.steering import Steering, without_rest
from robodistill_deploy.operators.stop import EmergencyStop

STOP = frozenset({"L2", "B"})
ARM = "start"
FRESH = 0.2
"""[s] that the sticks count after the last reading with a remote"""
DEAD = 0.08
"""Share of a stick's way that counts as its middle"""


class RemoteOperator:
    """It has no device: it reads what ``poll`` is given, and ``watch`` what the emergency stop's guard sees."""

    def __init__(self, steering: Steering, stop: EmergencyStop) -> None:
        self._steering, self._stop = steering, stop
        self._last: Remote | None = None
        self._heard = -math.inf
        self._armed = False

    def open(self) -> None:
        """There is no device."""

    def watch(self, remote: Remote) -> None:
        """Press the stop if the remote says so; from any thread."""
        if remote.buttons >= STOP:
            self._stop.press("the operator pressed stop")

    def poll(self, t: float, remote: Remote | None) -> Operation:
        """Return what is wanted at ``t`` [s]."""
        if remote is not None and remote is not self._last:
            self._heard = t
            self.watch(remote)
            self._armed = self._armed or ARM in remote.buttons
        self._last = remote
        fresh = remote is not None and t - self._heard <= FRESH
        x, y, turn = (without_rest(float(v), DEAD) for v in remote.axes[:3]) if fresh and remote else (0.0,) * 3
        stopped = self._stop.pressed
        command = self._steering.command(y, -x, -turn)
        return Operation(self._heard, command, arm=self._armed and not stopped, stop=stopped)

    def close(self) -> None:
        """There is no device."""
