"""The networks that a method may name: functions ``(build, **params) -> module``, and the way to a method's all."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from robodistill.networks import CRITIC, SENSORS, STUDENT, TEACHER, Saved, group_dims, load_critic
from robodistill.settings import TrainConfig
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.resolve import resolve_function
from robodistill_deploy.spec import InterfaceSpec
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy


@dataclass(frozen=True)
class Build:
    """What there is to make a network from."""

    train: TrainConfig
    spec: InterfaceSpec
    teacher_policy: PolicyConfig
    """Architecture of the run's teacher, for methods that train one of their own."""
    saved: Saved | None = None
    """The trained teacher, where the method needs one."""
    networks: dict[str, nn.Module] = field(default_factory=dict)
    """Those made before this one, by name."""

    @property
    def dims(self) -> dict[str, int]:
        """Return the width of every observation group."""
        return group_dims(self.spec)

    @property
    def trained_teacher(self) -> Saved:
        """Return the trained teacher; an error where the method did not ask for one."""
        if self.saved is None:
            name = self.train.method.name
            raise RobodistillError(f"method {name!r} reads a trained teacher: set method.needs_teacher: true")
        return self.saved

    def network(self, name: str) -> nn.Module:
        """Return a network made before this one."""
        if name not in self.networks:
            raise RobodistillError(f"method.networks: {unknown('network made before', name, self.networks)}")
        return self.networks[name]


def build_networks(build: Build) -> nn.ModuleDict:
    """Return the networks of the method, made in its order."""
    method = build.train.method
    if not method.networks:
        raise RobodistillError(f"method.networks: method {method.name!r} names none; add one, such as 'student'")
    for name, config in method.networks.items():
        function = resolve_function(config.type, config.params, f"method.networks.{name}")
        build.networks[name] = function(build, **config.params)
    return nn.ModuleDict(build.networks)


def student(build: Build, *, memory: bool = True, init_std: float = 0.0) -> Policy:
    """Return the policy that is exported: on sensors alone, without an encoder where ``memory`` is false.

    ``init_std`` > 0 replaces that of ``student.policy``, unless the head is the teacher's: losses on the mean never
    change the deviation, which is then the noise that a student drives with to the end.
    """
    config = build.train.policy
    if init_std > 0.0:
        config = replace(config, init_std=init_std)
    if not memory:
        config = replace(config, groups=(SENSORS,), encoder=EncoderConfig())
    if config.reads != (SENSORS,):
        reads = ", ".join(config.reads)
        raise RobodistillError(f"student.policy reads {reads}; the exported file reads {SENSORS} only")
    policy = Policy(config, build.dims, build.spec.action_dim, deploy_terms=build.spec.groups)
    if build.train.copy_head and build.saved is not None:
        policy.copy_head_from(build.saved.policy)
    return policy


def teacher(build: Build, *, start: str = "scratch") -> Policy:
    """Return a teacher to be trained, of the run's ``teacher.policy``; ``start: trained`` takes weights over."""
    policy = Policy(build.teacher_policy, build.dims, build.spec.action_dim)
    if start == "trained":
        policy = copy.deepcopy(build.trained_teacher.policy)
        policy.freeze_normalizer(False)
        return policy.train().requires_grad_(True)
    if start != "scratch":
        raise RobodistillError(f"teacher: {unknown('start', start, ('scratch', 'trained'))}")
    return policy


def frozen_teacher(build: Build) -> Policy:
    """Return the trained teacher, which stands still."""
    return build.trained_teacher.policy


def critic(build: Build, *, groups: Sequence[str] = (), hidden: Sequence[int] = ()) -> Critic:
    """Return a value function of ``groups`` (all by default) with layers ``hidden`` (``critic_hidden`` by default)."""
    dims = build.dims
    for group in groups:
        if group not in dims:
            raise RobodistillError(f"critic: {unknown('observation group', group, dims)}")
    collect = build.train.method.collect
    return Critic(
        {g: dims[g] for g in groups or dims}, tuple(hidden) or build.train.critic_hidden,
        gamma=collect.gamma, reward_scale=collect.reward_scale,
    )  # fmt: skip


def frozen_critic(build: Build) -> Critic:
    """Return the trained teacher's own critic, which stands still."""
    return load_critic(build.trained_teacher.checkpoint, CRITIC)


def slow_copy(build: Build, *, source: str) -> nn.Module:
    """Return a copy of a network that no optimiser moves; ``robodistill.hooks:ema`` lets it follow."""
    return copy.deepcopy(build.network(source)).requires_grad_(False)


def teacher_networks(config: TrainConfig, spec: InterfaceSpec) -> nn.ModuleDict:
    """Return the networks of a teacher's method."""
    networks = build_networks(Build(config, spec, config.policy))
    return _with(networks, TEACHER, config)


def student_networks(
    config: TrainConfig, spec: InterfaceSpec, teacher_policy: PolicyConfig, saved: Saved | None
) -> nn.ModuleDict:
    """Return the networks of a student's method; ``saved`` is the trained teacher, if it needs one."""
    networks = build_networks(Build(config, spec, teacher_policy, saved))
    return _with(networks, STUDENT, config)


def _with(networks: nn.ModuleDict, name: str, config: TrainConfig) -> nn.ModuleDict:
    """Refuse a method that does not make the policy that is to be saved."""
    if not isinstance(dict(networks.items()).get(name), Policy):
        raise RobodistillError(f"method {config.method.name!r} makes no policy {name!r}; name one in method.networks")
    return networks
