"""Untrained students of every kind, for measurements: what a network computes does not depend on its weights."""

from __future__ import annotations

from pathlib import Path

import torch

from robodistill.export import Origin, export_policy
from robodistill.networks import group_dims
from robodistill.settings import RunConfig
from robodistill_envs.vector import VecEnv
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.policy import Policy

_PATH = "robodistill_policies.encoders."
_TCN = {"channels": 32, "kernels": [4, 3, 2], "strides": [2, 2, 1]}
_TRANSFORMER = {"layers": 2, "heads": 2}
KINDS = {
    "mlp": EncoderConfig(),
    "stack": EncoderConfig(_PATH + "stack:StackEncoder", ("sensors",), (128,), 16, history=10),
    "gru": EncoderConfig(_PATH + "gru:GRUEncoder", ("sensors",), (128,), 16),
    "tcn": EncoderConfig(_PATH + "tcn:TCNEncoder", ("sensors",), (), 16, history=20, params=_TCN),
    "transformer": EncoderConfig(
        _PATH + "transformer:TransformerEncoder", ("sensors",), (64, 128), 16, history=16, params=_TRANSFORMER
    ),
}
"""By the name of what remembers."""
_HIDDEN = (256, 128)
_ORIGIN = Origin("untrained", 0, {})


def build(kind: str, config: RunConfig, path: Path) -> Path:
    """Export a student of ``kind`` for the task of ``config`` to ``path``, unless it is there; return the path."""
    if path.exists():
        return path
    env = VecEnv(config.task, 16, seed=config.seed, threads=1)
    torch.manual_seed(config.seed)
    student = PolicyConfig(encoder=KINDS[kind], actor_hidden=_HIDDEN, init_std=0.1, latent_norm="tanh")
    policy = Policy(student, group_dims(env.spec), env.action_dim, deploy_terms=env.spec.groups)
    obs = env.reset()
    for _ in range(20):
        policy.update_normalizer(obs)
        obs = env.step(torch.zeros(16, env.action_dim))[0]
    policy.freeze_normalizer()
    for parameter in policy.parameters():
        parameter.requires_grad_(False)
    export_policy(policy.eval(), config.task, env.spec, _ORIGIN, path)
    return path
