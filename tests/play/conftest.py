"""Sessions for the tests of this folder: small policies with visible actions, on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from robodistill.checkpoint import save_tree
from robodistill.config import compose, decode
from robodistill.evaluation.drivers import Driver, TorchDriver, ZeroDriver
from robodistill.networks import checkpoint_texts, group_dims
from robodistill.play.session import Session
from robodistill.settings import RunConfig
from robodistill_envs.interface import interface_of
from robodistill_policies.policy import Policy

MakeSession = Callable[..., Session]
SavePolicy = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One world: a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@lru_cache
def config_of(task: str) -> RunConfig:
    return decode(RunConfig, compose([f"task={task}"]))


def policy_of(task: str, role: str, seed: int = 0) -> Policy:
    """Return an untrained policy of the task's recipe whose actions differ visibly from state to state."""
    config = config_of(task)
    torch.manual_seed(seed)
    spec = interface_of(config.task)
    policy = Policy(getattr(config, role).policy, group_dims(spec), spec.action_dim)
    [module for module in policy.actor if isinstance(module, torch.nn.Linear)][-1].weight.data.mul_(30.0)
    return policy.eval()


@pytest.fixture
def make_session() -> MakeSession:
    """``make_session(task)``: teacher, student and zero_action on a task, the student driving."""

    def make(task: str = "go2_flat", policy: str = "student", seed: int = 0) -> Session:
        drivers: dict[str, Driver] = {role: TorchDriver(policy_of(task, role)) for role in ("teacher", "student")}
        return Session(config_of(task).task, {**drivers, "zero_action": ZeroDriver()}, policy, seed)

    return make


@pytest.fixture
def save_policy() -> SavePolicy:
    """``save_policy(run, task, role, seed)``: write a checkpoint as training would; returns its folder."""

    def save(run: Path, task: str, role: str, seed: int = 0, name: str = "last") -> Path:
        policy = policy_of(task, role, seed)
        folder = run / role / "checkpoints" / name
        tree = {"networks": {role: policy.state_dict()}}
        save_tree(folder, tree, checkpoint_texts(policy, interface_of(config_of(task).task)))
        return folder

    return save
