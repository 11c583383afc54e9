"""The networks of these methods, as ``method.networks`` names them: functions ``(build, **params) -> module``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from robodistill import builders
from robodistill.builders import Build
from robodistill.methods.heads import Head
from robodistill.methods.hib import Embedding
from robodistill.methods.him import Prototypes
from robodistill.segment import find
from robodistill_policies.config import LatentNorm, PolicyConfig
from robodistill_policies.policy import Policy

TRAINED = "trained"
"""Head of the trained teacher, copied; any other head is that of a network made before, shared."""


def student(
    build: Build, *, head: str = "", norm: LatentNorm | None = None, out_dim: int | None = None,
    estimates: Sequence[str] = (),
) -> Policy:  # fmt: skip
    """Return the policy that is exported, with the latent that the method prescribes.

    ``head: trained`` starts with actor, deviation and statistics of the trained teacher; ``head: <network>`` shares
    them with a network made before, so that whatever trains one of the two trains both.
    """
    config = build.train.policy
    config = replace(config, latent_norm=norm or config.latent_norm, estimates=tuple(estimates))
    if out_dim is not None:
        config = replace(config, encoder=replace(config.encoder, out_dim=out_dim))
    if not head:
        return _make(build, config)
    giver = build.trained_teacher.policy if head == TRAINED else _policy(build, head)
    policy = _make(build, _like(giver.config, config))
    if head == TRAINED:
        policy.copy_head_from(giver)
    else:
        policy.share_head_with(giver)
    return policy


def _make(build: Build, config: PolicyConfig) -> Policy:
    return builders.student(replace(build, train=replace(build.train, policy=config, copy_head=False)))


def _like(giver: PolicyConfig, config: PolicyConfig) -> PolicyConfig:
    """Return ``config`` with a head and a latent of the giver's shape; the encoder stays as configured."""
    encoder = replace(config.encoder, out_dim=giver.encoder.out_dim)
    return replace(giver, encoder=encoder)


def teacher(build: Build, *, norm: LatentNorm | None = None) -> Policy:
    """Return a privileged policy to be trained in the same run, of the run's ``teacher.policy``."""
    config = replace(build.teacher_policy, latent_norm=norm or build.teacher_policy.latent_norm)
    return Policy(config, build.dims, build.spec.action_dim)


def decoder(build: Build, *, policy: str, of: str, hidden: Sequence[int] = (64,)) -> Head:
    """Return a network from the latent of ``policy`` to group ``of``."""
    return Head(_policy(build, policy).latent_dim, build.dims[of], tuple(hidden))


def projector(build: Build, *, policy: str, width: int = 16, hidden: Sequence[int] = (64,)) -> Head:
    """Return a network from the latent of ``policy`` to the space of the embeddings."""
    return Head(_policy(build, policy).latent_dim, width, tuple(hidden))


def embedding(build: Build, *, of: str = "privileged", width: int = 16, hidden: Sequence[int] = (64,)) -> Embedding:
    """Return the embedding of group ``of``."""
    return Embedding(build.dims[of], width, tuple(hidden))


def prototypes(
    build: Build, *, policy: str, of: str = "sensors", count: int = 32, hidden: Sequence[int] = (128, 64)
) -> Prototypes:
    """Return the target network on the next group ``of`` and its prototypes, for the free latent of ``policy``."""
    return Prototypes(build.dims[of], _policy(build, policy).layout.implicit, count, tuple(hidden))


def _policy(build: Build, name: str) -> Policy:
    build.network(name)  # names the networks there are
    return find(build.networks, name, Policy, "method.networks")
