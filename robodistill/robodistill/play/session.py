"""One world to look at: a task without its own commands, pushes and end, driven by a policy that can be exchanged.

    session = Session(task, {"student": TorchDriver(policy)})
    session.set_command([0.5, 0.0, 0.0])
    session.tick()

Nothing here knows of a screen or a clock; the same calls give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robodistill.evaluation.drivers import Driver
from robodistill.play.traces import Traces
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.resolve import resolve
from robodistill_envs.config import ParameterConfig, TaskConfig
from robodistill_envs.motors import robot_nq
from robodistill_envs.terms import rewards
from robodistill_envs.vector import Disturbances, VecEnv

SHOWN_S = 10.0
"""[s] that plots look back."""
_ENDLESS_S = 4 * 3600.0
"""An episode lasts until somebody falls; random numbers are counted up to about this length."""
_NEVER_S = 1.0e9
_RATE_OVER_S = 1.0
_WORLD = torch.zeros(1, dtype=torch.int64)
FOOT_FORCE, FOOT_PLACE = "foot_force", "foot_position_w"
"""Sensors that are drawn as arrows where a robot has both: a force [N] and a place (x, y, z) for each foot."""


@dataclass(frozen=True)
class View:
    """What a page shows of one instant."""

    time_s: float
    """Simulated since the session began."""
    qpos: NDArray[np.float64]
    """(nq,)"""
    command: NDArray[np.float32]
    """(c,)"""
    truth: NDArray[np.float32]
    """(c,) what should follow the command; (0,) in a task without one"""
    push: NDArray[np.float32]
    """(2,) [m/s] the last kick, world, fading"""
    feet: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    """Places (F, 3) [m] and forces (F,) [N]"""
    policy: str
    falls: int
    since_fall_s: float
    """[s] since the last fall or reset"""
    reward_rate: float
    """[1/s] mean over the last second"""


def endless(task: TaskConfig) -> TaskConfig:
    """Return ``task`` as an operator wants it: it ends by falling only, and what he does nobody else does."""
    command = replace(task.command, hold_s=_NEVER_S) if task.command else None
    push = replace(task.push, interval_s=(_NEVER_S, _NEVER_S)) if task.push else None
    reset = replace(task.reset, yaw=False)
    return replace(task, episode_s=_ENDLESS_S, command=command, push=push, reset=reset)


class Session:
    """A world with noise and nominal physics, whose command, physics and policy are set from outside."""

    def __init__(
        self, task: TaskConfig, drivers: Mapping[str, Driver], policy: str = "", seed: int = 0, threads: int = 1
    ) -> None:
        """Begin at rest, driven by ``policy``, or by the first of ``drivers``."""
        self.task = endless(task)
        self.env = VecEnv(self.task, 1, seed, threads, Disturbances(parameters=False))
        self._nq = robot_nq(self.env.engine.model)
        """Without the rotors of motors with backlash, which nobody draws."""
        self.drivers = dict(drivers)
        self.policy = policy or next(iter(self.drivers))
        self.traces = Traces(self.env.spec, round(SHOWN_S / task.control_dt))
        tracked = task.command.tracked_by if task.command else ""
        self._tracked = resolve(tracked) if tracked else None
        sensors = {s.name for s in (*task.robot.sensors, *task.robot.truth)}
        self._has_feet = {FOOT_FORCE, FOOT_PLACE} <= sensors
        self._command = torch.zeros(1, len(task.command.elements) if task.command else 0)
        self._parameters: dict[str, float] = {}
        self.ticks = self.falls = self._stood_at = 0
        self.reward_rate = 0.0
        self._driver = self._known(self.policy)
        self.reset()

    # -- what there is to set --------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, ParameterConfig]:
        """Return the physical parameters that one number sets and that the task varies."""
        return {
            name: config
            for name, config in self.task.parameters.items()
            if len(config.low) == 1 and config.low[0] < config.high[0]
        }

    @property
    def can_push(self) -> bool:
        """Return whether the task knows pushes."""
        return self.task.push is not None

    def set_command(self, values: Sequence[float]) -> None:
        """Ask for ``values``, one for each element of the task's command, clipped to its range."""
        config = self.task.command
        if config is None or len(values) != len(config.elements):
            wanted = len(config.elements) if config else 0
            raise RobodistillError(f"command: task {self.task.name!r} takes {wanted} numbers, got {len(values)}")
        limits = zip(values, config.lower, config.upper, strict=True)
        self._command = torch.tensor([[min(max(v, low), high) for v, low, high in limits]])
        self._take_over()

    def set_parameter(self, name: str, value: float) -> None:
        """Set a physical parameter of the world, now and after each fall, clipped to the task's range."""
        if name not in self.parameters:
            raise RobodistillError(unknown("parameter", name, self.parameters))
        config = self.parameters[name]
        self._parameters[name] = min(max(value, config.low[0]), config.high[0])
        self._write_physics()

    def push(self, speed: float, angle: float = 0.0) -> None:
        """Kick the base by ``speed`` [m/s] at once, ``angle`` [rad] left of where it is heading."""
        if not self.can_push:
            raise RobodistillError(f"push: task {self.task.name!r} has nothing to push; see its key push")
        c, s = rewards.heading(self.env.world)[0].tolist()
        ahead, left = speed * math.cos(angle), speed * math.sin(angle)
        kick = torch.tensor([[c * ahead - s * left, s * ahead + c * left]])
        self.env.world.push.copy_(kick)
        self.env.engine.state("qvel")[:, :2] += kick.double()

    def select(self, policy: str) -> None:
        """Let another policy drive from here on; it begins without memory."""
        self._driver = self._known(policy)
        self.policy = policy
        self._driver.start(self.env)

    def put(self, name: str, driver: Driver) -> None:
        """Add a driver, or take a newer one in its place, at once if it drives."""
        self.drivers[name] = driver
        if name == self.policy:
            self.select(name)

    def _known(self, policy: str) -> Driver:
        if policy not in self.drivers:
            raise RobodistillError(unknown("policy", policy, self.drivers))
        return self.drivers[policy]

    # -- time ------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Stand up where the session began; command and physics stay as they are set."""
        self.env.reset()
        self._began()
        self.traces.clear()
        self._record()

    def tick(self) -> None:
        """Make one control step."""
        action = self._driver.act(self.env, self._obs)
        self._obs, reward, terminated, truncated, _ = self.env.step(action)
        self.ticks += 1
        keep = math.exp(-self.task.control_dt / _RATE_OVER_S)
        self.reward_rate = keep * self.reward_rate + (1.0 - keep) * float(reward[0]) / self.task.control_dt
        if terminated[0] or truncated[0]:
            self.falls += int(terminated[0])
            self._began()
        self._record()

    def _began(self) -> None:
        """Take an episode over that the environment has just begun in its own way."""
        self._stood_at = self.ticks
        self._write_physics()
        self._take_over()
        self._driver.start(self.env)

    def _write_physics(self) -> None:
        for name, value in self._parameters.items():
            self.env.world.parameters[name][:] = value
        if self._parameters:
            self.env.apply_parameters(_WORLD)

    def _take_over(self) -> None:
        """Put the operator's command where the environment's own was, and observe it as the next tick will."""
        self.env.world.command.copy_(self._command)
        self.env.command_age.zero_()
        self._obs = self.env.observe()

    # -- what there is to see --------------------------------------------------------------------

    @property
    def observation(self) -> Mapping[str, Tensor]:
        """Return what the next tick's policy reads: group -> (1, dim)."""
        return self._obs

    def view(self) -> View:
        """Return the present instant, in copies."""
        world, dt = self.env.world, self.task.control_dt
        feet = None
        if self._has_feet:
            feet = world.true(FOOT_PLACE)[0].view(-1, 3).numpy().copy(), world.true(FOOT_FORCE)[0].numpy().copy()
        return View(
            time_s=self.ticks * dt, qpos=self.env.engine.state("qpos")[0, : self._nq].numpy().copy(),
            command=self._command[0].numpy().copy(), truth=self._truth(), push=world.push[0].numpy().copy(), feet=feet,
            policy=self.policy, falls=self.falls, since_fall_s=(self.ticks - self._stood_at) * dt,
            reward_rate=self.reward_rate,
        )  # fmt: skip

    def _truth(self) -> NDArray[np.float32]:
        return self._tracked(self.env.world)[0].numpy().copy() if self._tracked else np.zeros(0, np.float32)

    def _record(self) -> None:
        row = {name: value[0].numpy().copy() for name, value in self._obs.items()}
        row |= {f"parameter.{name}": v[0].numpy().copy() for name, v in self.env.world.parameters.items()}
        row |= {"command": self._command[0].numpy(), "truth": self._truth()}
        row["reward"] = np.array([self.reward_rate], np.float32)
        if self._driver.latent is not None and self._driver.latent.shape[1]:
            row["latent"] = self._driver.latent[0].numpy().copy()
        self.traces.add(self.ticks * self.task.control_dt, row)

