"""A mixture's density, its picking loss and the experts' balance, against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from robodistill.methods import mixture
from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.config import PolicyConfig
from robodistill_policies.heads import Parts
from robodistill_policies.policy import Policy

Make = Callable[..., Minibatch]


@pytest.fixture
def batch() -> Minibatch:
    policy = Policy(PolicyConfig(actor_hidden=(8,), head="mixture", components=3, init_std=0.5), {"sensors": 4}, 2)
    torch.nn.init.normal_(policy.actor[0].get_parameter("net.2.weight"), std=0.5)
    data = {"label_mean": torch.randn(40, 2), "label_log_std": torch.zeros(40, 2)}
    return Minibatch({"student": policy}, {"sensors": torch.randn(40, 4)}, data)


def test_the_density_is_that_of_torch(batch: Minibatch) -> None:
    output = batch.output("student")
    assert output.parts is not None
    torchs = MixtureSameFamily(
        Categorical(logits=output.parts.log_weights),
        Independent(Normal(output.parts.means, output.log_std.exp().expand_as(output.parts.means)), 1),
    )
    expected = -torchs.log_prob(batch["label_mean"]).mean() / 2
    found = mixture.imitate_mixture(batch, policy="student", pick=0.0)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert 1.0 <= float(batch.metrics["components_used"]) <= 3.0


def test_the_gradient_on_a_mean_is_weighted_by_its_responsibility(batch: Minibatch) -> None:
    output = batch.output("student")
    assert output.parts is not None
    loss = mixture.imitate_mixture(batch, policy="student", pick=0.0)
    (gradient,) = torch.autograd.grad(loss, output.parts.means, retain_graph=True)
    std = output.log_std.exp()
    error = batch["label_mean"].unsqueeze(1) - output.parts.means
    joint = output.parts.log_weights - 0.5 * (error / std).square().sum(-1)
    expected = -joint.softmax(-1).unsqueeze(-1) * error / std.square() / 40 / 2
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def given(make_batch: Make, weights: list[list[float]], means: list[float], labels: list[float]) -> Minibatch:
    data = {"label_mean": torch.tensor(labels).unsqueeze(-1)}
    data["label_log_std"] = torch.zeros_like(data["label_mean"])
    made: Any = make_batch({"student": torch.zeros(len(labels), 1)}, data=data)
    log_weights = torch.tensor(weights).log().requires_grad_(True)
    parts = Parts(torch.tensor(means).view(1, -1, 1).expand(len(labels), -1, -1), log_weights)
    object.__setattr__(made.given["student"], "parts", parts)
    return made


def test_the_weights_are_drawn_to_the_responsible_component(make_batch: Make) -> None:
    batch = given(make_batch, [[0.7, 0.3], [0.7, 0.3]], [-3.0, 3.0], [-3.0, 3.0])
    without, with_pick = (float(mixture.imitate_mixture(batch, policy="student", pick=p)) for p in (0.0, 1.0))
    assert with_pick - without == pytest.approx(0.5 * (2 * 0.3**2) + 0.5 * (2 * 0.7**2))


def test_balance_by_hand(make_batch: Make) -> None:
    even = given(make_batch, [[0.9, 0.1], [0.1, 0.9]], [0.0, 1.0], [0.0, 0.0])
    assert float(mixture.balance(even, policy="student")) == pytest.approx(0.0, abs=1e-9)
    one = given(make_batch, [[0.9, 0.1], [0.9, 0.1]], [0.0, 1.0], [0.0, 0.0])
    assert float(mixture.balance(one, policy="student")) == pytest.approx(0.4**2)
    assert float(one.metrics["components_used"]) < float(even.metrics["components_used"]) == pytest.approx(2.0)


def test_a_plain_head_has_no_parts(make_batch: Make) -> None:
    latents: dict[str, Tensor] = {"student": torch.zeros(3, 1)}
    networks: dict[str, nn.Module] = {}
    with pytest.raises(RobodistillError, match=r"plain head; set policy\.head"):
        mixture.balance(make_batch(latents, networks=networks), policy="student")
