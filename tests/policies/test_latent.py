"""The latent's layout: estimates first, then a part that is bounded or sampled; deterministic without noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robodistill_deploy.errors import SpecError
from robodistill_policies.config import EncoderConfig
from robodistill_policies.encoders.base import reset_state
from robodistill_policies.latent import MAX_LOG_STD, MIN_LOG_STD, NOISE, LatentLayout
from robodistill_policies.policy import Policy

DIMS = {"sensors": 5, "privileged": 3}
GRU = EncoderConfig("robodistill_policies.encoders.gru:GRUEncoder", ("sensors",), (12,), 6)
Make = Callable[..., Policy]


def observations(*shape: int) -> dict[str, Tensor]:
    return {group: torch.randn(*shape, dim) for group, dim in DIMS.items()}


def test_gaussian_by_hand() -> None:
    layout = LatentLayout(1, 2, "gaussian")
    # estimate 7, means 1 and 2, ln s = ln 3 and far below its bound
    features = torch.tensor([[7.0, 1.0, 2.0, math.log(3.0), -99.0]])
    assert layout.features == 5
    assert layout.width == 3
    assert torch.equal(layout.latent(features), torch.tensor([[7.0, 1.0, 2.0]]))
    noise = torch.tensor([[0.5, 1.0, 8.0]])  # the last column is nobody's
    sampled = torch.tensor([[7.0, 1.0 + 3.0 * 0.5, 2.0 + math.exp(MIN_LOG_STD)]])
    torch.testing.assert_close(layout.latent(features, noise), sampled)
    mean, log_std = layout.gaussian(features)
    assert mean.tolist() == [[1.0, 2.0]]
    torch.testing.assert_close(log_std, torch.tensor([[math.log(3.0), MIN_LOG_STD]]))
    assert float(layout.gaussian(features + 50.0)[1].max()) == MAX_LOG_STD


def test_mean_and_log_std_have_weights_of_their_own(make_policy: Make) -> None:
    """A published port computes the log-variance with the mean's head."""
    policy = make_policy(GRU, latent_norm="gaussian")
    obs = observations(4)

    def heads() -> tuple[Tensor, Tensor]:
        features = policy.step(obs, policy.initial_state(4))[0].features
        assert features is not None
        return policy.layout.gaussian(features)

    mean, log_std = heads()
    last = [m for m in policy.encoder.modules() if isinstance(m, torch.nn.Linear)][-1]
    last.weight.data[6:] *= 2.0  # the lower half of the rows makes the log-std
    moved_mean, moved_log_std = heads()
    assert torch.equal(mean, moved_mean)
    assert not torch.allclose(log_std, moved_log_std)
    assert not torch.allclose(mean, log_std)


@pytest.mark.parametrize("norm", ["tanh", "l2", "none"])
def test_estimates_are_not_bounded_and_the_rest_is(make_policy: Make, norm: str) -> None:
    policy = make_policy(GRU, latent_norm=norm, estimates=("privileged",))
    last = [m for m in policy.encoder.modules() if isinstance(m, torch.nn.Linear)][-1]
    last.weight.data *= 50.0
    output, _ = policy.step(observations(40), policy.initial_state(40))
    estimate, free = output.latent[:, :3], output.latent[:, 3:]
    assert policy.latent_dim == 9
    assert output.features is not None
    assert torch.equal(estimate, output.features[:, :3])
    assert float(estimate.detach().abs().max()) > 1.0
    if norm == "l2":
        torch.testing.assert_close(free.norm(dim=-1), torch.ones(40))
    assert (float(free.detach().abs().max()) <= 1.0) == (norm != "none")


def test_a_latent_of_estimates_alone(make_policy: Make) -> None:
    policy = make_policy(replace(GRU, out_dim=0), latent_norm="gaussian", estimates=("privileged",))
    output, _ = policy.step(observations(4), policy.initial_state(4))
    assert output.latent.shape == (4, 3)


@pytest.mark.parametrize("norm", ["gaussian", "tanh"])
def test_noise_samples_a_gaussian_latent_and_nothing_else(make_policy: Make, norm: str) -> None:
    policy, obs = make_policy(GRU, latent_norm=norm), observations(6)
    state = policy.initial_state(6)
    mean, again = policy.act_mean(obs, state)[0], policy.act_mean(obs, state)[0]
    noisy = policy.act_mean({**obs, NOISE: torch.randn(6, 6)}, state)[0]
    assert torch.equal(mean, again)
    assert torch.equal(noisy, mean) == (norm != "gaussian")
    zero = policy.act_mean({**obs, NOISE: torch.zeros(6, 6)}, state)[0]
    assert torch.equal(zero, mean)


def test_unroll_is_repeated_step_with_stored_noise(make_policy: Make) -> None:
    policy = make_policy(GRU, latent_norm="gaussian", estimates=("privileged",))
    obs = {**observations(20, 6), NOISE: torch.randn(20, 6, policy.latent_dim)}
    resets = torch.rand(20, 6) < 0.1
    output, _ = policy.unroll(obs, policy.initial_state(6), resets)
    state = policy.initial_state(6)
    for t in range(20):
        now = {group: value[t] for group, value in obs.items()}
        expected, state = policy.step(now, reset_state(state, resets[t]))
        torch.testing.assert_close(output.mean[t], expected.mean, rtol=0, atol=1e-5)
    other, _ = policy.unroll({**obs, NOISE: torch.randn(20, 6, 9)}, policy.initial_state(6), resets)
    assert not torch.allclose(other.mean, output.mean)


def test_a_shared_head_is_one_head(make_policy: Make) -> None:
    privileged = replace(GRU, type="robodistill_policies.encoders.mlp:MLPEncoder", groups=("privileged",), hidden=(8,))
    teacher, student = make_policy(privileged), make_policy(GRU)
    student.share_head_with(teacher)
    obs, latent = observations(6), torch.randn(6, 6)
    for parameter in (*teacher.actor.parameters(), teacher.raw_log_std):
        parameter.data.add_(0.1)
    teacher.update_normalizer({group: 3.0 * value for group, value in obs.items()})
    ours, theirs = student.decide(obs, latent), teacher.decide(obs, latent)
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.log_std, theirs.log_std)
    copied = make_policy(GRU)
    copied.copy_head_from(teacher)
    teacher.raw_log_std.data.add_(0.1)  # a copy, unlike a shared head, stays behind
    assert torch.equal(student.log_std, teacher.log_std)
    assert not torch.equal(copied.log_std, teacher.log_std)
    with pytest.raises(SpecError, match="latent_norm"):
        make_policy(GRU, latent_norm="l2").share_head_with(teacher)
