"""Measurement: the truth plus bias, noise and resolution, as the task's ``signals`` say, for all sensors at once."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import torch
from torch import Tensor

from robodistill_envs import rotations
from robodistill_envs.config import SignalConfig, TaskConfig
from robodistill_envs.model import MEASURED, sensor_slice
from robodistill_envs.random import WorldRandom

QUATERNION = ("w", "x", "y", "z")


class Measurement:
    """Turns the engine's delayed sensors into signals; one draw of noise serves them all."""

    def __init__(self, task: TaskConfig, model: mujoco.MjModel) -> None:
        sensors = [(s, task.signals.get(s.name, SignalConfig())) for s in task.robot.sensors]
        self._linear = [(s, c) for s, c in sensors if s.elements != QUATERNION]
        self._turning = [
            (s.name, sensor_slice(model, s, MEASURED), c) for s, c in sensors if s.elements == QUATERNION
        ]
        self._columns = torch.tensor(
            [i for s, _ in self._linear for i in range(*sensor_slice(model, s, MEASURED).indices(model.nsensordata))],
            dtype=torch.int64,
        )
        sigma = [c.noise for s, c in self._linear for _ in s.elements]
        self._sigma = torch.tensor(sigma + [c.noise for _, _, c in self._turning for _ in range(3)])
        self._is_noisy = bool(self._sigma.any())
        self._width = len(self._columns)

    def __call__(
        self,
        sensordata: Tensor,
        parameters: Mapping[str, Tensor],
        random: WorldRandom,
        counter: Tensor,
        noise: bool,
    ) -> dict[str, Tensor]:
        """Return signal -> (n, dim) float32 for the n worlds of ``sensordata`` (n, nsensordata).

        ``counter`` (n,) int64 tells the ticks of a world apart.
        """
        value = sensordata.index_select(1, self._columns)
        error: Tensor | None = None
        if noise and self._is_noisy:
            error = random.normal("noise", counter, len(self._sigma)).mul_(self._sigma)
            value += error[:, : self._width]
        signals: dict[str, Tensor] = {}
        start = 0
        for sensor, config in self._linear:
            columns = slice(start, start + len(sensor.elements))
            read = signals[sensor.name] = value[:, columns]
            if config.bias:
                read += parameters[config.bias]
            if config.quantum and noise:
                read.div_(config.quantum).round_().mul_(config.quantum)
            start = columns.stop
        for name, where, config in self._turning:
            turn = torch.zeros(sensordata.shape[0], 3)
            if config.bias:
                turn = turn + parameters[config.bias]
            if error is not None:
                turn = turn + error[:, start : start + 3]
            signals[name] = rotations.multiply(sensordata[:, where], rotations.from_rotation_vector(turn))
            start += 3
        return signals
