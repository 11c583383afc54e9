"""GAE against its definition, and against what an endless constant reward is worth."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robodistill.returns import gae
from robodistill_deploy.errors import RobodistillError


def by_definition(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, done: Tensor, gamma: float, lam: float
) -> Tensor:
    """A_t = sum_l (gamma lam)^l delta_{t+l}, up to the end of the episode: O(T^2), one number at a time."""
    steps, worlds = reward.shape
    advantage = torch.zeros_like(reward)
    for n in range(worlds):
        for t in range(steps):
            total = 0.0
            for i in range(t, steps):
                worth = 0.0 if terminated[i, n] else float(next_value[i, n])
                delta = float(reward[i, n]) + gamma * worth - float(value[i, n])
                total += (gamma * lam) ** (i - t) * delta
                if done[i, n]:
                    break
            advantage[t, n] = total
    return advantage


def experience(seed: int, steps: int, worlds: int, ends: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Random rewards, values and ends of both kinds; next_value is the next row's value inside an episode."""
    generator = torch.Generator().manual_seed(seed)
    reward, value, other = (torch.randn(steps, worlds, generator=generator, dtype=torch.float64) for _ in range(3))
    done = torch.rand(steps, worlds, generator=generator) < ends
    terminated = done & (torch.rand(steps, worlds, generator=generator) < 0.5)
    next_value = torch.where(done, other, torch.cat((value[1:], other[-1:])))
    return reward, value, next_value, terminated, done


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 4), st.floats(0.0, 0.6),
    st.floats(0.5, 1.0), st.floats(0.0, 1.0),
)  # fmt: skip
def test_equals_the_definition(seed: int, steps: int, worlds: int, ends: float, gamma: float, lam: float) -> None:
    data = experience(seed, steps, worlds, ends)
    advantage, returns = gae(*data, gamma, lam)
    assert torch.allclose(advantage, by_definition(*data, gamma, lam), atol=1e-10)
    assert torch.allclose(returns, advantage + data[1], atol=1e-12)


def test_lam_0_is_the_one_step_error_and_lam_1_the_whole_sum() -> None:
    reward, value, next_value, terminated, done = experience(3, 6, 5, 0.3)
    one_step, _ = gae(reward, value, next_value, terminated, done, 0.9, 0.0)
    assert torch.allclose(one_step, reward + 0.9 * next_value * ~terminated - value)
    _, returns = gae(reward, value, next_value, terminated, done, 0.9, 1.0)
    expected = torch.zeros(5, dtype=torch.float64)
    for t in reversed(range(6)):
        after = torch.where(done[t] | (t == 5), next_value[t] * ~terminated[t], expected)
        expected = reward[t] + 0.9 * after
        assert torch.allclose(returns[t], expected)


def learned_value(gamma: float, length: int, bootstrap: bool, rounds: int) -> float:
    """Fit one number to the returns of reward 1 at each step, cut every ``length`` steps by a time-out."""
    shape = (length, 1)
    done = (torch.arange(shape[0]) % length == length - 1).unsqueeze(1).expand(shape)
    terminated = torch.zeros(shape, dtype=torch.bool) if bootstrap else done
    value = torch.zeros((), dtype=torch.float64)
    for _ in range(rounds):
        here = value.expand(shape)
        _, returns = gae(torch.ones(shape, dtype=torch.float64), here, here, terminated, done, gamma, 0.95)
        value = returns.mean()
    return float(value)


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.98])
def test_an_endless_reward_is_worth_1_over_1_minus_gamma(gamma: float) -> None:
    horizon = 1.0 / (1.0 - gamma)
    assert learned_value(gamma, 7, bootstrap=True, rounds=150) == pytest.approx(horizon, rel=1e-4)
    # the control: a time-out that counts as a death makes the world look as short as the episode
    assert learned_value(gamma, 7, bootstrap=False, rounds=150) < 0.9 * horizon


def test_a_termination_cuts_in_both_directions() -> None:
    reward, value, next_value, terminated, done = experience(5, 8, 1, 0.0)
    terminated[3] = done[3] = True
    first, _ = gae(reward, value, next_value, terminated, done, 0.95, 0.9)
    # nothing after the end reaches back, not even the value that step 3 led to
    reward2, next2 = reward.clone(), next_value.clone()
    reward2[4:] += 100.0
    next2[3:] += 100.0
    second, _ = gae(reward2, value, next2, terminated, done, 0.95, 0.9)
    assert torch.equal(first[:4], second[:4])
    assert not torch.isclose(first[4:], second[4:]).any()


def test_a_time_out_keeps_its_value_but_cuts_the_sum() -> None:
    reward, value, next_value, terminated, done = experience(6, 8, 1, 0.0)
    done[3] = True
    first, _ = gae(reward, value, next_value, terminated, done, 0.95, 0.9)
    reward[4:] += 100.0
    second, _ = gae(reward, value, next_value, terminated, done, 0.95, 0.9)
    assert torch.equal(first[:4], second[:4])
    next_value[3] += 1.0
    third, _ = gae(reward, value, next_value, terminated, done, 0.95, 0.9)
    assert torch.allclose(third[3] - second[3], torch.tensor(0.95, dtype=torch.float64))


@pytest.mark.parametrize("broken", range(5))
def test_shapes_that_would_broadcast_are_refused(broken: int) -> None:
    # (T, N, 1) against (T, N) broadcasts to (T, T, N) without a word where T == N
    data = list(experience(1, 4, 4, 0.3))
    data[broken] = data[broken].unsqueeze(-1)
    with pytest.raises(RobodistillError, match=r"\(4, 4, 1\)"):
        gae(data[0], data[1], data[2], data[3], data[4], 0.9, 0.9)
