"""The CPU engine: mjbatch, a C++ thread pool over MuJoCo, bit-reproducible."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import torch
from mjbatch import Batch
from torch import Tensor

from robodistill_deploy.errors import RobodistillError
from robodistill_envs.engines.base import Engine
from robodistill_envs.motors import rotors_of

# BADQPOS, BADQVEL, BADQACC
_DIVERGED = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)


class MjbatchEngine(Engine):
    """N worlds on ``threads`` CPU threads (0 = all)."""

    def __init__(self, model: mujoco.MjModel, num_envs: int, threads: int = 0) -> None:
        self.model = model
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        # forward=False: derived fields stay one physics step behind, which the contract declares
        self._batch = Batch(model, num_envs, threads)
        # A field binds in one dtype. State must be float64: float32 state would be a copy that loses writes.
        self._rows: np.ndarray[Any, Any] = self._batch.bind("state")
        self._states = {name: torch.from_numpy(self._batch.bind(name)) for name in ("qpos", "qvel", "ctrl")}
        self._sensordata = torch.from_numpy(self._batch.bind("sensordata", np.float32))
        self._warning: np.ndarray[Any, Any] = self._batch.bind("warning")
        # (N, kinds, [last info, number]); a reset clears the counters
        self._times_diverged = torch.from_numpy(self._warning)[:, _DIVERGED, 1]
        self._fields: dict[str, Tensor] = {}
        self._history = self._batch.bind("history") if model.nhistory else None
        self._from_ctrl, self._from_sensors = _slots_of_actuators(model), _slots_of_sensors(model)
        self._twins = _delayed_columns(model)
        self._rotors = rotors_of(model)

    def state(self, name: str) -> Tensor:
        """Return the live float64 view (N, ...) of ``qpos``, ``qvel`` or ``ctrl``."""
        return self._states[name]

    @property
    def sensordata(self) -> Tensor:
        """Return the live float32 (N, nsensordata)."""
        return self._sensordata

    def field(self, name: str) -> Tensor:
        """Return the live per-world values of a model field."""
        if name not in self._fields:
            self._fields[name] = torch.from_numpy(self._batch.expand(name))
        return self._fields[name]

    def step(self, nstep: int) -> None:
        """Advance every world by ``nstep`` physics steps."""
        self._batch.step(nstep=nstep)
        self.version += 1

    def update_constants(self, ids: Tensor) -> None:
        """Run ``mj_setConst`` for worlds ``ids``."""
        self._batch.set_const(_ids(ids))

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor, ctrl: Tensor) -> None:
        """Reset worlds ``ids`` to (n, nq), (n, nv), (n, nu); delay buffers hold that very state."""
        if ids.numel() == 0:
            return
        rows = _ids(ids)
        self._batch.reset(rows)
        self._states["qpos"][ids] = qpos
        self._states["qvel"][ids] = qvel
        self._states["ctrl"][ids] = ctrl
        self._align_rotors(ids)
        self._delay_actions(rows, ctrl.numpy())
        self._batch.forward(rows)
        self._delay_sensors(rows)
        self.version += 1

    def _align_rotors(self, ids: Tensor) -> None:
        """Put rotors into the middle of their backlash, turning with their links."""
        at, rotors = ids.unsqueeze(1), self._rotors
        if len(rotors.qpos):
            self._states["qpos"][at, rotors.qpos] = self._states["qpos"][at, rotors.link_qpos]
            self._states["qvel"][at, rotors.dof] = self._states["qvel"][at, rotors.link_dof]

    def _delay_actions(self, rows: np.ndarray[Any, Any], ctrl: np.ndarray[Any, Any]) -> None:
        """Write the present targets into every slot of worlds ``rows``."""
        slots, actuators = self._from_ctrl
        if self._history is not None:
            self._history[rows[:, None], slots] = ctrl[:, actuators]

    def _delay_sensors(self, rows: np.ndarray[Any, Any]) -> None:
        """Write what undelayed twins have just measured into every slot of worlds ``rows``, and into what they read."""
        if self._history is None:
            return
        column, seen = rows[:, None], self._sensordata.numpy()
        slots, twins = self._from_sensors
        self._history[column, slots] = seen[column, twins]
        delayed, twins = self._twins
        seen[column, delayed] = seen[column, twins]

    def unstable(self) -> Tensor:
        """Return (N,) bool: worlds that MuJoCo found diverged since their last reset."""
        return self._times_diverged.any(dim=1)

    def expanded(self) -> dict[str, Tensor]:
        """Return the live per-world model fields that were asked for, (N, ...) each."""
        return dict(self._fields)

    def row(self, world: int) -> np.ndarray[Any, Any]:
        """Return a copy of a world's integration state, in ``mj_getState``'s order."""
        return self._rows[world].copy()

    def state_dict(self) -> dict[str, Any]:
        """Return integration rows, expanded fields, warning counters and derived buffers."""
        return {
            "rows": torch.from_numpy(self._rows.copy()),
            "fields": {name: value.clone() for name, value in self._fields.items()},
            "warnings": torch.from_numpy(self._warning.copy()),
            "sensordata": self._sensordata.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore ``state_dict``; derived constants are recomputed from the restored fields."""
        rows = state["rows"].numpy()
        if rows.shape != self._rows.shape:
            raise RobodistillError(f"engine state has shape {rows.shape}, this task has {self._rows.shape}")
        for name, value in state["fields"].items():
            self.field(name).copy_(value)
        self._batch.set_const()
        for name, value in state["fields"].items():
            self.field(name).copy_(value)
        self._rows[:] = rows
        self._warning[:] = state["warnings"].numpy()
        self._sensordata.copy_(state["sensordata"])
        self.version += 1


def _ids(ids: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(ids.numpy())


Slots = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Columns of ``history``, and where the value for each is found."""


def _slots_of_actuators(model: mujoco.MjModel) -> Slots:
    """Return the value slots of all delayed actuators; a buffer is [user, cursor, times(n), values(n, dim)]."""
    slots: list[int] = []
    sources: list[int] = []
    for i in range(model.nu):
        samples, start = int(model.actuator_history[i, 0]), int(model.actuator_historyadr[i])
        slots += range(start + 2 + samples, start + 2 + 2 * samples)
        sources += [i] * samples
    return np.array(slots, int), np.array(sources, int)


def _slots_of_sensors(model: mujoco.MjModel) -> Slots:
    """Return the value slots of all delayed sensors, and the undelayed numbers in ``sensordata`` that fill them."""
    slots: list[int] = []
    sources: list[int] = []
    for i in range(model.nsensor):
        samples, start, dim = int(model.sensor_history[i, 0]), int(model.sensor_historyadr[i]), int(model.sensor_dim[i])
        if samples:
            first = int(model.sensor_adr[_twin(model, i)])
            slots += range(start + 2 + samples, start + 2 + samples + samples * dim)
            sources += list(range(first, first + dim)) * samples
    return np.array(slots, int), np.array(sources, int)


def _delayed_columns(model: mujoco.MjModel) -> Slots:
    """Return the columns of ``sensordata`` of delayed sensors, and those of their undelayed twins."""
    columns: list[int] = []
    sources: list[int] = []
    for i in range(model.nsensor):
        if int(model.sensor_history[i, 0]):
            dim, twin = int(model.sensor_dim[i]), int(model.sensor_adr[_twin(model, i)])
            columns += range(int(model.sensor_adr[i]), int(model.sensor_adr[i]) + dim)
            sources += range(twin, twin + dim)
    return np.array(columns, int), np.array(sources, int)


def _twin(model: mujoco.MjModel, sensor: int) -> int:
    """Return the undelayed sensor that measures what delayed ``sensor`` does."""
    for other in range(model.nsensor):
        same = all(
            getattr(model, field)[other] == getattr(model, field)[sensor]
            for field in ("sensor_type", "sensor_objtype", "sensor_objid")
        )
        if same and model.sensor_history[other, 0] == 0:
            return other
    raise RobodistillError(f"sensor {model.sensor(sensor).name!r} has a delay but no undelayed twin")
