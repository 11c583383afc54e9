"""StepFunctions: what a control step is made of, each a function of rows of worlds alone, so that it compiles."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robodistill_deploy.resolve import resolve
from robodistill_envs.compiled import compiled, require_compiler
from robodistill_envs.functions import bind
from robodistill_envs.tick import Outcome, Seen, Tick

if TYPE_CHECKING:
    from robodistill_deploy.spec import InterfaceSpec
    from robodistill_envs.config import TaskConfig
    from robodistill_envs.draws import Draws, Start
    from robodistill_envs.observation import ObservationGroup
    from robodistill_envs.random import WorldRandom
    from robodistill_envs.world import World

_EPISODE = 1 << 20
"""Random counters of an episode begin at ``episode * _EPISODE``."""
_PUSH_FADE_S = 0.5
_FADE = 0.2 * _PUSH_FADE_S
_DIVERGED = "physics_diverged"
_TICKS = ("action", "push", "steps")
"""Rows of a world, beside internals, that move on before the physics."""


class StepFunctions:
    """``tick`` before the physics, ``outcome`` after it, ``start`` of an episode, ``look`` at the worlds.

    What is random in them comes from a counter: the world's episode and step.
    """

    def __init__(
        self, task: TaskConfig, spec: InterfaceSpec, draws: Draws, groups: dict[str, ObservationGroup]
    ) -> None:
        """Bind the task's functions."""
        self._task, self._draws, self._groups = task, draws, groups
        self.rewards = [(r.name, bind(r.type, r.params, f"reward {r.name!r}")) for r in task.rewards]
        self._weights = torch.tensor([r.weight * task.control_dt for r in task.rewards])
        self._lost = torch.tensor([not r.survives_divergence for r in task.rewards])
        """Rewards that mean nothing where the physics diverged."""
        self._terminations = [
            (t.name, bind(t.type, t.params, f"termination {t.name!r}")) for t in task.terminations
        ]
        self.internals = {i.name: resolve(i.type)(i.dim, task.control_dt, **i.params) for i in task.internals}
        self.default, self._scale, self._lower, self._upper = (
            torch.tensor([v for part in spec.actions for v in getattr(part, field)], dtype=torch.float64)
            for field in ("default", "scale", "lower", "upper")
        )
        self._compiles = False
        self.tick, self.outcome, self.start, self.look = self._tick, self._outcome, self._start, self._look

    def compile(self, world: World) -> None:
        """Compile all four for worlds like ``world``, each when it is first called."""
        require_compiler()
        self._compiles = True
        ticks = (*_TICKS, *(f"internals.{name}" for name in self.internals))
        self.tick = compiled(world, self._tick, ticks)
        self.outcome, self.look = compiled(world, self._outcome), compiled(world, self._look)
        self.start = compiled(world, self._start, ())

    def _tick(
        self, world: World, random: WorldRandom, pushes: bool, episode: Tensor, push_in: Tensor, age: Tensor,
        size: Tensor,
    ) -> Tick:  # fmt: skip
        targets = torch.clamp(self.default + self._scale * world.action.double(), self._lower, self._upper)
        pushed: dict[str, Tensor] = {}
        if pushes:
            pushed = {"push": world.push * 0.5 ** (self._task.control_dt / _FADE), "push_in": push_in - 1}
            due = pushed["push_in"] <= 0
            if self._is_any(due):
                kick, wait = self._draws.push(random, episode * _EPISODE + world.steps, size)
                pushed["push"] = torch.where(due.unsqueeze(1), kick, pushed["push"])
                pushed["push_in"] = torch.where(due, wait, pushed["push_in"])
                # adding -0.0 changes no bit
                pushed["kick"] = kick.double().masked_fill_(~due.unsqueeze(1), -0.0)
        internals = {name: module(world.internals[name], world.action) for name, module in self.internals.items()}
        return Tick(targets, pushed, world.steps + 1, age + 1, internals)

    def _is_any(self, due: Tensor) -> bool:
        """Return whether anything is to be drawn; always, where what is drawn is compiled for all worlds alike."""
        return self._compiles or bool(due.any())

    def _outcome(
        self, world: World, random: WorldRandom, _: None, diverged: Tensor, sums: Tensor, episode: Tensor,
        age: Tensor, size: Tensor,
    ) -> Outcome:  # fmt: skip
        causes = {name: function(world) for name, function in self._terminations}
        causes[_DIVERGED] = diverged
        terminated = world.terminated = functools.reduce(torch.logical_or, causes.values())
        over = world.steps >= self._task.max_steps
        rewards = torch.stack([function(world) for _, function in self.rewards], dim=1) * self._weights
        # a world whose physics diverged was restarted by MuJoCo: what was measured there means nothing
        rewards.masked_fill_(diverged.unsqueeze(1) & self._lost, 0.0)
        reward = rewards.sum(dim=1)
        asked: dict[str, Tensor] = {}
        if self._task.command:
            due = world.steps % round(self._task.command.hold_s / self._task.control_dt) == 0
            if self._is_any(due):
                command = self._draws.command(random, episode * _EPISODE + world.steps, size)
                asked["command"] = torch.where(due.unsqueeze(1), command, world.command)
                asked["age"] = age.masked_fill(due, 0)
        return Outcome(
            terminated, over & ~terminated, over | terminated, causes, rewards, reward, reward.sum(),
            sums + rewards, asked,
        )  # fmt: skip

    def _start(
        self, world: World, random: WorldRandom, how: tuple[bool, bool], episode: Tensor, size: Tensor
    ) -> Start:
        return self._draws.start(random, episode * _EPISODE, size, *how)

    def _look(self, world: World, random: WorldRandom, noise: bool, episode: Tensor) -> Seen:
        world.measure(random, episode * _EPISODE + world.steps, noise)
        groups = {name: group(world) for name, group in self._groups.items()}
        return Seen(groups, world.signals, sum((value.sum() for value in groups.values()), torch.zeros(())))
