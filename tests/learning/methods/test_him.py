"""Swapped prediction: Sinkhorn against its definition, the loss by hand, and the gradients of both views."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robodistill.methods import him
from robodistill.segment import Minibatch
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy

Make = Callable[..., Minibatch]


def test_sinkhorn_is_alternating_normalisation() -> None:
    scores = torch.rand(12, 4, dtype=torch.float64)
    q = torch.exp(scores / 0.5)
    for _ in range(3):
        q = q / q.sum(0, keepdim=True)
        q = q / q.sum(1, keepdim=True)
    torch.testing.assert_close(him.sinkhorn(scores, 0.5, 3), q)


def test_sinkhorn_uses_every_prototype_equally_often() -> None:
    scores = torch.rand(64, 4)
    scores[:, 0] += 1.0  # all would go to the first one
    assert float(F.one_hot(scores.argmax(1), 4).float().mean(0)[0]) > 0.9
    q = him.sinkhorn(scores, 0.05, 50)
    torch.testing.assert_close(q.sum(1), torch.ones(64))
    torch.testing.assert_close(q.mean(0), torch.full((4,), 0.25), atol=0.02, rtol=0)
    assert torch.isfinite(him.sinkhorn(scores * 1e4)).all()


def test_the_loss_is_a_sum_over_prototypes() -> None:
    """The published code takes the mean over them too, a factor of K."""
    uniform = torch.zeros(6, 8)
    assert float(him.swapped(uniform, uniform, 3.0)) == pytest.approx(math.log(8.0), rel=1e-5)
    sure = 20.0 * torch.eye(8)
    assert float(him.swapped(sure, sure, 1.0)) < 1e-4
    assert float(him.swapped(sure, sure.roll(1, 0), 1.0)) > 10.0  # views that disagree


def test_both_views_and_the_prototypes_learn_and_estimates_do_not(make_batch: Make, critic: Critic) -> None:
    encoder = EncoderConfig("robodistill_policies.encoders.mlp:MLPEncoder", ("sensors",), (8,), 4)
    policy = Policy(
        PolicyConfig(encoder=encoder, latent_norm="l2", estimates=("privileged",)), {"sensors": 3, "privileged": 2}, 1
    )
    network = him.Prototypes(3, 4, 5, (8,))
    features = torch.randn(3, 4, 6, requires_grad=True)  # split by world: (T, n, ...)
    networks: dict[str, nn.Module] = {"student": policy, "critic": critic, "prototypes": network}
    batch = make_batch({"student": features}, data={"next_sensors": torch.randn(3, 4, 3)}, networks=networks)
    him.contrast(batch, policy="student", prototypes="prototypes", critic="critic").backward()
    assert features.grad is not None
    assert features.grad[..., :2].abs().max() == 0.0
    assert features.grad[..., 2:].abs().max() > 0.0
    assert all(p.grad is not None and p.grad.abs().max() > 0.0 for p in network.parameters())
    assert 0.0 < float(batch.metrics["prototypes_used"]) <= 1.0
    torch.testing.assert_close(network.encode(torch.randn(7, 3)).norm(dim=-1), torch.ones(7))
