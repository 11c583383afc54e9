"""Build a run's networks, and read a teacher back from its checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from robodistill.checkpoint import load_with_texts
from robodistill.settings import TrainConfig
from robodistill_deploy.codec import from_plain, to_plain
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.spec import InterfaceSpec
from robodistill_policies.config import PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy

TEACHER, STUDENT, CRITIC = "teacher", "student", "critic"
SENSORS = "sensors"
"""The observation group that a robot can deliver."""
SPEC_FILE, POLICY_FILE = "spec.json", "policy.json"


def group_dims(spec: InterfaceSpec) -> dict[str, int]:
    """Return the width of every observation group."""
    return {group: spec.group_dim(group) for group in spec.groups}


def teacher_networks(config: TrainConfig, spec: InterfaceSpec) -> nn.ModuleDict:
    """Return a teacher and its critic, which sees every group."""
    dims = group_dims(spec)
    policy = Policy(config.policy, dims, spec.action_dim)
    return nn.ModuleDict({TEACHER: policy, CRITIC: Critic(dims, config.critic_hidden)})


def student_networks(config: TrainConfig, spec: InterfaceSpec, teacher: Policy) -> nn.ModuleDict:
    """Return a student, refused if it reads a privileged term, beside its frozen teacher."""
    if config.policy.reads != (SENSORS,):
        reads = ", ".join(config.policy.reads)
        raise RobodistillError(f"student.policy reads {reads}; the exported file reads {SENSORS} only")
    student = Policy(config.policy, group_dims(spec), spec.action_dim, deploy_terms=spec.groups)
    if config.copy_head:
        student.copy_head_from(teacher)
    return nn.ModuleDict({STUDENT: student, TEACHER: teacher})


@dataclass(frozen=True)
class Saved:
    """A policy read from a checkpoint, ready to act, and the interface it was trained on."""

    policy: Policy
    spec: InterfaceSpec
    checkpoint: Path


def checkpoint_texts(policy: Policy, spec: InterfaceSpec) -> dict[str, str]:
    """Return what a checkpoint says in plain files about the policy that it holds."""
    return {
        SPEC_FILE: json.dumps(spec.to_dict(), indent=1),
        POLICY_FILE: json.dumps(to_plain(policy.config), indent=1),
    }


def load_policy(checkpoint: Path, name: str) -> Saved:
    """Return network ``name`` of a checkpoint: its architecture, statistics and weights come from there alone."""
    tree, texts = load_with_texts(checkpoint)
    try:
        spec = InterfaceSpec.from_dict(json.loads(texts[SPEC_FILE]))
        config = from_plain(PolicyConfig, json.loads(texts[POLICY_FILE]), "policy")
        weights = tree["networks"][name]
    except (KeyError, json.JSONDecodeError) as error:
        raise RobodistillError(f"{checkpoint} holds no {name} checkpoint: {error}") from error
    policy = Policy(config, group_dims(spec), spec.action_dim)
    policy.load_state_dict(weights)
    policy.freeze_normalizer()
    for parameter in policy.parameters():
        parameter.requires_grad_(False)
    return Saved(policy.eval(), spec, checkpoint)


def check_same_interface(
    theirs: InterfaceSpec, ours: InterfaceSpec, groups: tuple[str, ...], what: str
) -> None:
    """Refuse a policy trained on other terms, joints or rates, naming the first difference."""
    for field in ("robot", "control_dt", "actions"):
        there, here = getattr(theirs, field), getattr(ours, field)
        if there != here:
            raise RobodistillError(f"{what}: trained with another {field}: {_first(there, here)}")
    for group in groups:
        if group not in ours.groups:
            raise RobodistillError(f"{what} reads group {group!r}, which this task does not have")
        if theirs.groups[group] != ours.groups[group]:
            raise RobodistillError(
                f"{what}: group {group!r} differs: {_first(theirs.groups[group], ours.groups[group])}"
            )


def _first(theirs: Any, ours: Any, path: str = "") -> str:
    """Return where two specs first differ."""
    a, b = to_plain(theirs), to_plain(ours)
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            if a.get(key) != b.get(key):
                return _first(a.get(key), b.get(key), f"{path}.{key}")
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            if x != y:
                return _first(x, y, f"{path}[{i}]")
    return f"{path.lstrip('.') or 'value'} is {a!r} there, {b!r} here"
