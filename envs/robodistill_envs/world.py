"""World: what rewards, privileged terms and terminations may look at, all of one instant."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_envs import rotations
from robodistill_envs.config import SignalConfig, TaskConfig
from robodistill_envs.engines.base import Engine
from robodistill_envs.model import MEASURED, TRUE, sensor_slice
from robodistill_envs.random import WorldRandom

QUATERNION = ("w", "x", "y", "z")
_STATE = (
    "action", "last_action", "last_joint_vel", "command", "push", "steps", "parameters", "internals", "signals",
)  # fmt: skip
"""Attributes of World that are not derived from the engine."""


class World:
    """N worlds at one control tick; every tensor is float32 (num_envs, ...) on the engine's device."""

    def __init__(self, task: TaskConfig, engine: Engine) -> None:
        n, device = engine.num_envs, engine.device
        self.task = task
        self.num_envs = n
        self.device = device
        self.dt = task.control_dt
        self._sensordata = engine.sensordata
        model = engine.model
        self._true = {s.name: sensor_slice(model, s, TRUE) for s in (*task.robot.sensors, *task.robot.truth)}
        self._measured = {s.name: sensor_slice(model, s, MEASURED) for s in task.robot.sensors}
        self._is_quat = {s.name: s.elements == QUATERNION for s in task.robot.sensors}
        self.action_dim = sum(len(a.names) for a in task.robot.actions)
        self.action = torch.zeros(n, self.action_dim)
        """Raw action that led here."""
        self.last_action = torch.zeros(n, self.action_dim)
        """Raw action of the tick before."""
        self.last_joint_vel: Tensor | None = None
        self.parameters = {k: torch.zeros(n, len(p.low)) for k, p in task.parameters.items()}
        self.internals: dict[str, Tensor] = {i.name: torch.zeros(n, i.dim) for i in task.internals}
        self.command = torch.zeros(n, len(task.command.elements)) if task.command else torch.zeros(n, 0)
        self.push = torch.zeros(n, 2)
        """Last velocity kick [m/s], world x and y; fades after half a second."""
        self.steps = torch.zeros(n, dtype=torch.int64)
        """Control steps since the episode began."""
        self.signals: dict[str, Tensor] = {}
        self.terminated = torch.zeros(n, dtype=torch.bool)
        """Worlds whose episode ends at this tick by a termination."""

    def true(self, name: str) -> Tensor:
        """Return what sensor ``name`` would read without noise, delay or bias."""
        if name not in self._true:
            raise RobodistillError(unknown("sensor", name, self._true))
        return self._sensordata[:, self._true[name]]

    def parameter(self, name: str) -> Tensor:
        """Return the drawn values of a physical parameter, (num_envs, k)."""
        if name not in self.parameters:
            raise RobodistillError(unknown("parameter", name, self.parameters))
        return self.parameters[name]

    def measure(self, random: WorldRandom, counter: Tensor, noise: bool = True) -> None:
        """Fill ``signals`` with what the robot's driver would deliver at this tick."""
        for name, where in self._measured.items():
            config = self.task.signals.get(name, SignalConfig())
            sigma = config.noise if noise else 0.0
            live = value = self._sensordata[:, where]
            noise_of = f"noise.{name}"
            if self._is_quat[name]:
                self.signals[name] = self._measured_quaternion(
                    value, config.bias, sigma, random, counter, noise_of
                )
                continue
            if config.bias:
                value = value + self.parameter(config.bias)
            if sigma:
                value = value + sigma * random.normal(noise_of, counter, value.shape[1])
            if config.quantum and noise:
                value = torch.round(value / config.quantum) * config.quantum
            self.signals[name] = value.clone() if value is live else value
        if self.task.command:
            self.signals[self.task.command.signal] = self.command.clone()

    def _measured_quaternion(
        self, value: Tensor, bias: str, sigma: float, random: WorldRandom, counter: Tensor, stream: str
    ) -> Tensor:
        error = torch.zeros(self.num_envs, 3)
        if bias:
            error = error + self.parameter(bias)
        if sigma:
            error = error + sigma * random.normal(stream, counter, 3)
        return rotations.multiply(value, rotations.from_rotation_vector(error))

    def state_dict(self) -> dict[str, Tensor | dict[str, Tensor]]:
        """Return everything that is not derived from the engine."""
        return {
            name: {k: v.clone() for k, v in value.items()} if isinstance(value, dict) else value.clone()
            for name in _STATE
            if (value := getattr(self, name)) is not None
        }

    def load_state_dict(self, state: Mapping[str, Tensor | dict[str, Tensor]]) -> None:
        """Restore what ``state_dict`` returned."""
        for name, value in state.items():
            setattr(
                self,
                name,
                {k: v.clone() for k, v in value.items()} if isinstance(value, dict) else value.clone(),
            )
