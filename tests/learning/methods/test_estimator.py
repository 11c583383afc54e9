"""Estimator, DreamWaQ and the bottleneck: values by hand, torch.distributions as the oracle, and published slips."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from robodistill.methods import bottleneck, estimator, targets
from robodistill.methods.heads import Head
from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.config import PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy

Make = Callable[..., Minibatch]


def features() -> Tensor:
    """Estimates, means and ln s (2, 2 + 2 + 2) of a Gaussian latent."""
    return torch.tensor([[0.0, 2.0, 1.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, math.log(2.0), 0.0]], requires_grad=True)


def test_the_estimate_is_compared_in_deviations(make_batch: Make, gaussian_policy: Policy, critic: Critic) -> None:
    networks: dict[str, nn.Module] = {"student": gaussian_policy, "critic": critic}
    obs = {"privileged": torch.tensor([[3.0, 2.0], [1.0, 3.0]])}  # normalised: 1, 0 and 0, 2
    batch = make_batch({"student": features()}, obs=obs, networks=networks)
    loss = estimator.estimate(batch, policy="student", critic="critic")
    # errors: -1, 2 and 1, -2
    assert loss.item() == pytest.approx((1 + 4 + 1 + 4) / 4, rel=1e-4)
    assert float(batch.metrics["estimate_worst"]) == pytest.approx(2.0, rel=1e-4)
    (gradient,) = torch.autograd.grad(loss, batch.output("student").latent)
    assert gradient[:, 2:].abs().max() == 0.0  # z is not supervised
    assert all(p.grad is None for p in critic.parameters())


def test_the_target_is_what_the_step_led_to(make_batch: Make, gaussian_policy: Policy, critic: Critic) -> None:
    decoder = Head(4, 3, ())
    last = decoder.net[0]
    assert isinstance(last, nn.Linear)
    last.weight.data = torch.eye(4)[:3]
    networks: dict[str, nn.Module] = {"student": gaussian_policy, "critic": critic, "decoder": decoder}
    now, then = torch.full((2, 3), 9.0), torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 3.0]])
    batch = make_batch(
        {"student": features()}, obs={"sensors": now}, data={"next_sensors": then}, networks=networks
    )
    loss = estimator.foretell(batch, policy="student", decoder="decoder", critic="critic")
    assert loss.item() == pytest.approx(9.0 / 6.0, rel=1e-4)
    batch.data.pop("next_sensors")
    with pytest.raises(RobodistillError, match="next_sensors"):
        estimator.foretell(batch, policy="student", decoder="decoder", critic="critic")


def test_kl_against_torch_distributions() -> None:
    mean, log_std = torch.randn(7, 3, dtype=torch.float64), 0.5 * torch.randn(7, 3, dtype=torch.float64)
    expected = kl_divergence(
        Independent(Normal(mean, log_std.exp()), 1), Independent(Normal(torch.zeros_like(mean), 1.0), 1)
    )
    torch.testing.assert_close(bottleneck.kl_to_standard_normal(mean, log_std), expected)


def test_compression_is_a_mean_over_steps(make_batch: Make, gaussian_policy: Policy) -> None:
    """A published port sums it over the batch, so that beta depends on the batch's size."""
    networks: dict[str, nn.Module] = {"student": gaussian_policy}
    once = bottleneck.compression(make_batch({"student": features()}, networks=networks), policy="student")
    # mean 1, -1 at s = 1: 1 nat; mean 0 at s = 2 and 1: (4 - 1 - 2 ln 2) / 2
    assert once.item() == pytest.approx((1.0 + 0.5 * (3.0 - 2.0 * math.log(2.0))) / 2.0, rel=1e-6)
    twice = make_batch({"student": features().repeat(5, 1)}, networks=networks)
    assert float(bottleneck.compression(twice, policy="student")) == pytest.approx(float(once), rel=1e-6)
    perfect = make_batch({"student": torch.zeros(4, 6)}, networks=networks)
    assert float(bottleneck.compression(perfect, policy="student")) == 0.0


def test_a_policy_of_another_latent_is_named(make_batch: Make, critic: Critic) -> None:
    plain = Policy(PolicyConfig(actor_hidden=()), {"sensors": 3, "privileged": 2}, 1)
    batch = make_batch({"student": torch.zeros(2, 0)}, networks={"student": plain, "critic": critic})
    with pytest.raises(RobodistillError, match=r"policy\.latent_norm: gaussian"):
        bottleneck.compression(batch, policy="student")
    with pytest.raises(RobodistillError, match=r"policy\.estimates: \[privileged\]"):
        estimator.estimate(batch, policy="student", critic="critic")
    batch.obs["privilegd"] = torch.zeros(2, 2)
    with pytest.raises(RobodistillError, match="unknown observation group 'privilegd'"):
        targets.group(batch, "critic", "privilegd")
