"""What a checkpoint says about its policies, and how they are read back from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robodistill.checkpoint import load_with_texts
from robodistill_deploy.codec import from_plain, to_plain
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.spec import InterfaceSpec
from robodistill_policies.config import PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy

TEACHER, STUDENT, CRITIC = "teacher", "student", "critic"
SENSORS = "sensors"
"""The observation group that a robot can deliver."""
SPEC_FILE, POLICY_FILE, CRITIC_FILE = "spec.json", "policy.json", "critic.json"


def group_dims(spec: InterfaceSpec) -> dict[str, int]:
    """Return the width of every observation group."""
    return {group: spec.group_dim(group) for group in spec.groups}


@dataclass(frozen=True)
class Saved:
    """A policy read from a checkpoint, ready to act, and the interface it was trained on."""

    policy: Policy
    spec: InterfaceSpec
    checkpoint: Path


def checkpoint_texts(policy: Policy, spec: InterfaceSpec, critic: Critic | None = None) -> dict[str, str]:
    """Return what a checkpoint says in plain files about the policy, and the critic, that it holds."""
    texts = {
        SPEC_FILE: json.dumps(spec.to_dict(), indent=1),
        POLICY_FILE: json.dumps(to_plain(policy.config), indent=1),
    }
    if critic is not None:
        described = {
            "groups": critic.group_dims, "hidden": critic.hidden, "activation": critic.activation,
            "gamma": critic.gamma, "reward_scale": critic.reward_scale,
        }  # fmt: skip
        texts[CRITIC_FILE] = json.dumps(described, indent=1)
    return texts


def load_policy(checkpoint: Path, name: str) -> Saved:
    """Return network ``name`` of a checkpoint: its architecture, statistics and weights come from there alone."""
    tree, texts = load_with_texts(checkpoint)
    try:
        spec = InterfaceSpec.from_dict(json.loads(texts[SPEC_FILE]))
        # what an older checkpoint did not yet know keeps its default
        described = {**to_plain(PolicyConfig()), **json.loads(texts[POLICY_FILE])}
        config = from_plain(PolicyConfig, described, "policy")
        weights = tree["networks"][name]
    except (KeyError, json.JSONDecodeError) as error:
        raise RobodistillError(f"{checkpoint} holds no {name} checkpoint: {error}") from error
    policy = Policy(config, group_dims(spec), spec.action_dim)
    policy.load_state_dict(weights)
    policy.freeze_normalizer()
    for parameter in policy.parameters():
        parameter.requires_grad_(False)
    return Saved(policy.eval(), spec, checkpoint)


def load_critic(checkpoint: Path, name: str) -> Critic:
    """Return critic ``name`` of a checkpoint, frozen."""
    tree, texts = load_with_texts(checkpoint)
    if CRITIC_FILE not in texts:
        raise RobodistillError(f"{checkpoint} holds no critic; name that of a method which trains one")
    described = json.loads(texts[CRITIC_FILE])
    if "gamma" not in described:
        raise RobodistillError(f"{checkpoint} is older and does not say what its critic's values are; train it again")
    units = {key: described[key] for key in ("gamma", "reward_scale")}
    critic = Critic(described["groups"], tuple(described["hidden"]), described["activation"], **units)
    critic.load_state_dict(tree["networks"][name])
    critic.normalizer.freeze()
    return critic.eval().requires_grad_(False)


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
