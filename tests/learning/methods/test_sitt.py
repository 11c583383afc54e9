"""A teacher that minds its student: the divergence in closed form, its sign in the reward, and whom it moves."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from robodistill.methods import sitt
from robodistill.segment import Segment, by_world
from robodistill.trainer import Trainer
from robodistill_policies.policy import Policy

NOBODY = Path("no teacher is needed")
ENCODERS = {"teacher": "teacher.encoder", "student": "student.encoder", "proxy": "proxy.encoder"}


def made(contract: ModuleType, small: ModuleType) -> Trainer:
    trainer = contract.make("sitt", NOBODY)
    small.enlarge(trainer.networks["teacher"])  # the head of all three
    return trainer


def collected(trainer: Trainer) -> Segment:
    return trainer.collector.collect(0.5)[0]


def test_the_divergence_is_the_mahalanobis_distance_of_the_means(contract: ModuleType, small: ModuleType) -> None:
    trainer = made(contract, small)
    segment = collected(trainer)
    k = sitt.disagreement(segment, dict(trainer.networks.items()), proxy="proxy")
    proxy = trainer.networks["proxy"]
    assert isinstance(proxy, Policy)
    other = proxy.unroll(segment.obs, {}, segment.resets)[0]
    std = torch.exp(segment.data["log_std"])
    by_hand = 0.5 * ((segment.data["mean"] - other.mean) / std).square().sum(-1)
    torch.testing.assert_close(k, by_hand.detach(), rtol=1e-3, atol=1e-6)
    normals = Normal(segment.data["mean"], std), Normal(other.mean, std)
    torch.testing.assert_close(k, kl_divergence(*normals).sum(-1).detach(), rtol=1e-3, atol=1e-6)
    assert k.mean() > 1e-3


def test_disagreement_is_punished(contract: ModuleType, small: ModuleType) -> None:
    """The published code of the colour maze adds it."""
    rewards: list[Tensor] = []
    for shaped in (True, False):
        torch.manual_seed(0)
        trainer = made(contract, small)
        if not shaped:
            vars(trainer.collector)["_shape"] = {}
        segment = collected(trainer)
        rewards.append(segment.data["reward"])
    k = sitt.disagreement(segment, dict(trainer.networks.items()), proxy="proxy")
    torch.testing.assert_close(rewards[0], rewards[1] - 0.05 * k)
    assert (rewards[0] <= rewards[1]).all()
    assert (rewards[0] < rewards[1]).any()


@pytest.mark.parametrize(
    ("phase", "loss", "reaches"),
    [("ppo", "follow", "teacher"), ("align", "student", "student"), ("align", "proxy", "proxy")],
)
def test_each_moves_one_encoder_and_never_the_head(
    contract: ModuleType, small: ModuleType, phase: str, loss: str, reaches: str
) -> None:
    trainer = made(contract, small)
    batch = next(by_world(collected(trainer), dict(trainer.networks.items()), 1, trainer.generator))
    found = trainer.phases[phase]
    value = found.losses[loss](batch, **found.config.losses[loss].params)
    parameters = dict(trainer.networks.named_parameters())
    gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, materialize_grads=True)
    reached = {
        ".".join(name.split(".")[:2])
        for name, gradient in zip(parameters, gradients, strict=True)
        if bool(gradient.abs().max() > 0.0)
    }
    assert ENCODERS[reaches] in reached
    if phase == "ppo":
        assert reached == {ENCODERS[reaches]}
    else:  # the head has a gradient, and the phase leaves it out
        assert reached - {ENCODERS[reaches]} <= {"teacher.actor"}
        assert found.config.networks == ("student.encoder", "proxy.encoder")
    if loss == "follow":
        k = sitt.disagreement(collected(made(contract, small)), dict(trainer.networks.items()), proxy="proxy")
        assert float(value.detach()) == pytest.approx(float(k.mean()), rel=1e-3)


def test_three_policies_have_one_head_and_one_set_of_statistics(contract: ModuleType) -> None:
    networks = contract.make("sitt", NOBODY).networks
    teacher, student, proxy = (networks[n] for n in ("teacher", "student", "proxy"))
    assert isinstance(teacher, Policy)
    assert isinstance(student, Policy)
    assert isinstance(proxy, Policy)
    assert teacher.actor is student.actor is proxy.actor
    assert teacher.raw_log_std is student.raw_log_std is proxy.raw_log_std
    assert set(proxy.config.encoder.groups) == set(teacher.config.reads)
    assert all(proxy.normalizers[g] is teacher.normalizers[g] for g in teacher.config.reads)
