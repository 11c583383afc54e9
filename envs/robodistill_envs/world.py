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
_ROWS = (
    "_sensordata", "_drawn", "action", "last_action", "command", "push", "steps", "last_joint_vel", "terminated",
)  # fmt: skip
"""Attributes of World with a row per world, beside internals."""


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
        self._engine: Engine | None = engine
        """None for a copy, whose rows never change."""
        self._memo: dict[Any, Tensor] = {}
        self._memo_of = -1
        self.measurement = Measurement(task, engine.model)
        self.action_dim = sum(len(a.names) for a in task.robot.actions)
        self.action = torch.zeros(n, self.action_dim)
        """Raw action that led here."""
        self.last_action = torch.zeros(n, self.action_dim)
        """Raw action of the tick before."""
        self.last_joint_vel: Tensor | None = None
        ranges = task.parameters.values()
        self._widths = [len(p.low) for p in ranges]
        self._drawn = torch.zeros(n, sum(self._widths))
        self._parameters = self._split(self._drawn)
        self._middle, self._half = _span([v for p in ranges for v in p.low], [v for p in ranges for v in p.high])
        self._normalised: tuple[object, dict[str, Tensor]] = (None, {})
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

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Name -> drawn values of a physical parameter, (num_envs, k); writes count."""
        return self._parameters

    @parameters.setter
    def parameters(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._parameters[name].copy_(value)

    def set_parameters(self, ids: Tensor, drawn: Tensor) -> None:
        """Give worlds ``ids`` the parameters ``drawn`` (n, all), in the task's order."""
        self._drawn.index_copy_(0, ids, drawn)

    def normalised_parameter(self, name: str) -> Tensor:
        """Return a parameter mapped from its range to [-1, 1], 0 where it is held fixed; read only."""
        # between two resets nothing changes; what writes to a tensor moves its version
        seen = [(id(value), value._version) for value in self._parameters.values()] if self._engine else []
        if self._normalised[0] != seen:
            flat = torch.cat(list(self._parameters.values()), dim=1)
            self._normalised = (seen, self._split((flat - self._middle).div_(self._half)))
        return self._normalised[1][name]

    def _split(self, flat: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.task.parameters, flat.split(self._widths, dim=1), strict=True)) if self._widths else {}

    def parameter(self, name: str) -> Tensor:
        """Return the drawn values of a physical parameter, (num_envs, k)."""
        if name not in self.parameters:
            raise RobodistillError(unknown("parameter", name, self.parameters))
        return self.parameters[name]

    def measure(self, random: WorldRandom, counter: Tensor, noise: bool = True) -> None:
        """Fill ``signals`` with what the robot's driver would deliver at this tick."""
        self.signals = self.measurement(self._sensordata, self.parameters, random, counter, noise)
        if self.task.command:
            self.signals[self.task.command.signal] = self.command.clone()

    def remember(self, function: Callable[[World], Tensor]) -> Tensor:
        """Return ``function(self)``, computed once for each instant of the engine; see ``from_sensors``."""
        if self._engine and self._memo_of != self._engine.version:
            self._memo.clear()
            self._memo_of = self._engine.version
        found = self._memo.get(function)
        if found is None:
            found = self._memo[function] = function(self)
        return found

    def at(self, ids: Tensor) -> World:
        """Return worlds ``ids`` alone, as they are now; nothing written to it reaches this one."""
        return self.made_of({name: value.index_select(0, ids) for name, value in self.rows().items()})

    def joined(self, part: World) -> World:
        """Return the rows of this one, as they are now, followed by those of ``part``."""
        theirs = part.rows()
        return self.made_of({name: torch.cat((value, theirs[name])) for name, value in self.rows().items()})

    def rows(self) -> dict[str, Tensor]:
        """Return all that has a row per world, by name, live: with ``made_of`` a function of tensors can be made."""
        rows = {name: value for name in _ROWS if (value := getattr(self, name)) is not None}
        return rows | {f"internals.{name}": value for name, value in self.internals.items()}

    def made_of(self, rows: Mapping[str, Tensor]) -> World:
        """Return a World of other ``rows``, which must not change; it has none of what they leave out."""
        made = copy.copy(self)
        made._engine = None
        made.num_envs = rows["action"].shape[0]
        made._views, made._memo, made.signals = {}, {}, {}
        made._normalised = (None, {})
        for name in _ROWS:
            setattr(made, name, rows.get(name))
        made._parameters = self._split(rows["_drawn"]) if "_drawn" in rows else {}
        made.internals = {k: v for name, v in rows.items() if (k := name.removeprefix("internals.")) != name}
        return made

    def state_dict(self) -> dict[str, Tensor | dict[str, Tensor]]:
        """Return everything that is not derived from the engine."""
        return {name: _copied(getattr(self, name)) for name in _STATE}

    def load_state_dict(self, state: Mapping[str, Tensor | dict[str, Tensor]]) -> None:
        """Restore what ``state_dict`` returned."""
        for name, value in state.items():
            setattr(self, name, _copied(value))


def _copied(value: Tensor | dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
    return {k: v.clone() for k, v in value.items()} if isinstance(value, dict) else value.clone()


def _span(low: list[float], high: list[float]) -> tuple[Tensor, Tensor]:
    """Return the middle of each range and half its width, 1 where it is empty."""
    bottom, top = torch.tensor(low), torch.tensor(high)
    return 0.5 * (bottom + top), torch.where(top > bottom, 0.5 * (top - bottom), 1.0)


def from_sensors(function: Callable[[World], Tensor]) -> Callable[[World], Tensor]:
    """Make ``function(world)``, which looks at ``world.true`` alone, compute once until the physics moves.

    Many rewards and terms need the same quantity, such as the velocity in the robot's heading frame.
    """

    @functools.wraps(function)
    def remembered(world: World) -> Tensor:
        return world.remember(function)

    return remembered
