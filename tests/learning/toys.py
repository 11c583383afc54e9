"""Tiny problems behind VecEnv's interface, whose solutions are known, and the test that decides about them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn

from robodistill.settings import CollectConfig, LossConfig, MethodConfig, PhaseConfig, TrainConfig
from robodistill.trainer import Trainer
from robodistill_envs.vector import VecEnv
from robodistill_policies.config import PolicyConfig

State = dict[str, Tensor]
Begin = Callable[[int, torch.Generator], State]
Look = Callable[[State], dict[str, Tensor]]
Move = Callable[[State, Tensor], tuple[State, Tensor, Tensor]]


class Toy:
    """N copies of a problem: ``begin`` draws n states, ``look`` observes, ``move`` -> state, reward, terminated."""

    def __init__(
        self, num_envs: int, max_steps: int, begin: Begin, look: Look, move: Move, seed: int = 0,
        time_outs_kill: bool = False, actions: tuple[str, ...] = ("action",),
    ) -> None:  # fmt: skip
        self.num_envs, self.max_steps, self.time_outs_kill = num_envs, max_steps, time_outs_kill
        self.begin, self.look, self.move = begin, look, move
        self.generator = torch.Generator().manual_seed(seed)
        self.progress, self.reward_names = 1.0, ["reward"]
        self.task = SimpleNamespace(control_dt=1.0)
        self.spec = SimpleNamespace(groups={}, actions=(SimpleNamespace(mirror=None, names=actions),))

    def reset(self, stagger: bool = False) -> dict[str, Tensor]:
        self.state = self.begin(self.num_envs, self.generator)
        self.steps = torch.zeros(self.num_envs, dtype=torch.int64)
        self.returns = torch.zeros(self.num_envs)
        if stagger and self.max_steps > 1:
            self.steps = torch.randint(0, self.max_steps, (self.num_envs,), generator=self.generator)
        return self.look(self.state)

    def step(self, action: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor, dict[str, Any]]:
        self.state, reward, terminated = self.move(self.state, action)
        self.steps += 1
        self.returns += reward
        truncated = (self.steps >= self.max_steps) & ~terminated
        if self.time_outs_kill:
            terminated, truncated = terminated | truncated, torch.zeros_like(truncated)
        done = terminated | truncated
        ids = done.nonzero()[:, 0]
        info: dict[str, Any] = {"final_obs": self.look(self.state), "done_ids": ids}
        info["episode"] = {
            "return": self.returns[ids].clone(), "length": self.steps[ids].clone(), "truncated": truncated[ids],
            "rewards": self.returns[ids].unsqueeze(1), "causes": {},
        }  # fmt: skip
        fresh = self.begin(self.num_envs, self.generator)
        self.state = {
            k: torch.where(done.view(-1, *(1,) * (v.dim() - 1)), fresh[k], v) for k, v in self.state.items()
        }
        self.steps[ids], self.returns[ids] = 0, 0.0
        return self.look(self.state), reward, terminated, truncated, info

    def state_dict(self) -> dict[str, Any]:
        return {}


def make_trainer(
    toy: Toy, networks: dict[str, nn.Module], collect: CollectConfig, phase: PhaseConfig, iterations: int, seed: int
) -> Trainer:
    """Return a trainer of ``networks`` on ``toy`` by one phase."""
    method = MethodConfig("toy", collect, {"phase": phase})
    config = TrainConfig(method, PolicyConfig(), iterations * collect.num_envs * collect.steps)
    return Trainer(config, cast(VecEnv, toy), nn.ModuleDict(networks), seed, saved="student")


def train(
    toy: Toy, networks: dict[str, nn.Module], collect: CollectConfig, phase: PhaseConfig, iterations: int, seed: int
) -> None:
    """Train ``networks`` to the end."""
    trainer = make_trainer(toy, networks, collect, phase, iterations, seed)
    for _ in range(iterations):
        trainer.iterate()


def loss(name: str, **params: Any) -> LossConfig:
    return LossConfig(f"robodistill.losses:{name}", params=params)


def p_value(smaller: Sequence[float], larger: Sequence[float]) -> float:
    """Exact one-sided permutation test: how often a random split differs at least as much as this one."""
    pooled = [*smaller, *larger]
    n, total = len(smaller), sum(pooled)
    observed = sum(smaller)
    splits = [sum(pooled[i] for i in ids) for ids in itertools.combinations(range(len(pooled)), n)]
    assert observed <= total
    return sum(s <= observed + 1e-12 for s in splits) / len(splits)
