"""Small training runs on cartpole_balance for the tests; run as a program it resumes one in a fresh process."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import torch

from robodistill.builders import student_networks, teacher_networks
from robodistill.checkpoint import load_tree, save_tree
from robodistill.config import compose
from robodistill.decode import decode
from robodistill.networks import (
    check_same_interface,
    checkpoint_texts,
    load_policy,
)
from robodistill.settings import CollectConfig, PhaseConfig, RunConfig, TrainConfig
from robodistill.trainer import Trainer
from robodistill_envs.vector import VecEnv
from robodistill_policies.policy import Policy

WORLDS, STEPS, ITERATIONS = 16, 8, 6
SETTINGS = [
    "task=cartpole_balance",
    "task.episode_s=0.8",  # 20 ticks: episodes end in most segments
    *(f"{who}.total_steps={WORLDS * STEPS * ITERATIONS}" for who in ("teacher", "student")),
    *(f"{who}.method.collect.num_envs={WORLDS}" for who in ("teacher", "student")),
    *(f"{who}.method.collect.steps={STEPS}" for who in ("teacher", "student")),
    *(f"{who}.policy.actor_hidden=[16]" for who in ("teacher", "student")),
    "teacher.critic_hidden=[16]",
    "teacher.policy.encoder.hidden=[8]",
    "student.policy.encoder.hidden=[12]",
    "student.copy_head=false",
    "threads=1",
]


@functools.lru_cache(maxsize=4)
def config(*overrides: str) -> RunConfig:
    """Return the configuration of the small run."""
    return decode(RunConfig, compose([*SETTINGS, *overrides]))


Fields = dict[str, Any]


def changed(train: TrainConfig, phase: Fields | None = None, collect: Fields | None = None) -> TrainConfig:
    """Return ``train`` with fields of its first phase and of its collection changed."""
    method = train.method
    name, first = next(iter(method.phases.items()))
    phases: dict[str, PhaseConfig] = {**method.phases, name: dataclasses.replace(first, **(phase or {}))}
    collection: CollectConfig = dataclasses.replace(method.collect, **(collect or {}))
    return dataclasses.replace(train, method=dataclasses.replace(method, collect=collection, phases=phases))


def enlarge(policy: Policy, gain: float = 30.0) -> Policy:
    """Scale the actor's last layer, which begins near zero, so that actions differ visibly from state to state."""
    last = [module for module in policy.actor.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.weight.data.mul_(gain)
    return policy


def ppo(train: TrainConfig | None = None, seed: int = 0) -> Trainer:
    """Return a trainer of a teacher."""
    run = config()
    train = train or run.teacher
    torch.manual_seed(seed)
    env = VecEnv(run.task, train.method.collect.num_envs, seed=seed, threads=1)
    networks = teacher_networks(train, env.spec)
    return Trainer(train, env, networks, seed, saved="teacher")


def save_teacher(folder: Path, seed: int = 0) -> Path:
    """Save a teacher whose actions are not tiny."""
    return _save(folder, ppo(seed=seed), "teacher")


def save_student(folder: Path, teacher: Path, seed: int = 1) -> Path:
    """Save an untrained student of the saved ``teacher``, whose actions are not tiny either."""
    return _save(folder, dagger(teacher, seed=seed), "student")


def _save(folder: Path, trainer: Trainer, role: str) -> Path:
    policy = trainer.networks[role]
    assert isinstance(policy, Policy)
    enlarge(policy)
    save_tree(folder, trainer.state_dict(), checkpoint_texts(policy, trainer.env.spec))
    return folder


def dagger(teacher: Path, train: TrainConfig | None = None, seed: int = 1) -> Trainer:
    """Return a trainer of a student of the saved ``teacher``."""
    run = config()
    train = train or run.student
    torch.manual_seed(seed)
    env = VecEnv(run.task, train.method.collect.num_envs, seed=seed, threads=1)
    saved = load_policy(teacher, "teacher")
    check_same_interface(saved.spec, env.spec, saved.policy.config.reads, "teacher")
    return Trainer(train, env, student_networks(train, env.spec, saved.policy.config, saved), seed, saved="student")


def iterate(trainer: Trainer, count: int) -> list[dict[str, float]]:
    """Make ``count`` iterations; return their figures without the times, which no two runs share."""
    return [{k: v for k, v in trainer.iterate().items() if not k.startswith("time/")} for _ in range(count)]


def main(kind: str, source: str, target: str, teacher: str, count: str) -> None:
    """Resume the checkpoint ``source``, make ``count`` iterations, save to ``target``."""
    torch.set_num_threads(1)
    # other seeds than the run's own: whatever they decide must come from the checkpoint
    trainer = ppo(seed=77) if kind == "ppo" else dagger(Path(teacher), seed=78)
    trainer.load_state_dict(load_tree(Path(source)))
    figures = iterate(trainer, int(count))
    save_tree(Path(target), {"state": trainer.state_dict(), "figures": figures})


if __name__ == "__main__":
    main(*sys.argv[1:])
