"""Random numbers: uniform, normal, independent, and a function of (seed, world, stream, counter) alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robodistill_envs.random import WorldRandom

laws = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31 - 1)
counters = st.integers(0, 2**40)


def at(counter: int, n: int) -> Tensor:
    return torch.full((n,), counter, dtype=torch.int64)


@laws
@given(seeds, counters, st.integers(1, 70))
def test_uniform_is_in_the_half_open_interval(seed: int, counter: int, dim: int) -> None:
    u = WorldRandom(seed, 5).uniform("s", at(counter, 5), dim)
    assert u.shape == (5, dim)
    assert u.dtype == torch.float32
    assert bool((u >= 0.0).all() & (u < 1.0).all())


@laws
@given(seeds, counters, st.integers(1, 70))
def test_normal_is_finite(seed: int, counter: int, dim: int) -> None:
    z = WorldRandom(seed, 5).normal("s", at(counter, 5), dim)
    assert z.shape == (5, dim)
    assert torch.isfinite(z).all()
    assert z.abs().max() < math.sqrt(2.0 * math.log(2.0**24)) + 0.01


@laws
@given(seeds, counters, st.integers(0, 30))
def test_worlds_do_not_know_how_many_they_are(seed: int, counter: int, first: int) -> None:
    all_of = WorldRandom(seed, 40)
    part = WorldRandom(seed, 4, first=first)
    ids = torch.tensor([first + 1, first + 3])
    for draw in ("uniform", "normal"):
        whole = getattr(all_of, draw)("s", at(counter, 40), 7)
        assert torch.equal(getattr(part, draw)("s", at(counter, 4), 7), whole[first : first + 4])
        assert torch.equal(getattr(all_of.of(ids), draw)("s", at(counter, 2), 7), whole[ids])


@laws
@given(seeds, counters)
def test_draws_repeat_and_depend_on_everything(seed: int, counter: int) -> None:
    random = WorldRandom(seed, 2)

    def draw(of: WorldRandom = random, stream: str = "a", count: int = counter) -> list[float]:
        return of.uniform(stream, at(count, 2), 8).flatten().tolist()

    reference = draw()
    assert draw(WorldRandom(seed, 2)) == reference
    for other in (draw(WorldRandom(seed + 1, 2)), draw(stream="b"), draw(count=counter + 1)):
        assert other != reference
        assert len(set(other) & set(reference)) <= 1  # not the same numbers in another order either
    assert reference[:8] != reference[8:]


def test_a_shorter_draw_is_the_beginning_of_a_longer_one() -> None:
    random = WorldRandom(3, 2)
    assert torch.equal(random.uniform("s", at(9, 2), 12)[:, :5], random.uniform("s", at(9, 2), 5))


BIG, FEW = 4096, 256
SIGMA = 5.0
"""How many standard errors are an accident (one in 1.7 million)."""


def spread(seed: int) -> dict[str, Tensor]:
    """Return (n, 4) uniforms laid out along worlds, counters, elements, streams and seeds."""
    random = WorldRandom(seed, BIG)
    one = WorldRandom(seed, 1)
    often = one.of(torch.zeros(BIG, dtype=torch.int64))
    return {
        "worlds": random.uniform("s", at(0, BIG), 4),
        "counters": often.uniform("s", torch.arange(BIG), 4),
        "episodes": often.uniform("s", torch.arange(BIG) << 20, 4),
        "elements": one.uniform("s", at(5, 1), 4 * BIG).view(4, BIG).T,
        "streams": torch.cat([one.uniform(f"noise.{i}", at(0, 1), 4) for i in range(FEW)]),
        "seeds": torch.cat([WorldRandom(i, 1).uniform("s", at(0, 1), 4) for i in range(FEW)]),
    }


@pytest.mark.parametrize("seed", [0, 12345])
def test_moments_and_correlations(seed: int) -> None:
    for what, u in spread(seed).items():
        n = u.numel()
        assert abs(float(u.mean()) - 0.5) < SIGMA * math.sqrt(1.0 / 12.0 / n), what
        assert abs(float(u.var()) - 1.0 / 12.0) < SIGMA * math.sqrt(1.0 / 180.0 / n), what
        z = ((u - 0.5) * math.sqrt(12.0)).double()
        between = (z.T @ z / len(z)).abs()
        between.fill_diagonal_(0.0)
        assert float(between.max()) < SIGMA / math.sqrt(len(z)), what
        for lag in (1, 2, 7):  # neighbours: world and next world, tick and next tick
            assert abs(float((z[lag:] * z[:-lag]).mean())) < SIGMA / math.sqrt(n), (what, lag)


@pytest.mark.parametrize("seed", [0, 7])
def test_uniform_in_every_sixteenth(seed: int) -> None:
    for what, u in spread(seed).items():
        counts = torch.bincount((u * 16).long().flatten(), minlength=16).double()
        expected = u.numel() / 16
        chi2 = float(((counts - expected) ** 2 / expected).sum())
        assert chi2 < 15 + SIGMA * math.sqrt(30.0), (what, chi2)  # 15 degrees of freedom


def test_streams_worlds_and_counters_do_not_resemble_each_other() -> None:
    a = WorldRandom(0, BIG)
    reference = a.uniform("noise.a", at(0, BIG), 1)[:, 0].double() - 0.5
    others = {
        "stream": a.uniform("noise.b", at(0, BIG), 1),
        "counter": a.uniform("noise.a", at(1, BIG), 1),
        "episode": a.uniform("noise.a", at(1 << 20, BIG), 1),
        "seed": WorldRandom(1, BIG).uniform("noise.a", at(0, BIG), 1),
        "element": a.uniform("noise.a", at(0, BIG), 2)[:, 1:],
    }
    for what, value in others.items():
        r = float((reference * (value[:, 0].double() - 0.5)).mean()) * 12.0
        assert abs(r) < SIGMA / math.sqrt(BIG), what


def test_normal_is_normal() -> None:
    z = WorldRandom(2, BIG).normal("n", at(3, BIG), 6).double()
    n = z.numel()
    assert abs(float(z.mean())) < SIGMA / math.sqrt(n)
    assert abs(float(z.var()) - 1.0) < SIGMA * math.sqrt(2.0 / n)
    assert abs(float((z**4).mean()) - 3.0) < SIGMA * math.sqrt(96.0 / n)
    between = (z.T @ z / BIG).abs()  # the two numbers of one hash are independent too
    between.fill_diagonal_(0.0)
    assert float(between.max()) < SIGMA / math.sqrt(BIG)
    ordered = np.sort(z.numpy().ravel())
    law = 0.5 * (1.0 + torch.erf(torch.from_numpy(ordered) / math.sqrt(2.0)).numpy())
    assert np.abs(law - (np.arange(n) + 0.5) / n).max() < 2.0 / math.sqrt(n)  # Kolmogorov-Smirnov, p < 0.001
