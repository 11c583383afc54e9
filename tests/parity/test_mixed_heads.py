"""Students with a mixed head: the exported file acts as torch does, in a plain loop, without drawing anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from robodistill.check import TOLERANCE, check_policy
from robodistill.export import Origin, export_policy
from robodistill_policies.config import HeadKind
from robodistill_policies.policy import Policy

ORIGIN = Origin("pmoe", 3, {"student": "a" * 64})


def with_head(made: Any, head: HeadKind) -> Policy:
    """An untrained student with this head whose actions are not tiny."""
    config = dataclasses.replace(made.policy.config, head=head, components=3)
    dims = {group: made.spec.group_dim(group) for group in made.spec.groups}
    policy = Policy(config, dims, made.policy.action_dim, deploy_terms=made.spec.groups)
    for parameter in policy.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    policy.normalizers.load_state_dict(made.policy.normalizers.state_dict())
    return policy.requires_grad_(False).eval()


@pytest.mark.slow
@pytest.mark.parametrize("head", ["mixture", "experts"])
def test_it_exports_and_passes_check(student: Callable[[str, str], Any], tmp_path: Path, head: HeadKind) -> None:
    made = student("cartpole_balance", "gru")
    policy, path = with_head(made, head), tmp_path / "policy.onnx"
    spec = export_policy(policy, made.task, made.spec, ORIGIN, path)
    sizes = [abs(v) for tick in spec.self_test.sequence for part in tick.actions.values() for v in part]
    assert max(sizes) > 0.01  # actions that are nearly zero would agree whatever happened
    short = dataclasses.replace(made.task, episode_s=made.task.control_dt * 60)
    result = check_policy(path, policy, short, seed=4, ticks=150)
    assert result.to_dict()["passed"], result.first
    assert result.onnx_vs_torch <= TOLERANCE
    # a published port draws the component on the robot too
    drawing = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
    assert not {node.op_type for node in onnx.load(str(path)).graph.node} & drawing
    with torch.no_grad():
        policy.actor[0].get_parameter("net.0.weight" if head == "mixture" else "gate.weight").mul_(-1.0)
    assert not check_policy(path, policy, short, seed=4, ticks=150).to_dict()["passed"]  # the control
