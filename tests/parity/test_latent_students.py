"""Students with estimates, unit latents and sampled latents export what a robot needs: the mean, the same each time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from robodistill.check import TOLERANCE, check_policy
from robodistill.export import Origin, export_policy
from robodistill_deploy import runtime
from robodistill_envs.vector import VecEnv
from robodistill_policies.config import LatentNorm
from robodistill_policies.latent import NOISE
from robodistill_policies.policy import Policy

ORIGIN = Origin("hib", 3, {"student": "a" * 64})


def with_latent(made: Any, norm: LatentNorm, estimates: tuple[str, ...]) -> Policy:
    """An untrained student of this latent whose actions are not tiny."""
    config = dataclasses.replace(made.policy.config, latent_norm=norm, estimates=estimates)
    dims = {group: made.spec.group_dim(group) for group in made.spec.groups}
    policy = Policy(config, dims, made.policy.action_dim, deploy_terms=made.spec.groups)
    for parameter in policy.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    last = [module for module in policy.actor if isinstance(module, torch.nn.Linear)][-1]
    last.weight.data.mul_(2.0)
    policy.normalizers.load_state_dict(made.policy.normalizers.state_dict())
    return policy.requires_grad_(False).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "estimates"),
    [("gaussian", ()), ("gaussian", ("privileged",)), ("l2", ("privileged",))],
    ids=["hib", "dreamwaq", "him"],
)
def test_it_exports_deterministically_and_passes_check(
    student: Callable[[str, str], Any], tmp_path: Path, norm: LatentNorm, estimates: tuple[str, ...]
) -> None:
    made = student("cartpole_balance", "gru")
    policy = with_latent(made, norm, estimates)
    path = tmp_path / "policy.onnx"
    spec = export_policy(policy, made.task, made.spec, ORIGIN, path)
    assert {s.name for s in spec.states} >= {"gru"}
    short = dataclasses.replace(made.task, episode_s=made.task.control_dt * 60)
    result = check_policy(path, policy, short, seed=4, ticks=150)
    assert result.to_dict()["passed"], result.first
    assert result.onnx_vs_torch <= TOLERANCE
    graph = onnx.load(str(path)).graph
    assert not {node.op_type for node in graph.node} & {"RandomNormal", "RandomNormalLike", "RandomUniform"}
    assert not [i.name for i in graph.input if "privileged" in i.name or NOISE in i.name]
    # with noise, as in training, the same student acts otherwise: the file has none
    env = VecEnv(made.task, 1, seed=3, threads=1)
    obs = env.reset()
    noise = torch.ones(1, policy.latent_dim)
    sampled = policy.step({**obs, NOISE: noise}, policy.initial_state(1))[0].mean
    assert torch.equal(sampled, policy.act_mean(obs, policy.initial_state(1))[0]) == (norm != "gaussian")


@pytest.mark.slow
def test_a_file_answers_twice_alike(student: Callable[[str, str], Any], tmp_path: Path) -> None:
    """A published port samples its latent on the robot too."""
    made = student("cartpole_balance", "gru")
    path = tmp_path / "policy.onnx"
    spec = export_policy(with_latent(made, "gaussian", ()), made.task, made.spec, ORIGIN, path)
    signals = [dict(tick.signals) for tick in spec.self_test.sequence]
    answers = []
    for _ in range(2):
        file = runtime.load_policy(path)
        named = [
            {s.name: dict(zip(s.elements, tick[s.name], strict=True)) for s in spec.interface.signals}
            for tick in signals
        ]
        answers.append([np.concatenate(list(file.tick(tick).values())) for tick in named])
    assert np.array_equal(np.stack(answers[0]), np.stack(answers[1]))
    assert np.stack(answers[0]).std(0).max() > 0.0
