"""Excursions: how far a robot got from where it should have been, over one run."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodistill_envs.config import TaskConfig
from robodistill_envs.model import TRUE, sensor_slice

Array = NDArray[np.float64]
_UPRIGHT_RAD, _UP_SHARE = 0.5, 0.7
"""A robot is up once it leans less than this at this share of its reset height; only then can it fall."""
_TILT_RAD = 0.9
"""Where a task has no termination by tilt."""


class Excursions:
    """Figures of one robot, gathered at every physics step."""

    def __init__(self, task: TaskConfig, model: mujoco.MjModel, limit: Array) -> None:
        self._limit = limit
        self._height = task.reset.height
        self._tilt_limit = next(
            (float(t.params["limit"]) for t in task.terminations if t.type.endswith(":tilt")), _TILT_RAD
        )
        names = {t.params["sensor"] for t in task.terminations if t.type.endswith(":contact")}
        self._contacts = [sensor_slice(model, s, TRUE) for s in task.robot.truth if s.name in names]
        self._was_up = False
        self.fell_at: float | None = None
        """[s] of the first fall"""
        self._max_tilt, self._min_height = 0.0, math.inf
        self._torque = np.zeros_like(limit)
        self._squares, self._steps = np.zeros_like(limit), 0
        self._twist, self._stiff_s = np.zeros(3), 0.0

    def note(self, data: mujoco.MjData, torque: Array, error: Array | None, time: float, dt: float) -> None:
        """Take in one physics step that ended at ``time``; ``error`` [rad] is None where no joint is held stiff."""
        np.maximum(self._torque, np.abs(torque), out=self._torque)
        if error is not None:
            self._squares += error * error
            self._steps += 1
        if self._height > 0.0:
            self._note_base(data, error is not None, time, dt)

    def _note_base(self, data: mujoco.MjData, stiff: bool, time: float, dt: float) -> None:
        w, x, y, z = data.qpos[3:7]
        tilt = math.acos(min(1.0, max(-1.0, 1.0 - 2.0 * (x * x + y * y))))
        height = float(data.qpos[2])
        self._was_up = self._was_up or (tilt < _UPRIGHT_RAD and height > _UP_SHARE * self._height)
        if not self._was_up:
            return
        self._max_tilt, self._min_height = max(self._max_tilt, tilt), min(self._min_height, height)
        # a robot that is told to go limp sinks onto its trunk: that is no fall, toppling always is
        touches = stiff and any(bool(data.sensordata[where].any()) for where in self._contacts)
        if self.fell_at is None and (tilt > self._tilt_limit or touches):
            self.fell_at = time
        if stiff:
            yaw = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
            vx, vy = data.qvel[0], data.qvel[1]
            c, s = math.cos(yaw), math.sin(yaw)
            self._twist += dt * np.array([c * vx + s * vy, c * vy - s * vx, data.qvel[5]])
            self._stiff_s += dt

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None where a robot has no base, or was never up."""
        based = self._height > 0.0
        up = based and self._was_up
        rms = np.sqrt(self._squares / self._steps) if self._steps else np.zeros_like(self._squares)
        return {
            "fell": self.fell_at is not None if based else None,
            "fell_at_s": self.fell_at,
            "was_up": self._was_up if based else None,
            "max_tilt_rad": self._max_tilt if up else None,
            "min_height_m": self._min_height if up else None,
            "mean_twist": (self._twist / self._stiff_s).tolist() if up and self._stiff_s else None,
            "torque_peak_nm": self._torque.tolist(),
            "torque_peak_share": float((self._torque / self._limit).max()),
            "tracking_rms_rad": rms.tolist(),
        }
