"""The normaliser: chunks merge to one pass, frozen does not move."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robodistill_policies.normalizer import CLIP, EPSILON, Normalizer


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    offset=st.floats(-1e3, 1e3),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**31),
)
def test_chunks_merge_to_one_pass(sizes: list[int], offset: float, scale: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    chunks = [offset + scale * torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in sizes]
    normalizer, data = Normalizer(3), torch.cat(chunks)
    for chunk in chunks:
        normalizer.update(chunk)
    assert normalizer.count.item() == len(data)
    if len(data):
        torch.testing.assert_close(normalizer.mean, data.mean(0), rtol=1e-12, atol=1e-12)
        expected = data.var(0, correction=0)
        torch.testing.assert_close(normalizer.var, expected, rtol=1e-9, atol=1e-12 * offset**2)
    else:
        assert torch.equal(normalizer.var, torch.ones(3, dtype=torch.float64))


def test_moments_merge_like_data():
    """What torch.distributed reduces: moments of each rank, merged, are those of all rows."""
    ours, theirs = torch.randn(50, 3).double(), 4.0 + torch.randn(31, 3).double()
    merged, whole = Normalizer(3), Normalizer(3)
    merged.update(ours)
    merged.merge(theirs.mean(0), theirs.var(0, correction=0), 31)
    whole.update(torch.cat([ours, theirs]))
    torch.testing.assert_close(merged.state_dict(), whole.state_dict(), rtol=1e-12, atol=1e-12)


def test_time_and_world_are_both_rows():
    flat, folded, x = Normalizer(3), Normalizer(3), torch.randn(4, 6, 3)
    flat.update(x.view(24, 3))
    folded.update(x)
    assert torch.equal(flat.var, folded.var)
    assert flat.count.item() == 24


def test_it_maps_data_to_zero_mean_and_unit_variance():
    normalizer, x = Normalizer(3), 5.0 + 3.0 * torch.randn(4096, 3)
    normalizer.update(x)
    y = normalizer(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(y.std(0), torch.ones(3), rtol=0, atol=1e-3)


def test_before_any_data_it_does_nothing_but_clip():
    x = torch.tensor([[0.5, -0.25, 100.0]])
    expected = torch.tensor([[0.5, -0.25, CLIP]])
    torch.testing.assert_close(Normalizer(3)(x), expected, rtol=EPSILON, atol=0)


def test_an_element_that_never_moved_is_not_blown_up_without_bound():
    normalizer = Normalizer(2)
    normalizer.update(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    y = normalizer(torch.tensor([[1.01, 0.5]]))
    assert y[0, 0].item() == pytest.approx(1.0, abs=1e-3)


def test_frozen_does_not_move_and_is_saved():
    normalizer, x = Normalizer(3), torch.randn(8, 3)
    normalizer.update(x)
    normalizer.freeze()
    before = {key: value.clone() for key, value in normalizer.state_dict().items()}
    normalizer.update(100.0 * x)
    assert all(torch.equal(value, before[key]) for key, value in normalizer.state_dict().items())
    other = Normalizer(3)
    other.load_state_dict(before)
    other.update(x)
    assert torch.equal(other.mean, normalizer.mean)
    other.freeze(False)
    other.update(x)
    assert other.count.item() == 16


def test_the_count_still_grows_after_many_millions():
    normalizer = Normalizer(1)
    normalizer.merge(torch.zeros(1).double(), torch.ones(1).double(), 2.0**24)
    normalizer.update(torch.zeros(1, 1))
    assert normalizer.count.item() == 2**24 + 1
