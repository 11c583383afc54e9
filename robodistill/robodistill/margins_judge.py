"""Whether a policy still does its work on a robot: judged by what the robot did while the policy drove, not before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill_envs.config import TaskConfig
from robodistill_envs.model import FLOOR, TRUE, build_model, sensor_slice
from robodistill_envs.simrobot.options import Robot
from robodistill_envs.simrobot.robot import robot_model

Array = NDArray[np.float64]
Script = Sequence[tuple[float, tuple[float, ...]]]
"""(start [s], command), each holding until the next."""

HEIGHT_SHARE = 0.6
"""A base below this share of the height at reset does not stand."""
SETTLE_S = 0.8
"""[s] after a change of the command in which its tracking does not count"""
_TWIST = ":base_twist"
_TRACKED = {"velocity_rmse": ("m/s", "velocity"), "yaw_rate_rmse": ("rad/s", "yaw rate")}


@dataclass(frozen=True)
class Judge:
    """What a task calls standing and following. A bound that it does not know is None and never violated."""

    min_height: float | None
    """[m] of the base"""
    velocity_rmse: float | None
    """[m/s] of the horizontal velocity against the command, in the heading's frame"""
    yaw_rate_rmse: float | None
    """[rad/s]"""
    max_tilt: float = math.inf
    """[rad] beyond which the task calls it a fall"""
    contacts: tuple[slice, ...] = ()
    """Where in a track's ``sensordata`` something above zero is a fall."""

    def why(self, driven: dict[str, Any]) -> str:
        """Return what is not as it should be in the figures of ``drive``; empty if nothing."""
        for name, (unit, what) in _TRACKED.items():
            bound = getattr(self, name)
            if bound is not None and driven[name] > bound:
                return f"does not follow: RMSE of the {what} {driven[name]:.2f} {unit}, bound {bound:.2f}"
        return ""

    def fall(self, track: dict[str, Array], begin: float, end: float) -> str:
        """Return how the robot first fell or sank between ``begin`` and ``end`` [s]; empty if it did not."""
        if self.min_height is None:
            return ""
        when = (track["time"] >= begin) & (track["time"] <= end)
        _, tilt = twist(track["qpos"], track["qvel"])
        touches = np.zeros_like(when)
        for where in self.contacts:
            touches |= (track["sensordata"][:, where] > 0.0).any(axis=1)
        for what, found in (
            ("fell", (tilt > self.max_tilt) | touches),
            (f"sank below {self.min_height:.2f} m", track["qpos"][:, 2] < self.min_height),
        ):
            if (when & found).any():
                return f"{what} at {track['time'][np.argmax(when & found)]:.1f} s"
        return ""


def judge_of(task: TaskConfig, tracking: float) -> Judge:
    """Return the bounds of ``task``; errors of tracking may be ``tracking`` times the task's own targets."""
    if task.reset.height <= 0.0:
        return Judge(None, None, None)
    follows = task.command is not None and task.command.tracked_by.endswith(_TWIST)
    goals = task.targets if follows else {}
    velocity, yaw_rate = (tracking * goals[name] if name in goals else None for name in _TRACKED)
    tilts = [float(t.params["limit"]) for t in task.terminations if t.type.endswith(":tilt")]
    named = {t.params["sensor"] for t in task.terminations if t.type.endswith(":contact")}
    model = robot_model(task, Robot())
    contacts = tuple(sensor_slice(model, s, TRUE) for s in task.robot.truth if s.name in named)
    return Judge(HEIGHT_SHARE * task.reset.height, velocity, yaw_rate, min(tilts, default=math.inf), contacts)


def drive(track: dict[str, Array], begin: float, end: float, script: Script) -> dict[str, Any]:
    """Return figures of a robot with a free base between ``begin`` and ``end`` [s], while ``script`` was commanded."""
    chosen = (track["time"] >= begin) & (track["time"] <= end)
    time, qpos, qvel = track["time"][chosen], track["qpos"][chosen], track["qvel"][chosen]
    found, tilt = twist(qpos, qvel)
    wanted, age = _commanded(time, begin, script)
    settled = age >= SETTLE_S
    error = (found - wanted)[settled] if settled.any() else found - wanted
    return {
        "min_height_m": float(qpos[:, 2].min()), "max_tilt_rad": float(tilt.max()),
        "mean_twist": found.mean(axis=0).tolist(), "mean_command": wanted.mean(axis=0).tolist(),
        "velocity_rmse": math.sqrt(float(np.square(error[:, :2]).sum(axis=1).mean())),
        "yaw_rate_rmse": math.sqrt(float(np.square(error[:, 2]).mean())),
    }  # fmt: skip


def twist(qpos: Array, qvel: Array) -> tuple[Array, Array]:
    """Return forward, left [m/s] and yaw rate [rad/s] in the heading's frame, (n, 3), and tilt [rad], (n,).

    A free joint's linear velocity is in the world's frame, its angular one in the body's.
    """
    w, x, y, z = qpos[:, 3:7].T
    yaw = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    c, s = np.cos(yaw), np.sin(yaw)
    up = np.stack((2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)), axis=1)
    vx, vy = qvel[:, 0], qvel[:, 1]
    rate = (up * qvel[:, 3:6]).sum(axis=1)
    return np.stack((c * vx + s * vy, c * vy - s * vx, rate), axis=1), np.arccos(np.clip(up[:, 2], -1.0, 1.0))


def _commanded(time: Array, begin: float, script: Script) -> tuple[Array, Array]:
    """Return the command at each of ``time`` and its age [s]: since it changed, or since the policy drives."""
    starts = np.array([start for start, _ in script])
    commands = np.array([command for _, command in script])
    index = np.maximum(np.searchsorted(starts, time, side="right") - 1, 0)
    return commands[index], time - np.maximum(starts[index], begin)


def floor_friction(task: TaskConfig) -> float | None:
    """Return the nominal coefficient of friction, None for a robot that stands on no floor."""
    return float(build_model(task).geom(FLOOR).friction[0]) if task.robot.floor else None
