"""How fast small differences grow in the closed loop, and in which direction: finite differences of twin worlds.

Two environments with the same draws run side by side under one policy. At the beginning of each interval the twin is
set to the other's state, all of it, and moved by a small step along the direction in which they parted in the interval
before (Benettin et al. 1980, but from the same buffers and memory each time). After a few intervals that direction is
the one that grows fastest. It shows where a fall begins, and which noise the policy does not damp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from robodistill.evaluation.drivers import Driver, TorchDriver
from robodistill.evaluation.statistics import bootstrap, mean
from robodistill.threads import one_thread
from robodistill_envs.vector import VecEnv

STEP = 1e-3
"""Length of the difference [m, rad; velocities times the interval]: above the rounding of float32 observations."""
INTERVAL_S = 0.2
TICKS = 250
"""At most so many ticks are followed."""
WORLDS = 16
SETTLED = 2
"""Intervals that the direction takes to turn; left out of the mean rate."""
_BASE = ("x", "y", "z", "roll", "pitch", "yaw")

Array = NDArray[np.float64]


@dataclass
class Growth:
    """What I intervals showed in M worlds; nan where an episode ended in one."""

    interval_s: float
    names: list[str]
    """(nv,) of the degrees of freedom"""
    rates: list[Array] = field(default_factory=list)
    """I times (M,) [1/s]"""
    shares: list[Array] = field(default_factory=list)
    """I times (M, nv): of the squared difference, position and velocity of a degree of freedom together"""

    def summary(self, resamples: int) -> dict[str, Any]:
        """Return rate and direction over time, and the mean rate with its interval over worlds."""
        if not self.rates:
            return {}
        rates, shares = np.stack(self.rates), np.stack(self.shares)
        counted = np.isfinite(rates)
        kept = counted.sum(axis=1) > 0
        rates, shares, counted = rates[kept], shares[kept], counted[kept]
        low, middle, high = np.nanpercentile(rates, [10, 50, 90], axis=1) if len(rates) else np.zeros((3, 0))
        time = (np.flatnonzero(kept) + 0.5) * self.interval_s
        settled = rates[SETTLED:] if len(rates) > SETTLED else rates
        worlds = np.isfinite(settled).any(axis=0)
        per_world = np.nanmean(settled[:, worlds], axis=0)
        rate = bootstrap(mean, (per_world,), resamples) if worlds.any() else {"mean": None, "ci95": [None, None]}
        direction = np.stack([np.nanmean(s[c], axis=0) for s, c in zip(shares, counted, strict=True)])
        return {
            "rate": {**rate, "unit": "1/s"},
            "time_s": time.tolist(), "median": middle.tolist(), "low": low.tolist(), "high": high.tolist(),
            "direction": {name: direction[:, i].tolist() for i, name in enumerate(self.names)},
        }  # fmt: skip


def names_of_freedom(model: mujoco.MjModel) -> list[str]:
    """Return a name for each degree of freedom: the joint's, and of a free or ball joint its axis."""
    names: list[str] = []
    for i in range(model.njnt):
        kind, name = model.jnt_type[i], model.joint(i).name or f"joint {i}"
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            names += [f"base {axis}" for axis in _BASE]
        elif kind == mujoco.mjtJoint.mjJNT_BALL:
            names += [f"{name} {axis}" for axis in "xyz"]
        else:
            names.append(name)
    return names


def closed_loop_growth(
    make: Callable[[], VecEnv], driver: Callable[[], Driver], seed: int, tick_done: Callable[[int], None]
) -> Growth:
    """Return how differences grow in the worlds of two environments from ``make``, driven by two of ``driver``."""
    with one_thread():
        return _Twins(make(), make(), driver(), driver(), seed).run(tick_done)


class _Twins:
    """Two environments, their drivers, and the difference between them."""

    def __init__(self, env: VecEnv, twin: VecEnv, driver: Driver, follower: Driver, seed: int) -> None:
        self.env, self.twin, self.driver, self.follower = env, twin, driver, follower
        self.seed = seed
        self.model = env.engine.model
        self.ticks = max(1, round(INTERVAL_S / env.task.control_dt))
        self.interval_s = self.ticks * env.task.control_dt
        random = np.random.default_rng(seed)
        self.direction = random.normal(size=(env.num_envs, 2 * self.model.nv))
        self.direction /= np.linalg.norm(self.direction, axis=1, keepdims=True)

    def run(self, tick_done: Callable[[int], None]) -> Growth:
        """Follow the worlds over their first episodes."""
        found = Growth(self.interval_s, names_of_freedom(self.model))
        obs = self.env.reset(seed=self.seed)
        self.twin.reset(seed=self.seed)
        self.driver.start(self.env)
        self.follower.start(self.twin)
        alive = torch.ones(self.env.num_envs, dtype=torch.bool)
        count = min(TICKS, self.env.task.max_steps) // self.ticks
        for i in range(count):
            other, valid = self._part(obs), alive.clone()
            for k in range(self.ticks):
                obs, _, ended, late, _ = self.env.step(self.driver.act(self.env, obs))
                other, _, twin_ended, twin_late, _ = self.twin.step(self.follower.act(self.twin, other))
                alive &= ~(ended | late)
                valid &= alive & ~(twin_ended | twin_late)
                tick_done(i * self.ticks + k)
            self._measure(found, valid.numpy())
        return found

    def _part(self, obs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Set the twin to the state of the other and move it; return what it observes, which lags a tick anyway."""
        self.twin.load_state_dict(self.env.state_dict())
        if isinstance(self.driver, TorchDriver) and isinstance(self.follower, TorchDriver):
            self.follower.state = {key: value.clone() for key, value in self.driver.state.items()}
        nv, model = self.model.nv, self.model
        qpos, qvel = (self.twin.engine.state(name).numpy() for name in ("qpos", "qvel"))
        for world, direction in enumerate(self.direction):
            row = np.ascontiguousarray(qpos[world])
            mujoco.mj_integratePos(model, row, np.ascontiguousarray(direction[:nv]), STEP)
            qpos[world] = row
            qvel[world] += STEP * direction[nv:] / self.interval_s
        return {group: value.clone() for group, value in obs.items()}

    def _measure(self, found: Growth, valid: NDArray[np.bool_]) -> None:
        difference = self._difference()
        length = np.linalg.norm(difference, axis=1)
        valid = valid & np.isfinite(length) & (length > 0.0)
        nv = self.model.nv
        unit = difference / np.where(valid, length, 1.0)[:, None]
        share = unit[:, :nv] ** 2 + unit[:, nv:] ** 2
        rate = np.log(np.where(valid, length, 1.0) / STEP) / self.interval_s
        found.rates.append(np.where(valid, rate, np.nan))
        found.shares.append(np.where(valid[:, None], share, np.nan))
        self.direction = np.where(valid[:, None], unit, self.direction)

    def _difference(self) -> Array:
        """Return (M, 2 nv): positions in the tangent space, velocities times the interval."""
        model = self.model
        (qpos, qvel), (other, other_vel) = (
            tuple(env.engine.state(name).numpy() for name in ("qpos", "qvel")) for env in (self.env, self.twin)
        )
        result = np.zeros((len(qpos), 2 * model.nv))
        for world in range(len(qpos)):
            tangent = np.zeros(model.nv)
            here, there = np.ascontiguousarray(qpos[world]), np.ascontiguousarray(other[world])
            mujoco.mj_differentiatePos(model, tangent, 1.0, here, there)
            result[world, : model.nv] = tangent
        result[:, model.nv :] = (other_vel - qvel) * self.interval_s
        return result
