"""World: what rewards, privileged terms and terminations may look at, all of one instant."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_envs.config import TaskConfig
from robodistill_envs.engines.base import Engine
from robodistill_envs.measure import Measurement
from robodistill_envs.model import TRUE, sensor_slice
from robodistill_envs.random import WorldRandom

_STATE = (
    "action", "last_action", "command", "push", "steps", "parameters", "internals",
)  # fmt: skip
"""Attributes of World that neither the engine nor the next step gives."""


class World:
    """N worlds at one control tick; every tensor is float32 (num_envs, ...) on the engine's device."""

    def __init__(self, task: TaskConfig, engine: Engine) -> None:
        n, device = engine.num_envs, engine.device
        self.task = task
        self.num_envs = n
        self.device = device
        self.dt = task.control_dt
        self._sensordata = engine.sensordata
        self._true = {
            s.name: sensor_slice(engine.model, s, TRUE) for s in (*task.robot.sensors, *task.robot.truth)
        }
        self._views: dict[str, Tensor] = {}
        self._engine = engine
        self._memo: dict[Any, Tensor] = {}
        self._memo_of = -1
        self.measurement = Measurement(task, engine.model)
        self.action_dim = sum(len(a.names) for a in task.robot.actions)
        self.action = torch.zeros(n, self.action_dim)
        """Raw action that led here."""
        self.last_action = torch.zeros(n, self.action_dim)
        """Raw action of the tick before."""
        self.last_joint_vel: Tensor | None = None
        self.parameters = {k: torch.zeros(n, len(p.low)) for k, p in task.parameters.items()}
        self.spans = {name: _span(p.low, p.high) for name, p in task.parameters.items()}
        """Of each parameter: low + high, and high - low (1 where it is held fixed)."""
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
        view = self._views.get(name)
        if view is None:
            if name not in self._true:
                raise RobodistillError(unknown("sensor", name, self._true))
            view = self._views[name] = self._sensordata[:, self._true[name]]
        return view

    def parameter(self, name: str) -> Tensor:
        """Return the drawn values of a physical parameter, (num_envs, k)."""
        if name not in self.parameters:
            raise RobodistillError(unknown("parameter", name, self.parameters))
        return self.parameters[name]

    def measure(
        self, random: WorldRandom, counter: Tensor, noise: bool = True, ids: Tensor | None = None
    ) -> None:
        """Fill ``signals`` with what the robot's driver would deliver at this tick; ``ids`` as in ``at``."""
        self.signals = self.measurement(self._sensordata, self.parameters, random, counter, noise, ids)
        if self.task.command:
            self.signals[self.task.command.signal] = self.command.clone()

    def remember(self, function: Callable[[World], Tensor]) -> Tensor:
        """Return ``function(self)``, computed once for each instant of the engine; see ``from_sensors``."""
        if self._memo_of != self._engine.version:
            self._memo.clear()
            self._memo_of = self._engine.version
        found = self._memo.get(function)
        if found is None:
            found = self._memo[function] = function(self)
        return found

    def at(self, ids: Tensor) -> World:
        """Return worlds ``ids`` alone, as they are now; nothing written to it reaches this one."""
        part = copy.copy(self)
        part.num_envs = len(ids)
        part._sensordata = self._sensordata[ids]
        part._views, part._memo, part.signals = {}, {}, {}
        for name in (*_STATE, "last_joint_vel", "terminated"):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                setattr(part, name, value[ids])
        part.parameters = {name: value[ids] for name, value in self.parameters.items()}
        part.internals = {name: value[ids] for name, value in self.internals.items()}
        return part

    def state_dict(self) -> dict[str, Tensor | dict[str, Tensor]]:
        """Return everything that is not derived from the engine."""
        return {name: _copied(getattr(self, name)) for name in _STATE}

    def load_state_dict(self, state: Mapping[str, Tensor | dict[str, Tensor]]) -> None:
        """Restore what ``state_dict`` returned."""
        for name, value in state.items():
            setattr(self, name, _copied(value))


def _copied(value: Tensor | dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
    return {k: v.clone() for k, v in value.items()} if isinstance(value, dict) else value.clone()


def _span(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    bottom, top = torch.tensor(low), torch.tensor(high)
    return bottom + top, torch.where(top > bottom, top - bottom, 1.0)


def from_sensors(function: Callable[[World], Tensor]) -> Callable[[World], Tensor]:
    """Make ``function(world)``, which looks at ``world.true`` alone, compute once until the physics moves.

    Many rewards and terms need the same quantity, such as the velocity in the robot's heading frame.
    """

    @functools.wraps(function)
    def remembered(world: World) -> Tensor:
        return world.remember(function)

    return remembered
