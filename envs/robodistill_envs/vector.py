"""VecEnv: N copies of a task stepped together, with same-step autoreset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.resolve import resolve, resolve_function
from robodistill_envs import rotations
from robodistill_envs.config import TaskConfig
from robodistill_envs.engines.base import Engine
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.interface import interface_of
from robodistill_envs.model import build_model
from robodistill_envs.observation import ObservationGroup
from robodistill_envs.random import WorldRandom
from robodistill_envs.world import World

Obs = dict[str, Tensor]
_EPISODE = 1 << 20
"""Random counters of an episode begin at ``episode * _EPISODE``."""
_PUSH_FADE_S = 0.5


class NonFiniteError(RobodistillError):
    """A NaN or an infinity, with the world, the step and the term where it appeared."""


@dataclass(frozen=True)
class Disturbances:
    """Which of the task's disturbances act; all of them in training and evaluation."""

    parameters: bool = True
    """Draw physical parameters (else nominal ones, without delays)."""
    noise: bool = True
    pushes: bool = True
    reset: bool = True
    """Draw the initial state (else the default pose)."""


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
        self.random = WorldRandom(seed, num_envs, first=first_world)
        self.groups = {name: ObservationGroup(self.spec, name) for name in task.groups}
        self.action_dim = self.spec.action_dim
        self.repro_folder = Path(".")
        """Where a repro file goes when a NaN stops the run."""
        self.progress = 1.0
        """Curriculum in [0, 1]: commands and pushes grow with it."""
        self.before_reset: Callable[[], None] | None = None
        """Called in each step when the worlds stand where the action led them, before any reset."""
        self._rewards = [
            (r.name, resolve_function(r.type, r.params, f"reward {r.name!r}"), r.weight, r.params)
            for r in task.rewards
        ]
        self._terminations = [
            (t.name, resolve_function(t.type, t.params, f"termination {t.name!r}"), t.params)
            for t in task.terminations
        ]
        self._effects = [
            (resolve_function(e.type, e.params, f"effect {e.name!r}"), e.params) for e in task.effects
        ]
        self._internals = {
            i.name: resolve(i.type)(i.dim, task.control_dt, **i.params) for i in task.internals
        }
        self._internal_start = {name: module.initial() for name, module in self._internals.items()}
        parts = self.spec.actions
        self._default, self._scale, self._lower, self._upper = (
            torch.tensor([v for part in parts for v in getattr(part, field)], dtype=torch.float64)
            for field in ("default", "scale", "lower", "upper")
        )
        self._qpos0 = self._default_qpos()
        n, names = num_envs, self.reward_names
        self.episode = torch.zeros(n, dtype=torch.int64)
        self.command_age = torch.zeros(n, dtype=torch.int64)
        """Control steps since the command last changed."""
        self._push_in = torch.zeros(n, dtype=torch.int64)
        self._sums = torch.zeros(n, len(names))
        self._returns = torch.zeros(n)
        self._survives = torch.tensor([r.survives_divergence for r in task.rewards])
        self._before = (self.engine.state("qpos").clone(), self.engine.state("qvel").clone())
        self._zero = torch.zeros(n, dtype=torch.bool)

    @property
    def reward_names(self) -> list[str]:
        """Return the names of the reward terms, in order."""
        return [name for name, *_ in self._rewards]

    def _default_qpos(self) -> Tensor:
        model = self.engine.model
        qpos = torch.as_tensor(model.qpos0.copy())
        if self.task.reset.height:
            qpos[2] = self.task.reset.height
        for part in self.spec.actions:
            for joint, value in zip(part.names, part.default, strict=True):
                if part.kind == "joint_position":
                    qpos[model.joint(joint).qposadr[0]] = value
        return qpos

    # -- episodes ------------------------------------------------------------------------------

    def reset(self, seed: int | None = None, stagger: bool = False) -> Obs:
        """Begin an episode in every world; ``stagger`` spreads the first episodes' ends evenly."""
        if seed is not None:
            self.seed = seed
            self.random = WorldRandom(seed, self.num_envs, first=self.first_world)
        self.episode.fill_(-1)
        self._begin(torch.arange(self.num_envs))
        if stagger:
            ages = self.random.uniform("stagger", torch.zeros_like(self.episode), 1)[:, 0]
            self.world.steps += (ages * self.task.max_steps).long()
        return self._observe()

    def _begin(self, ids: Tensor) -> None:
        """Draw parameters and an initial state for worlds ``ids`` and put them there."""
        world = self.world
        self.episode[ids] += 1
        counter = self.episode[ids] * _EPISODE
        for name, config in self.task.parameters.items():
            low, high, nominal = (torch.tensor(v) for v in (config.low, config.high, config.nominal))
            if self.disturbances.parameters:
                u = self.random.uniform(f"parameter.{name}", counter, len(config.low), ids)
                world.parameters[name][ids] = low + (high - low) * u
            else:
                world.parameters[name][ids] = nominal
        self.apply_parameters(ids)
        qpos, qvel = self._draw_state(ids, counter)
        self.engine.reset(ids, qpos, qvel, self._default.expand(len(ids), -1))
        for tensor in (world.action, world.last_action, world.push, self._sums, self._returns):
            tensor[ids] = 0.0
        world.steps[ids] = 0
        for name, start in self._internal_start.items():
            world.internals[name][ids] = start
        if world.last_joint_vel is not None:
            world.last_joint_vel[ids] = world.true("joint_vel")[ids]
        self._draw_command(ids)
        self._draw_push(ids)

    def apply_parameters(self, ids: Tensor) -> None:
        """Write ``world.parameters`` of worlds ``ids`` (sorted int64) into their physics, at a reset or between."""
        for effect, params in self._effects:
            effect(self.engine, self.world, ids, **params)
        if self._effects:
            self.engine.update_constants(ids)

    def _draw_state(self, ids: Tensor, counter: Tensor) -> tuple[Tensor, Tensor]:
        config, model, n = self.task.reset, self.engine.model, len(ids)
        qpos = self._qpos0.repeat(n, 1)
        qvel = torch.zeros(n, model.nv, dtype=torch.float64)
        if not self.disturbances.reset:
            return qpos, qvel
        free = int(bool(config.height))
        u = 2.0 * self.random.uniform("reset", counter, 10 + model.nq + model.nv, ids).double() - 1.0
        if free:
            heading = u[:, 0] * torch.pi * float(config.yaw)
            qpos[:, 3:7] = rotations.from_roll_pitch_yaw(
                u[:, 1] * config.tilt, u[:, 2] * config.tilt, heading
            )
            qvel[:, :6] = u[:, 3:9] * config.base_velocity
        qpos[:, 7 * free :] += u[:, 10 + 7 * free : 10 + model.nq] * config.joint_position
        qvel[:, 6 * free :] += u[:, 10 + model.nq + 6 * free :] * config.joint_velocity
        return qpos, qvel

    def _counter(self, ids: Tensor) -> Tensor:
        return self.episode[ids] * _EPISODE + self.world.steps[ids]

    def _draw_command(self, ids: Tensor) -> None:
        config = self.task.command
        if config is None or ids.numel() == 0:
            return
        k = len(config.elements)
        u = self.random.uniform("command", self._counter(ids), k + 1, ids)
        low, high = torch.tensor(config.lower), torch.tensor(config.upper)
        wanted = (low + (high - low) * u[:, :k]) * self.progress
        stand = u[:, k] < config.zero_probability
        self.world.command[ids] = torch.where(stand.unsqueeze(1), 0.0, wanted)
        self.command_age[ids] = 0

    def _draw_push(self, ids: Tensor) -> None:
        if self.task.push is None:
            return
        low, high = self.task.push.interval_s
        u = self.random.uniform("push_in", self._counter(ids), 1, ids)[:, 0]
        self._push_in[ids] = ((low + (high - low) * u) / self.task.control_dt).long()

    # -- steps ---------------------------------------------------------------------------------

    def step(self, action: Tensor) -> tuple[Obs, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Apply raw actions for one control step.

        ``info["final_obs"]`` holds the observation at the end of a step before any reset, full size;
        ``info["done_ids"]`` the worlds whose episode ended, ``info["episode"]`` their statistics.
        """
        world = self.world
        world.last_action, world.action = world.action, action.detach().clone()
        targets = torch.clamp(self._default + self._scale * action.double(), self._lower, self._upper)
        self.engine.state("ctrl").copy_(targets)
        if world.last_joint_vel is not None:
            world.last_joint_vel.copy_(world.true("joint_vel"))
        elif "joint_vel" in {s.name for s in self.task.robot.sensors}:
            world.last_joint_vel = world.true("joint_vel").clone()
        self._push()
        for kept, name in zip(self._before, ("qpos", "qvel"), strict=True):
            kept.copy_(self.engine.state(name))
        self.engine.step(self.task.decimation)
        world.steps += 1
        self.command_age += 1
        for name, module in self._internals.items():
            world.internals[name] = module(world.internals[name], world.action)
        terminated, causes = self._judge()
        truncated = (world.steps >= self.task.max_steps) & ~terminated
        reward = self._reward()
        final_obs = self._observe()
        self._guard(final_obs, reward)
        done = terminated | truncated
        info: dict[str, Any] = {"final_obs": final_obs, "done_ids": done.nonzero()[:, 0]}
        obs = final_obs
        if self.before_reset:
            self.before_reset()
        self._change_commands(done)
        if info["done_ids"].numel():
            info["episode"] = self._statistics(info["done_ids"], truncated, causes)
            self._begin(info["done_ids"])
        if info["done_ids"].numel() or self._command_changed:
            # random numbers depend on the counter alone, so worlds that go on observe the same again
            obs = self._observe()
        return obs, reward, terminated, truncated, info

    def _change_commands(self, done: Tensor) -> None:
        self._command_changed = False
        if self.task.command is None:
            return
        hold = round(self.task.command.hold_s / self.task.control_dt)
        due = ((self.world.steps % hold == 0) & ~done).nonzero()[:, 0]
        self._command_changed = due.numel() > 0
        self._draw_command(due)

    def _push(self) -> None:
        if self.task.push is None or not self.disturbances.pushes:
            return
        self.world.push *= 0.5 ** (self.task.control_dt / (0.2 * _PUSH_FADE_S))
        self._push_in -= 1
        ids = (self._push_in <= 0).nonzero()[:, 0]
        if ids.numel() == 0:
            return
        u = self.random.uniform("push", self._counter(ids), 2, ids)
        angle, speed = 2.0 * torch.pi * u[:, 0], self.task.push.max_speed * u[:, 1] * self.progress
        kick = torch.stack((torch.cos(angle), torch.sin(angle)), dim=1) * speed.unsqueeze(1)
        self.world.push[ids] = kick
        self.engine.state("qvel")[ids, :2] += kick.double()
        self._draw_push(ids)

    def _judge(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (num_envs,) bool and, by name, why."""
        causes = {name: function(self.world, **params) for name, function, params in self._terminations}
        causes["physics_diverged"] = self.engine.unstable()
        terminated = self._zero.clone()
        for cause in causes.values():
            terminated |= cause
        self.world.terminated = terminated
        return terminated, causes

    def _reward(self) -> Tensor:
        values = torch.stack([w * f(self.world, **params) for _, f, w, params in self._rewards], dim=1)
        values = values * self.task.control_dt
        # a world whose physics diverged was restarted by MuJoCo: what was measured there means nothing
        void = self.engine.unstable().unsqueeze(1) & ~self._survives
        values = values.masked_fill(void, 0.0)
        self._sums += values
        reward = values.sum(dim=1)
        self._returns += reward
        return reward

    def _observe(self) -> Obs:
        counter = self.episode * _EPISODE + self.world.steps
        self.world.measure(self.random, counter, self.disturbances.noise)
        return {name: group(self.world) for name, group in self.groups.items()}

    def _statistics(self, ids: Tensor, truncated: Tensor, causes: dict[str, Tensor]) -> dict[str, Any]:
        steps = self.world.steps[ids]
        return {
            "return": self._returns[ids].clone(),
            "length": steps.clone(),
            "truncated": truncated[ids],
            "rewards": self._sums[ids].clone(),
            "causes": {name: cause[ids] for name, cause in causes.items()},
        }

    def _guard(self, obs: Obs, reward: Tensor) -> None:
        """Raise NonFiniteError, with a repro file, where anything is not finite."""
        total = reward.sum() + sum(value.sum() for value in obs.values())
        if torch.isfinite(total):
            return
        for name, value in {**obs, "reward": self._sums}.items():
            bad = (~torch.isfinite(value)).nonzero()
            if bad.numel():
                env, column = int(bad[0, 0]), int(bad[0, 1])
                term = self.reward_names[column] if name == "reward" else self.groups[name].locate(column)
                self._fail(env, f"{name} term {term!r}")

    def _fail(self, env: int, what: str) -> None:
        path = self.repro_folder / f"nonfinite_seed{self.seed}_world{env}.npz"
        world = self.world
        arrays: dict[str, Any] = dict(
            qpos_before=self._before[0][env].numpy(), qvel_before=self._before[1][env].numpy(),
            qpos=self.engine.state("qpos")[env].numpy(), qvel=self.engine.state("qvel")[env].numpy(),
            ctrl=self.engine.state("ctrl")[env].numpy(), action=world.action[env].numpy(),
            seed=np.array(self.seed), episode=self.episode[env].numpy(), step=world.steps[env].numpy(),
            **{f"parameter.{k}": v[env].numpy() for k, v in world.parameters.items()},
        )  # fmt: skip
        np.savez(path, **arrays)
        raise NonFiniteError(
            f"world {env}, episode {int(self.episode[env])}, step {int(world.steps[env])}: {what} is not finite; "
            f"state saved in {path}"
        )

    # -- resume --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on bit for bit."""
        return {
            "engine": self.engine.state_dict(), "world": self.world.state_dict(), "seed": self.seed,
            "progress": self.progress, "episode": self.episode.clone(), "command_age": self.command_age.clone(),
            "push_in": self._push_in.clone(), "sums": self._sums.clone(), "returns": self._returns.clone(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.engine.load_state_dict(state["engine"])
        self.world.load_state_dict(state["world"])
        self.seed, self.progress = state["seed"], state["progress"]
        self.random = WorldRandom(self.seed, self.num_envs, first=self.first_world)
        for name in ("episode", "command_age"):
            getattr(self, name).copy_(state[name])
        self._push_in.copy_(state["push_in"])
        self._sums.copy_(state["sums"])
        self._returns.copy_(state["returns"])

    def observe(self) -> Obs:
        """Return the present observation again, as after ``load_state_dict``."""
        return self._observe()
