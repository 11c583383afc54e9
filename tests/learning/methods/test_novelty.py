"""Bonuses for the new: by hand, in the reward, falling with sight, and for RDD as the root of a count."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robodistill.methods import novelty
from robodistill.segment import Minibatch, Segment

NAMES: dict[str, Any] = {"target": "target", "imitator": "imitator"}
NOBODY = Path("no teacher is needed")


def pair(inputs: int = 3, hidden: tuple[int, ...] = (16,)) -> dict[str, nn.Module]:
    imitator = novelty.Imitator({"privileged": inputs}, 8, hidden)
    return {"imitator": imitator, "target": novelty.Target(inputs, 8, (16,))}


def segment_of(value: Tensor) -> Segment:
    return Segment({}, torch.zeros(value.shape[:2], dtype=torch.bool), {"next_privileged": value})


def imitator_of(networks: dict[str, nn.Module]) -> novelty.Imitator:
    found = networks["imitator"]
    assert isinstance(found, novelty.Imitator)
    return found


@pytest.mark.parametrize("root", [False, True])
@torch.no_grad()
def test_the_bonus_by_hand_in_units_of_its_root_mean_square(root: bool) -> None:
    networks, rows = pair(), [torch.randn(5, 4, 3), 3.0 * torch.randn(5, 4, 3)]
    ours, target = imitator_of(networks), networks["target"]
    assert isinstance(target, novelty.Target)
    raw: list[Tensor] = []
    found = torch.zeros(5, 4)
    for value in rows:
        found = novelty.bonus(segment_of(value), networks, root=root, **NAMES)
        x = (value / math.sqrt(1.0 + 1e-4)).clamp(-5.0, 5.0)
        error = (ours.net(x) - target.net(x)).square().sum(-1)
        raw.append(error.sqrt() if root else error)
        every = torch.cat([r.flatten() for r in raw])
        torch.testing.assert_close(found, raw[-1] / every.square().mean().sqrt(), rtol=1e-4, atol=1e-5)
    assert found.shape == (5, 4)
    assert (found > 0.0).all()


def test_what_was_seen_is_worth_less_than_what_was_not() -> None:
    torch.manual_seed(1)
    networks = pair(hidden=(32, 32))
    ours = imitator_of(networks)
    optimizer = torch.optim.Adam(ours.parameters(), lr=3e-3)
    seen, unseen = torch.rand(1, 256, 3), -torch.rand(1, 256, 3)
    with torch.no_grad():
        before = novelty.bonus(segment_of(torch.cat([seen, unseen])), networks, **NAMES)
    for _ in range(200):
        loss = novelty.imitate(Minibatch(networks, {}, {"next_privileged": seen[0]}), **NAMES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        after = novelty.bonus(segment_of(torch.cat([seen, unseen])), networks, **NAMES)
    assert float(after[0].mean()) < 0.1 * float(after[1].mean())
    assert 0.3 < float(before[0].mean() / before[1].mean()) < 3.0  # the control: it was all the same at first
    assert all(p.grad is None for p in networks["target"].parameters())


def test_the_bonus_of_random_targets_counts() -> None:
    """g that holds the mean of n samples: E|g - f|^2 is tau^2 / n per dimension (the definition of the variance)."""
    networks, tau, states, width = pair(), 0.7, 500, 8
    ours = imitator_of(networks)
    for n in (1, 4, 16):
        samples = torch.stack([tau * ours.noise(torch.zeros(states, width)) for _ in range(n)])
        square = samples.mean(0).square().sum(-1)
        assert float(square.mean()) == pytest.approx(width * tau**2 / n, rel=0.1)
    assert int(ours.draws) == 21
    first, second = ours.noise(torch.zeros(4)), ours.noise(torch.zeros(4))
    assert not torch.equal(first, second)
    ours.draws.sub_(1)
    assert torch.equal(ours.noise(torch.zeros(4)), second)  # as after a resume


def test_noise_raises_the_loss_by_its_variance_and_leaves_the_gradient_unbiased() -> None:
    networks = pair()
    value = torch.randn(4000, 3)
    batch = Minibatch(networks, {}, {"next_privileged": value})
    clean = float(novelty.imitate(batch, **NAMES).detach())
    noisy = float(novelty.imitate(batch, noise=0.5, **NAMES).detach())
    assert noisy - clean == pytest.approx(8 * 0.25, rel=0.1)


@pytest.mark.parametrize("method", ["rnd", "rdd"])
def test_the_bonus_is_added_to_the_reward_and_fades(contract: ModuleType, method: str) -> None:
    rewards: dict[float, Tensor] = {}
    for progress in (0.0, 0.25, 0.75):
        trainer = contract.make(method, NOBODY)
        segment, figures = trainer.collector.collect(progress)
        rewards[progress] = segment.data["reward"]
        assert figures["shape/novelty"] > 0.0
    assert (rewards[0.0] > rewards[0.75]).all()
    whole, half = rewards[0.0] - rewards[0.75], rewards[0.25] - rewards[0.75]
    torch.testing.assert_close(half, 0.5 * whole, rtol=1e-3, atol=1e-5)
