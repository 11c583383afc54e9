"""Diagonal Gaussians: values worked by hand, and torch.distributions as the oracle."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from robodistill import gaussian


def draw(seed: int, size: int, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(size, dim, generator=generator, dtype=torch.float64)

    return normal(), 0.7 * normal(), normal(), 0.7 * normal(), normal()


def distribution(mean: Tensor, log_std: Tensor) -> Independent[Normal]:
    return Independent(Normal(mean, log_std.exp()), 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 12))
def test_against_torch_distributions(seed: int, size: int, dim: int) -> None:
    mean_p, log_p, mean_q, log_q, action = draw(seed, size, dim)
    p, q = distribution(mean_p, log_p), distribution(mean_q, log_q)
    assert torch.allclose(gaussian.log_prob(mean_p, log_p, action), p.log_prob(action), atol=1e-10)
    assert torch.allclose(gaussian.entropy(log_p), p.entropy(), atol=1e-10)
    assert torch.allclose(gaussian.kl(mean_p, log_p, mean_q, log_q), kl_divergence(p, q), atol=1e-10)


def test_log_prob_by_hand() -> None:
    # one standard deviation off in one dimension, at the mean in the other, sigma 2 and 1
    log_prob = gaussian.log_prob(torch.tensor([1.0, 0.0]), torch.tensor([math.log(2.0), 0.0]), torch.tensor([3.0, 0.0]))
    assert float(log_prob) == pytest.approx(-0.5 - math.log(2.0) - math.log(2.0 * math.pi))


def test_entropy_by_hand() -> None:
    # sigma = 1 / sqrt(2 pi e) has entropy 0
    log_std = torch.full((3,), -0.5 * math.log(2.0 * math.pi * math.e), dtype=torch.float64)
    assert float(gaussian.entropy(log_std)) == pytest.approx(0.0, abs=1e-12)


def test_kl_by_hand_and_its_direction() -> None:
    zero, wide = torch.zeros(1), torch.tensor([math.log(3.0)])
    shifted = torch.tensor([2.0])
    # equal sigmas: half the squared distance; else ln(3) + 1/18 - 1/2 one way, -ln(3) + 9/2 - 1/2 the other
    assert float(gaussian.kl(zero, zero, shifted, zero)) == pytest.approx(2.0)
    assert float(gaussian.kl(zero, zero, zero, wide)) == pytest.approx(math.log(3.0) + 1 / 18 - 0.5, rel=1e-6)
    assert float(gaussian.kl(zero, wide, zero, zero)) == pytest.approx(-math.log(3.0) + 4.0, rel=1e-6)
    assert float(gaussian.kl(shifted, wide, shifted, wide)) == pytest.approx(0.0, abs=1e-7)


def test_a_shared_log_std_serves_a_batch() -> None:
    mean_p, log_p, mean_q, log_q, action = draw(1, 6, 4)
    assert torch.allclose(
        gaussian.log_prob(mean_p, log_p[0], action), gaussian.log_prob(mean_p, log_p[0].expand(6, 4), action)
    )
    assert gaussian.kl(mean_p, log_p[0], mean_q, log_q[0]).shape == (6,)
