"""Students of every kind on real tasks, exported once a session: the exporter is what takes the time here."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from robodistill.config import compose
from robodistill.decode import decode
from robodistill.export import Origin, export_policy
from robodistill.networks import group_dims
from robodistill.settings import RunConfig, TrainConfig
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.spec import InterfaceSpec
from robodistill_envs.config import TaskConfig
from robodistill_envs.vector import VecEnv
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.policy import Policy

_PATH = "robodistill_policies.encoders."
_TCN = {"channels": 12, "kernels": [4, 3], "strides": [2, 1]}
KINDS = {
    "none": EncoderConfig(),
    "mlp": EncoderConfig(_PATH + "mlp:MLPEncoder", ("sensors",), (24,), 8),
    "stack": EncoderConfig(_PATH + "stack:StackEncoder", ("sensors",), (24,), 8, history=4),
    "gru": EncoderConfig(_PATH + "gru:GRUEncoder", ("sensors",), (32,), 8),
    "tcn": EncoderConfig(_PATH + "tcn:TCNEncoder", ("sensors",), (), 8, history=8, params=_TCN),
    "transformer": EncoderConfig(
        _PATH + "transformer:TransformerEncoder", ("sensors",), (16, 24), 8, history=7, params={"layers": 2, "heads": 2}
    ),
}
ORIGIN = Origin("dagger", 3, {"student": "a" * 64, "teacher": "b" * 64})


@dataclass(frozen=True)
class Student:
    """An untrained student whose actions are not tiny."""

    policy: Policy
    train: TrainConfig
    """The recipe of its task, of which it takes nothing."""
    task: TaskConfig
    spec: InterfaceSpec


@dataclass(frozen=True)
class Exported(Student):
    """The same, exported."""

    path: Path
    returned: PolicySpec


PLAIN = "go2_plain"
"""go2_flat without its gait clock, which no classic format knows"""


@functools.cache
def _run(task: str) -> RunConfig:
    if task != PLAIN:
        return decode(RunConfig, compose([f"task={task}"]))
    run = _run("go2_flat")
    sensors = tuple(term for term in run.task.groups["sensors"] if term.name != "gait_clock")
    return dataclasses.replace(
        run, task=dataclasses.replace(run.task, groups={**run.task.groups, "sensors": sensors})
    )


@functools.cache
def _student(task_name: str, kind: str) -> Student:
    task = _run(task_name).task
    env = VecEnv(task, 16, seed=1, threads=1)
    torch.manual_seed(5)
    config = PolicyConfig(encoder=KINDS[kind], actor_hidden=(24,), init_std=0.1, latent_norm="tanh")
    policy = Policy(config, group_dims(env.spec), env.action_dim, deploy_terms=env.spec.groups)
    for parameter in policy.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    last = [module for module in policy.actor if isinstance(module, torch.nn.Linear)][-1]
    last.weight.data.mul_(2.0)
    obs = env.reset()
    for _ in range(20):
        policy.update_normalizer(obs)
        obs = env.step(0.5 * torch.randn(16, env.action_dim))[0]
    policy.freeze_normalizer()
    for parameter in policy.parameters():
        parameter.requires_grad_(False)
    return Student(policy.eval(), _run(task_name).student, task, env.spec)


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def student() -> Callable[[str, str], Student]:
    """Return a maker of students from a task's name and a kind of memory."""
    return _student


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Exported]:
    """Return a maker of exported students; each is exported once."""

    @functools.cache
    def make(task: str, kind: str) -> Exported:
        torch.set_num_threads(1)
        made = _student(task, kind)
        path = tmp_path_factory.mktemp(f"{task}-{kind}") / "policy.onnx"
        spec = export_policy(made.policy, made.task, made.spec, ORIGIN, path)
        return Exported(made.policy, made.train, made.task, made.spec, path, spec)

    return make
