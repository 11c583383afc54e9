"""Roll one driver out on the evaluation's worlds: one episode each, everything added up per episode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from robodistill.evaluation.drivers import Driver
from robodistill.settings import EvaluateConfig
from robodistill.threads import one_thread
from robodistill_deploy.resolve import resolve
from robodistill_envs.functions import bind
from robodistill_envs.motors import robot_nq
from robodistill_envs.vector import VecEnv

PROBE_EVERY = 10
"""Ticks between two samples for the probe of the latent."""


@dataclass
class Rollout:
    """What E episodes of one driver gave."""

    returns: Tensor
    """(E,)"""
    lengths: Tensor
    """(E,) ticks"""
    fell: Tensor
    """(E,) bool"""
    sums: dict[str, tuple[Tensor, Tensor]]
    """metric -> numerator and denominator (E,)"""
    segments: dict[str, tuple[Tensor, Tensor]]
    """metric -> the same per held command, (E, S), settled"""
    commands: Tensor
    """(E, S, c) the held commands"""
    parameters: dict[str, Tensor]
    """parameter -> (E, k)"""
    trajectory: dict[str, Tensor]
    """recorded episodes: qpos (R, T, nq), command, truth, push, alive"""
    recorded: Tensor
    """(R,) which worlds they are"""
    samples: dict[str, list[Tensor]] = field(default_factory=dict)
    """latent, sensors, privileged at some ticks of living worlds, and their world"""


class _Sums:
    """Adds a task's metrics up."""

    def __init__(self, env: VecEnv, config: EvaluateConfig) -> None:
        n, command = env.num_envs, env.task.command
        self.env = env
        self.metrics = [
            (m, bind(m.type, m.params, f"metric {m.name!r}")) for m in env.task.metrics
        ]
        self.settle = round(config.settle_s / env.task.control_dt)
        self.hold = round(command.hold_s / env.task.control_dt) if command else env.task.max_steps
        self.count = -(-env.task.max_steps // self.hold)
        names = [m.name for m, _ in self.metrics] + [
            f"{m.name}_unsettled" for m, _ in self.metrics if m.settle
        ]
        self.sums = {name: (torch.zeros(n), torch.zeros(n)) for name in names}
        self.segments = {
            m.name: (torch.zeros(n, self.count), torch.zeros(n, self.count))
            for m, _ in self.metrics
            if m.settle
        }
        self.commands = torch.zeros(n, self.count, env.world.command.shape[1])

    def note_command(self, tick: int) -> None:
        """Remember the command that holds from ``tick`` on."""
        if tick % self.hold == 0:
            self.commands[:, tick // self.hold] = self.env.world.command

    def add(self, tick: int, alive: Tensor) -> None:
        """Add the tick just made for worlds that were alive in it, before any reset."""
        settled = alive.float() * float(tick % self.hold >= self.settle)
        segment = tick // self.hold
        for metric, function in self.metrics:
            top, bottom = function(self.env.world)
            if metric.reduce == "max":
                torch.maximum(self.sums[metric.name][0], top * alive, out=self.sums[metric.name][0])
                self.sums[metric.name][1].fill_(1.0)
                continue
            self._add(self.sums[metric.name], top, bottom, settled if metric.settle else alive.float())
            if metric.settle:
                self._add(self.sums[f"{metric.name}_unsettled"], top, bottom, alive.float())
                self.segments[metric.name][0][:, segment] += top * settled
                self.segments[metric.name][1][:, segment] += bottom * settled

    @staticmethod
    def _add(sums: tuple[Tensor, Tensor], top: Tensor, bottom: Tensor, weight: Tensor) -> None:
        sums[0].add_(top * weight)
        sums[1].add_(bottom * weight)


class _Recorder:
    """Keeps the trajectories of a few worlds."""

    def __init__(self, env: VecEnv, worlds: Tensor) -> None:
        self.env, self.worlds = env, worlds
        tracked = env.task.command.tracked_by if env.task.command else ""
        self.tracked = resolve(tracked) if tracked else None
        self.frames: dict[str, list[Tensor]] = {}
        self._nq = robot_nq(env.engine.model)

    def add(self, alive: Tensor) -> None:
        """Keep this tick."""
        world = self.env.world
        frame = {
            "qpos": self.env.engine.state("qpos")[:, : self._nq].float(),
            "command": world.command,
            "push": world.push,
            "alive": alive,
        }
        frame["truth"] = self.tracked(world) if self.tracked else torch.zeros(self.env.num_envs, 0)
        for name, value in frame.items():
            self.frames.setdefault(name, []).append(value[self.worlds].clone())

    def result(self) -> dict[str, Tensor]:
        """Return (R, T, ...) tensors."""
        return {name: torch.stack(values, dim=1) for name, values in self.frames.items()}


def recorded_worlds(env: VecEnv, config: EvaluateConfig) -> Tensor:
    """Return which worlds to keep: those with the largest ``record_by`` parameter, else the first."""
    if config.record_by:
        return env.world.parameter(config.record_by)[:, 0].argsort(descending=True)[: config.record]
    return torch.arange(min(config.record, env.num_envs))


Look = Callable[[int, dict[str, Tensor], Tensor], None]
"""Is shown each tick, the observation that the driver has just acted on, and which worlds are alive, (E,) bool."""


def roll_out(
    env: VecEnv, driver: Driver, config: EvaluateConfig, tick_done: Callable[[int], None], watch: Look | None = None
) -> Rollout:
    """Return one episode in each world of ``env``; ``tick_done`` is told of progress."""
    with one_thread():
        return _roll_out(env, driver, config, tick_done, watch)


def _roll_out(
    env: VecEnv, driver: Driver, config: EvaluateConfig, tick_done: Callable[[int], None], watch: Look | None
) -> Rollout:
    obs = env.reset(seed=config.seed)
    driver.start(env)
    n = env.num_envs
    parameters = {name: value.clone() for name, value in env.world.parameters.items()}
    sums, recorder = _Sums(env, config), _Recorder(env, recorded_worlds(env, config))
    alive, returns = torch.ones(n, dtype=torch.bool), torch.zeros(n)
    lengths, fell = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.bool)
    samples: dict[str, list[Tensor]] = {}
    now = 0
    env.before_reset = lambda: sums.add(now, alive)
    try:
        for tick in range(env.task.max_steps):
            now = tick
            sums.note_command(tick)
            action = driver.act(env, obs)
            if tick % PROBE_EVERY == 0 and driver.latent is not None and driver.latent.shape[1]:
                _sample(samples, obs, driver.latent, alive)
            if watch is not None:
                watch(tick, obs, alive)
            recorder.add(alive)
            obs, reward, terminated, truncated, _ = env.step(action)
            returns += reward * alive
            lengths += alive
            fell |= terminated & alive
            alive &= ~(terminated | truncated)
            tick_done(tick)
    finally:
        env.before_reset = None
    return Rollout(
        returns,
        lengths,
        fell,
        sums.sums,
        sums.segments,
        sums.commands,
        parameters,
        recorder.result(),
        recorder.worlds,
        samples,
    )


def _sample(samples: dict[str, list[Tensor]], obs: dict[str, Tensor], latent: Tensor, alive: Tensor) -> None:
    ids = alive.nonzero()[:, 0]
    for name, value in {"latent": latent, **obs}.items():
        samples.setdefault(name, []).append(value[ids].clone())
    samples.setdefault("world", []).append(ids)


def as_arrays(rollout: Rollout) -> dict[str, Any]:
    """Return the per-episode figures by name, as numpy arrays."""
    arrays: dict[str, Any] = {"return": rollout.returns, "length": rollout.lengths, "fell": rollout.fell}
    for metric, (top, bottom) in rollout.segments.items():
        arrays |= {f"segment.{metric}.num": top, f"segment.{metric}.den": bottom}
    for metric, (top, bottom) in rollout.sums.items():
        arrays |= {f"sum.{metric}.num": top, f"sum.{metric}.den": bottom}
    return {name: value.numpy() for name, value in arrays.items()}
