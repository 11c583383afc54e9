"""What the simulated robot measures: the task's signals with bias, noise, resolution and delay."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodistill_envs.config import SignalConfig, TaskConfig
from robodistill_envs.measure import QUATERNION
from robodistill_envs.model import MEASURED, TRUE, sensor_slice
from robodistill_envs.robot_config import SensorConfig
from robodistill_envs.simrobot.options import Robot

Array = NDArray[np.float64]
TORQUE, FOOT_FORCE = "joint_torque", "foot_force"
"""Beside the task's signals: the torque that each motor makes [N m], and what the feet press with where the model
knows; real robots deliver both."""


@dataclass(frozen=True)
class _Signal:
    sensor: SensorConfig
    config: SignalConfig
    where: slice
    order: NDArray[np.intp]
    """Robot's element i is the model's element ``order[i]``."""
    bias: Array
    turns: bool


class Sensing:
    """Sensors of one robot, whose joints come in the order ``joints``."""

    def __init__(
        self, task: TaskConfig, model: mujoco.MjModel, joints: tuple[str, ...], options: Robot, rng: np.random.Generator
    ) -> None:  # fmt: skip
        self._rng, self._noise = rng, options.noise
        self._signals = [_signal(task, model, s, joints, options.bias, rng) for s in task.robot.sensors]
        names = {sensor.name for sensor in task.robot.sensors}
        self._feet = next((s for s in task.robot.truth if s.name == FOOT_FORCE and s.name not in names), None)
        self._feet_at = sensor_slice(model, self._feet, TRUE) if self._feet else slice(0)
        self.elements = {s.sensor.name: tuple(s.sensor.elements[i] for i in s.order) for s in self._signals}
        self.elements.setdefault(TORQUE, joints)
        if self._feet:
            self.elements[FOOT_FORCE] = self._feet.elements
        self._late: deque[dict[str, Array]] = deque(maxlen=1 + round(options.signal_delay / options.timestep))

    def encoder_offset(self, joints: tuple[str, ...]) -> Array:
        """Return by how much each joint's position is measured too high [rad]: servos work with that, too."""
        for signal in self._signals:
            if signal.sensor.type == "jointpos" and set(joints) <= set(signal.sensor.elements):
                elements = self.elements[signal.sensor.name]
                return signal.bias[[elements.index(joint) for joint in joints]]
        return np.zeros(len(joints))

    def measure(self, data: mujoco.MjData, torque: Array) -> Mapping[str, Array]:
        """Return signal -> values of now, or of ``signal_delay`` ago; at the start the first ones."""
        values = {signal.sensor.name: self._one(signal, data) for signal in self._signals}
        values.setdefault(TORQUE, torque.copy())
        if self._feet:
            values[FOOT_FORCE] = data.sensordata[self._feet_at].copy()
        self._late.append(values)
        return self._late[0]

    def _one(self, signal: _Signal, data: mujoco.MjData) -> Array:
        value = data.sensordata[signal.where][signal.order]
        sigma = signal.config.noise * self._noise
        if signal.turns:
            turn = signal.bias + (sigma * self._rng.standard_normal(3) if sigma else 0.0)
            return _turned(value, turn)
        value = value + signal.bias
        if sigma:
            value = value + sigma * self._rng.standard_normal(len(value))
        if self._noise and signal.config.quantum:
            value = np.round(value / signal.config.quantum) * signal.config.quantum
        return value


def _signal(
    task: TaskConfig, model: mujoco.MjModel, sensor: SensorConfig, joints: tuple[str, ...], share: float, rng: Any
) -> _Signal:
    config, turns = task.signals.get(sensor.name, SignalConfig()), sensor.elements == QUATERNION
    order = [sensor.elements.index(j) for j in joints if j in sensor.elements]
    if len(order) != len(sensor.elements):  # not one number per joint: as in the model
        order = list(range(len(sensor.elements)))
    bias = np.zeros(3 if turns else len(order))
    if config.bias and share:
        drawn = task.parameters[config.bias]
        middle, low, high = np.array(drawn.nominal), np.array(drawn.low), np.array(drawn.high)
        bias = middle + share * (rng.uniform(low, high) - middle)
        bias = bias if turns else bias[order]
    return _Signal(sensor, config, sensor_slice(model, sensor, MEASURED), np.array(order), bias, turns)


def _turned(quat: Array, turn: Array) -> Array:
    """Return ``quat`` (w x y z) after a rotation vector ``turn`` [rad] in the sensor's own frame."""
    angle = float(np.linalg.norm(turn))
    if angle == 0.0:
        return quat
    error, result = np.empty(4), np.empty(4)
    mujoco.mju_axisAngle2Quat(error, turn / angle, angle)
    mujoco.mju_mulQuat(result, quat, error)
    return result
