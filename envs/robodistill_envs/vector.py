"""VecEnv: N copies of a task stepped together, with same-step autoreset."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robodistill_envs.config import TaskConfig
from robodistill_envs.draws import Draws
from robodistill_envs.engines.base import Engine
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.functions import bind
from robodistill_envs.guard import NonFiniteError, fail, first_bad
from robodistill_envs.interface import interface_of
from robodistill_envs.model import build_model
from robodistill_envs.observation import ObservationGroup
from robodistill_envs.random import WorldRandom
from robodistill_envs.step_functions import StepFunctions
from robodistill_envs.tick import Outcome
from robodistill_envs.world import World

__all__ = ["Disturbances", "NonFiniteError", "Obs", "VecEnv"]

Obs = dict[str, Tensor]


@dataclass(frozen=True)
class Disturbances:
    """Which of the task's disturbances act; all of them in training and evaluation."""

    parameters: bool = True
    """Draw physical parameters (else nominal ones, without delays)."""
    noise: bool = True
    pushes: bool = True
    reset: bool = True
    """Draw the initial state (else the default pose)."""


@dataclass(frozen=True)
class _Ended:
    """Worlds ``ids`` at the end of their episodes, as they stood before the reset."""

    ids: Tensor
    world: World
    episode: Tensor
    physics: dict[str, Tensor]
    """What ``VecEnv._physics_of`` returns."""


class VecEnv:
    """``step`` takes raw actions (num_envs, action_dim), returns obs, reward, terminated, truncated, info."""

    def __init__(
        self,
        task: TaskConfig,
        num_envs: int,
        seed: int = 0,
        threads: int = 0,
        disturbances: Disturbances | None = None,
        first_world: int = 0,
        compiles: bool = False,
    ) -> None:
        self.task, self.num_envs, self.seed = task, num_envs, seed
        self.first_world = first_world
        self.disturbances = disturbances or Disturbances()
        self.spec = interface_of(task)
        self.engine: Engine = MjbatchEngine(build_model(task), num_envs, threads)
        self.capabilities = {
            "exact_resume": True,
            "final_obs": True,
            "seeding": True,
            "per_world_params": True,
        }
        self.world = World(task, self.engine)
        self.draws = Draws(task, self.engine.model, self.spec)
        self.random = self._random_of(seed)
        self.groups = {name: ObservationGroup(self.spec, name) for name in task.groups}
        self.action_dim = self.spec.action_dim
        self.repro_folder = Path(".")
        """Where a repro file goes when a NaN stops the run."""
        self.progress = 1.0
        self.before_reset: Callable[[], None] | None = None
        """Called in each step when the worlds stand where the action led them, before any reset."""
        self._effects = [bind(e.type, e.params, f"effect {e.name!r}") for e in task.effects]
        self.functions = StepFunctions(task, self.spec, self.draws, self.groups)
        self._internal_start = {name: module.initial() for name, module in self.functions.internals.items()}
        n = num_envs
        self.episode = torch.zeros(n, dtype=torch.int64)
        self.command_age = torch.zeros(n, dtype=torch.int64)
        """Control steps since the command last changed."""
        self._push_in = torch.zeros(n, dtype=torch.int64)
        self._sums = torch.zeros(n, len(task.rewards))
        self._before = (self.engine.state("qpos").clone(), self.engine.state("qvel").clone())
        self._all = torch.arange(n)
        self._has_joint_vel = "joint_vel" in {s.name for s in task.robot.sensors}
        if compiles:
            self.functions.compile(self.world)

    @property
    def reward_names(self) -> list[str]:
        """Return the names of the reward terms, in order."""
        return [name for name, _ in self.functions.rewards]

    @property
    def progress(self) -> float:
        """Curriculum in [0, 1]: commands and pushes grow with it."""
        return self._progress

    @progress.setter
    def progress(self, value: float) -> None:
        self._progress, self._size = value, torch.tensor(float(value))

    # -- episodes ------------------------------------------------------------------------------

    def reset(self, seed: int | None = None, stagger: bool = False) -> Obs:
        """Begin an episode in every world; ``stagger`` spreads the first episodes' ends evenly."""
        if seed is not None:
            self.seed = seed
            self.random = self._random_of(seed)
        self.episode.fill_(-1)
        self._begin(self._all)
        if stagger:
            ages = self.random.uniform("stagger", torch.zeros_like(self.episode), 1)[:, 0]
            self.world.steps += (ages * self.task.max_steps).long()
        return self._observe()[0]

    def _random_of(self, seed: int) -> WorldRandom:
        return WorldRandom(seed, self.num_envs, first=self.first_world)

    def _begin(self, ids: Tensor) -> None:
        """Draw parameters and an initial state for worlds ``ids`` and put them there."""
        world, acts = self.world, self.disturbances
        episode = self.episode.index_select(0, ids).add_(1)
        self.episode.index_copy_(0, ids, episode)
        how = (not acts.parameters, not acts.reset)
        start = self.functions.start(world, self.random.of(ids), how, episode, self._size)
        world.set_parameters(ids, start.parameters)
        self.apply_parameters(ids)
        self.engine.reset(ids, start.qpos, start.qvel, self.functions.default.expand(len(ids), -1))
        for tensor in (world.action, world.last_action, world.push, self._sums, world.steps, self.command_age):
            tensor.index_fill_(0, ids, 0)
        for name, initial in self._internal_start.items():
            world.internals[name].index_copy_(0, ids, initial.expand(len(ids), -1))
        world.command.index_copy_(0, ids, start.command)
        self._push_in.index_copy_(0, ids, start.push_in)

    def apply_parameters(self, ids: Tensor) -> None:
        """Write ``world.parameters`` of worlds ``ids`` (sorted int64) into their physics, at a reset or between."""
        for effect in self._effects:
            effect(self.engine, self.world, ids)
        if self._effects:
            self.engine.update_constants(ids)

    # -- steps ---------------------------------------------------------------------------------

    def step(self, action: Tensor) -> tuple[Obs, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Apply raw actions for one control step.

        ``info["final_obs"]`` is full size and holds, for the worlds whose episode ended (``info["done_ids"]``), what
        was observed at the end of the step, before the reset (it is ``obs`` itself where none ended);
        ``info["episode"]`` has their statistics.
        """
        self._act(action)
        self.engine.step(self.task.decimation)
        outcome = self._judge()
        self.world.terminated, self._sums = outcome.terminated, outcome.sums
        if self.before_reset:
            self.before_reset()
        ids = outcome.done.nonzero()[:, 0]
        info: dict[str, Any] = {"done_ids": ids}
        ended: _Ended | None = None
        if ids.numel():
            self._guard({}, outcome.total)
            ended = _Ended(ids, self.world.at(ids), self.episode[ids], self._physics_of(ids))
            info["episode"] = self._statistics(ids, outcome)
        if outcome.asked:
            self.world.command, self.command_age = outcome.asked["command"], outcome.asked["age"]
        if ended:
            self._begin(ids)
        obs, total = self._observe(ended)
        self._guard(obs, total + outcome.total, ended)
        info["final_obs"] = obs
        if ended:
            n = self.num_envs
            info["final_obs"] = {g: v[:n].index_copy(0, ids, v[n:]) for g, v in obs.items()}
            obs = {g: v[:n] for g, v in obs.items()}
        return obs, outcome.reward, outcome.terminated, outcome.truncated, info

    def _act(self, action: Tensor) -> None:
        """Set the servos' targets, push who is due, and move everything but the physics on by a tick."""
        world, engine = self.world, self.engine
        world.last_action, world.action = world.action, action.detach().clone()
        if self._has_joint_vel:
            world.last_joint_vel = world.true("joint_vel").clone()
        pushes = self.task.push is not None and self.disturbances.pushes
        clocks = (self.episode, self._push_in, self.command_age, self._size)
        tick = self.functions.tick(world, self.random, pushes, *clocks)
        engine.state("ctrl").copy_(tick.targets)
        if pushes:
            if "kick" in tick.pushed:
                engine.state("qvel")[:, :2] += tick.pushed["kick"]
            world.push, self._push_in = tick.pushed["push"], tick.pushed["push_in"]
        world.steps, self.command_age, world.internals = tick.steps, tick.command_age, tick.internals
        for kept, name in zip(self._before, ("qpos", "qvel"), strict=True):
            kept.copy_(engine.state(name))

    def _judge(self) -> Outcome:
        now = (self.engine.unstable(), self._sums, self.episode, self.command_age, self._size)
        return self.functions.outcome(self.world, self.random, None, *now)

    def _observe(self, ended: _Ended | None = None) -> tuple[Obs, Tensor]:
        """Return every group of all worlds, then the rows of those that ended, as they stood then; and the sum."""
        world, episode, random = self.world, self.episode, self.random
        if ended:
            world, random = world.joined(ended.world), random.of(torch.cat((self._all, ended.ids)))
            episode = torch.cat((episode, ended.episode))
        seen = self.functions.look(world, random, self.disturbances.noise, episode)
        signals = seen.signals
        self.world.signals = (
            {name: value[: self.num_envs] for name, value in signals.items()} if ended else signals
        )
        return seen.groups, seen.total

    def _statistics(self, ids: Tensor, outcome: Outcome) -> dict[str, Any]:
        sums = self._sums[ids]
        return {
            "return": sums.sum(dim=1),
            "length": self.world.steps[ids],
            "truncated": outcome.truncated[ids],
            "rewards": sums,
            "causes": {name: cause[ids] for name, cause in outcome.causes.items()},
        }

    def _guard(self, obs: Obs, total: Tensor, ended: _Ended | None = None) -> None:
        """Raise NonFiniteError, with a repro file, where anything is not finite; ``total`` is the sum of all of it."""
        if math.isfinite(total.item()):
            return
        found = first_bad({**obs, "reward": self._sums})
        if found is None:
            return
        name, row, column = found
        term = self.reward_names[column] if name == "reward" else self.groups[name].locate(column)
        env, world, physics = row, self.world, self._physics_of(self._all)
        if ended and row >= self.num_envs:
            row -= self.num_envs
            env, world, physics = int(ended.ids[row]), ended.world, ended.physics
        state = {
            "qpos_before": self._before[0][env], "qvel_before": self._before[1][env],
            **{key: value[row] for key, value in physics.items()},
            "action": world.action[row], "step": world.steps[row],
            **{f"parameter.{k}": v[row] for k, v in world.parameters.items()},
        }  # fmt: skip
        fail(self.repro_folder, self.seed, env, state, f"{name} term {term!r}")

    def _physics_of(self, ids: Tensor) -> dict[str, Tensor]:
        """Return what a repro file holds of the physics of worlds ``ids``, a row each, and their episode."""
        states = {name: self.engine.state(name)[ids] for name in ("qpos", "qvel", "ctrl")}
        return {**states, "episode": self.episode[ids]}

    # -- resume --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on bit for bit."""
        return {
            "engine": self.engine.state_dict(), "world": self.world.state_dict(), "seed": self.seed,
            "progress": self.progress, "episode": self.episode.clone(), "command_age": self.command_age.clone(),
            "push_in": self._push_in.clone(), "sums": self._sums.clone(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.engine.load_state_dict(state["engine"])
        self.world.load_state_dict(state["world"])
        self.seed, self.progress = state["seed"], state["progress"]
        self.random = self._random_of(self.seed)
        for name in ("episode", "command_age"):
            getattr(self, name).copy_(state[name])
        self._push_in.copy_(state["push_in"])
        self._sums.copy_(state["sums"])

    def observe(self) -> Obs:
        """Return the present observation again, as after ``load_state_dict``."""
        return self._observe()[0]
