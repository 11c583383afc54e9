"""Layout: where everything lies in a robot's readings and commands, found once, by name.

*Measurement*: a reading's signals, one after another in the driver's order, as one vector.
*Values*: one number per name of every action part, in the order of the interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy import binding
from robodistill_deploy.drivers.base import Reading
from robodistill_deploy.errors import DriverError, unknown
from robodistill_deploy.spec import InterfaceSpec

Array = NDArray[np.float64]
Order = NDArray[np.intp]

POSITION, VELOCITY = "joint_pos", "joint_vel"
QUATERNION, GYRO = "imu_quat_wxyz", "imu_gyro"


class Layout:
    """The orders of one interface on one robot."""

    def __init__(
        self, interface: InterfaceSpec, joints: Sequence[str], signals: Mapping[str, Sequence[str]]
    ) -> None:
        """Match every name; a missing, unknown or doubled one is an error that names it."""
        binding.check_joints(interface, joints)
        self.interface = interface
        self.joints = tuple(joints)
        self.signals = {name: tuple(elements) for name, elements in signals.items()}
        self.names = tuple(self.signals)
        self._start: dict[str, int] = {}
        self.size = 0
        for name, elements in self.signals.items():
            if len(set(elements)) != len(elements):
                raise DriverError(f"the driver's signal {name!r} names an element twice: {', '.join(elements)}")
            self._start[name] = self.size
            self.size += len(elements)
        self.value_names = tuple(name for part in interface.actions for name in part.names)
        self.joint_values = self._values(twist=False)
        self.twist_values = self._values(twist=True)
        self.joint_of_value = np.array([joints.index(self.value_names[i]) for i in self.joint_values], np.intp)

    def _values(self, *, twist: bool) -> Order:
        parts = self.interface.actions
        kinds = [(part.kind == "base_twist") for part in parts for _ in part.names]
        return np.flatnonzero(np.array(kinds) == twist)

    def place(self, signal: str, elements: Sequence[str]) -> Order:
        """Return where ``elements`` of ``signal`` lie in the measurement."""
        if signal not in self.signals:
            raise DriverError(f"the driver delivers no {unknown('signal', signal, self.signals)}")
        own = self.signals[signal]
        for element in elements:
            if element not in own:
                raise DriverError(f"the driver's signal {signal!r} has no {unknown('element', element, own)}")
        return np.array([self._start[signal] + own.index(element) for element in elements], np.intp)

    def measurement(self, reading: Reading) -> Array | None:
        """Return the numbers of ``reading``, (size,), or None if it does not hold what the driver promised."""
        try:
            signals = reading.signals
            vector = np.concatenate([signals[name] for name in self.names], dtype=np.float64, casting="same_kind")
        except (KeyError, ValueError, TypeError):
            return None
        return vector if vector.shape == (self.size,) else None
