"""The symmetry loss against a policy that is symmetric by construction, and one that is not."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from robodistill.losses import symmetry
from robodistill.segment import Minibatch
from robodistill.symmetry import Mirror
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.policy import Policy

GRU = "robodistill_policies.encoders.gru:GRUEncoder"


class Swap:
    """Swaps two observations and changes the sign of the one action."""

    def obs(self, group: str, value: Tensor) -> Tensor:
        return value.flip(-1)

    def action(self, value: Tensor) -> Tensor:
        return -value


def batch_of(policy: Policy, mirror: Any = None) -> Minibatch:
    obs = torch.tensor([[1.0, 3.0], [-2.0, 0.5]])
    made = Minibatch({"p": policy}, {"sensors": obs}, {})
    made.mirror = cast("Mirror | None", mirror)
    return made


def value(loss: Tensor) -> float:
    return float(loss.detach())


def linear(a: float, b: float, c: float) -> Policy:
    """mean = a o_0 + b o_1 + c"""
    policy = Policy(PolicyConfig(actor_hidden=()), {"sensors": 2}, 1)
    layer = policy.actor[-1]
    assert isinstance(layer, torch.nn.Linear)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[a, b]]))
        layer.bias.fill_(c)
    policy.freeze_normalizer()
    return policy


def test_an_odd_policy_costs_nothing_and_a_bias_counts_twice_squared() -> None:
    assert value(symmetry(batch_of(linear(0.7, -0.7, 0.0), Swap()), policy="p")) == pytest.approx(0.0, abs=1e-12)
    # mu(M o) + mu(o) = 2 c for an odd policy with bias c
    assert value(symmetry(batch_of(linear(0.7, -0.7, 0.5), Swap()), policy="p")) == pytest.approx(1.0, rel=1e-3)
    # (a + b)(o_0 + o_1), squared, mean over the two steps
    expected = (16.0 + 2.25) / 2
    assert value(symmetry(batch_of(linear(1.0, 0.0, 0.0), Swap()), policy="p")) == pytest.approx(expected, rel=1e-3)


def test_the_loss_makes_a_policy_symmetric() -> None:
    policy = linear(1.0, 0.2, 0.5)
    optimizer = torch.optim.Adam(policy.actor.parameters(), lr=0.05)
    for _ in range(200):
        loss = symmetry(batch_of(policy, Swap()), policy="p")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert value(symmetry(batch_of(policy, Swap()), policy="p")) < 1e-4


def test_without_declarations_or_with_memory_it_is_refused() -> None:
    with pytest.raises(RobodistillError, match="declares no mirror"):
        symmetry(batch_of(linear(1.0, 0.0, 0.0)), policy="p")
    encoder = EncoderConfig(GRU, groups=("sensors",), hidden=(4,), out_dim=2)
    recurrent = Policy(PolicyConfig(encoder=encoder), {"sensors": 2}, 1)
    with pytest.raises(RobodistillError, match="has memory"):
        symmetry(batch_of(recurrent, Swap()), policy="p")
