"""The networks of a method: made in order from what is there, refused by name where something is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from robodistill.builders import Build, build_networks
from robodistill.checkpoint import save_tree
from robodistill.hooks import ema
from robodistill.networks import checkpoint_texts, load_critic, load_policy
from robodistill.settings import NetworkConfig
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy

HERE = __name__


def sized(build: Build, *, size: int, of: str = "") -> nn.Module:
    """Stands for a decoder of one's own."""
    return nn.Linear(build.network(of).out_features if of else build.dims["sensors"], size)  # pyright: ignore[reportArgumentType]


def a_build(small: ModuleType, networks: dict[str, NetworkConfig], saved: Any = None) -> Build:
    run = small.config()
    env = VecEnv(run.task, 2, seed=0, threads=1)
    method = dataclasses.replace(run.student.method, networks=networks)
    return Build(dataclasses.replace(run.student, method=method), env.spec, run.teacher.policy, saved)


BUILT = "robodistill.builders:"


def test_networks_are_made_in_order_and_see_those_before(small: ModuleType) -> None:
    first, second = NetworkConfig(f"{HERE}:sized", {"size": 7}), NetworkConfig(f"{HERE}:sized", {"size": 2, "of": "a"})
    networks = build_networks(a_build(small, {"a": first, "b": second}))
    assert list(networks) == ["a", "b"]
    assert networks["b"].weight.shape == (2, 7)
    with pytest.raises(RobodistillError, match="unknown network made before 'a'"):
        build_networks(a_build(small, {"b": second, "a": first}))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (NetworkConfig("robodistill.builders:studnet"), "did you mean 'student'"),
        (NetworkConfig(f"{BUILT}student", {"memry": False}), "did you mean 'memory'"),
        (NetworkConfig(f"{BUILT}critic", {"groups": ["sensor"]}), "did you mean 'sensors'"),
        (NetworkConfig(f"{BUILT}frozen_teacher"), "needs_teacher"),
        (NetworkConfig(f"{BUILT}frozen_critic"), "needs_teacher"),
        (NetworkConfig(f"{BUILT}teacher", {"start": "trained"}), "needs_teacher"),
        (NetworkConfig(f"{BUILT}teacher", {"start": "scrtch"}), "did you mean 'scratch'"),
        (NetworkConfig(f"{BUILT}slow_copy", {"source": "student"}), "unknown network made before"),
    ],
)
def test_networks_that_cannot_be_made_are_refused(small: ModuleType, network: NetworkConfig, message: str) -> None:
    with pytest.raises(RobodistillError, match=message):
        build_networks(a_build(small, {"n": network}))


def test_a_method_without_networks_or_without_its_policy_is_refused(small: ModuleType, teacher: Path) -> None:
    with pytest.raises(RobodistillError, match="names none"):
        build_networks(a_build(small, {}))
    config = small.config().student
    method = dataclasses.replace(config.method, networks={"critic": NetworkConfig(f"{BUILT}critic")})
    with pytest.raises(RobodistillError, match="makes no policy 'student'"):
        small.dagger(teacher, dataclasses.replace(config, method=method))


def test_built_in_networks(small: ModuleType, teacher: Path) -> None:
    networks = {
        "student": NetworkConfig(f"{BUILT}student", {"memory": False, "init_std": 0.2}),
        "remembering": NetworkConfig(f"{BUILT}student"),
        "own": NetworkConfig(f"{BUILT}teacher"),
        "warm": NetworkConfig(f"{BUILT}teacher", {"start": "trained"}),
        "frozen": NetworkConfig(f"{BUILT}frozen_teacher"),
        "critic": NetworkConfig(f"{BUILT}critic", {"groups": ["sensors"], "hidden": [5]}),
        "copy": NetworkConfig(f"{BUILT}slow_copy", {"source": "student"}),
    }
    made = dict(build_networks(a_build(small, networks, load_policy(teacher, "teacher"))).items())
    student, remembering, warm, frozen, critic = (
        made[n] for n in ("student", "remembering", "warm", "frozen", "critic")
    )
    assert isinstance(student, Policy)
    assert isinstance(remembering, Policy)
    assert isinstance(critic, Critic)
    assert not student.initial_state(1)
    assert remembering.initial_state(1)
    assert float(student.log_std.detach().exp()[0]) == pytest.approx(0.2)
    assert critic.groups == ("sensors",)
    theirs = frozen.state_dict()
    weights = [k for k in theirs if "frozen" not in k]
    assert all(torch.equal(warm.state_dict()[k], theirs[k]) for k in weights)
    assert not all(torch.equal(made["own"].state_dict()[k], theirs[k]) for k in weights)
    trainable = {n: any(p.requires_grad for p in m.parameters()) for n, m in made.items()}
    assert trainable == dict.fromkeys(made, True) | {"frozen": False, "copy": False}
    assert all(torch.equal(v, student.state_dict()[k]) for k, v in made["copy"].state_dict().items())


def test_a_critic_comes_back_from_a_checkpoint(small: ModuleType, tmp_path: Path) -> None:
    trainer = small.ppo()
    small.iterate(trainer, 1)
    teacher, critic = trainer.networks["teacher"], trainer.networks["critic"]
    save_tree(tmp_path / "with", trainer.state_dict(), checkpoint_texts(teacher, trainer.env.spec, critic))
    again = load_critic(tmp_path / "with", "critic")
    assert torch.equal(again.value(trainer.collector.obs), critic.value(trainer.collector.obs))
    assert not any(p.requires_grad for p in again.parameters())
    save_tree(tmp_path / "without", trainer.state_dict(), checkpoint_texts(teacher, trainer.env.spec))
    with pytest.raises(RobodistillError, match="no critic"):
        load_critic(tmp_path / "without", "critic")


def test_ema_copies_statistics(small: ModuleType) -> None:
    source, target = Critic({"sensors": 1}, ()), Critic({"sensors": 1}, ())
    source.update_normalizer({"sensors": torch.tensor([[1.0], [3.0]])})
    ema({"a": source, "b": target}, {}, source="a", target="b", decay=0.9)
    assert float(target.normalizer.mean) == 2.0
    with pytest.raises(RobodistillError, match="unknown module 'c'"):
        ema({"a": source, "b": target}, {}, source="a", target="c", decay=0.9)
