"""Laws that every encoder kind keeps: step and unroll agree, worlds and episodes do not touch each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robodistill_policies.config import EncoderConfig
from robodistill_policies.encoders.base import Encoder, State, reset_state

STEPS, WORLDS, DIM = 30, 7, 5
Make = Callable[[EncoderConfig], Encoder]


def by_steps(encoder: Encoder, x: Tensor, state: State, resets: Tensor) -> tuple[Tensor, State]:
    """The definition of unroll."""
    return Encoder.unroll(encoder, x, state, resets)


def lived_in(encoder: Encoder, worlds: int = WORLDS) -> State:
    """A state in the middle of episodes, with one world that has not begun."""
    state = encoder.initial_state(worlds)
    for _ in range(3):
        _, state = encoder.step(torch.randn(worlds, DIM, dtype=torch.float64), state)
    return {key: s.detach() for key, s in reset_state(state, torch.arange(worlds) == 2).items()}


def segment(seed: int = 0, rate: float = 0.1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(STEPS, WORLDS, DIM, generator=generator, dtype=torch.float64)
    return x, torch.rand(STEPS, WORLDS, generator=generator) < rate


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.6, 1.0])
def test_unroll_is_repeated_step(kind: EncoderConfig, make_encoder: Make, rate: float):
    encoder = make_encoder(kind)
    x, resets = segment(rate=rate)
    state = lived_in(encoder)
    features, last = encoder.unroll(x, state, resets)
    expected, expected_last = by_steps(encoder, x, state, resets)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(last, expected_last, rtol=0, atol=1e-10)
    assert features.shape == (STEPS, WORLDS, encoder.out_dim)


def test_unroll_is_repeated_step_in_float32(kind: EncoderConfig, make_encoder: Make):
    encoder = make_encoder(kind).float()
    x, resets = segment()
    state = encoder.initial_state(WORLDS)
    features, last = encoder.unroll(x.float(), state, resets)
    expected, expected_last = by_steps(encoder, x.float(), state, resets)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(last, expected_last, rtol=0, atol=1e-5)


def test_unroll_has_the_gradients_of_repeated_step(kind: EncoderConfig, make_encoder: Make):
    encoder = make_encoder(kind)
    x, resets = segment()
    state = lived_in(encoder)
    weight = torch.randn(STEPS, WORLDS, encoder.out_dim, dtype=torch.float64)
    parameters = list(encoder.parameters())
    if not parameters:
        assert encoder.out_dim == 0
        return
    found = torch.autograd.grad((encoder.unroll(x, state, resets)[0] * weight).sum(), parameters)
    expected = torch.autograd.grad((by_steps(encoder, x, state, resets)[0] * weight).sum(), parameters)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_two_segments_are_one(kind: EncoderConfig, make_encoder: Make):
    encoder = make_encoder(kind)
    x, resets = segment()
    first, middle = encoder.unroll(x[:11], lived_in(encoder), resets[:11])
    torch.manual_seed(0)
    encoder = make_encoder(kind)
    whole, _ = encoder.unroll(x, lived_in(encoder), resets)
    second, _ = encoder.unroll(x[11:], middle, resets[11:])
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_passes_a_reset(kind: EncoderConfig, make_encoder: Make, dtype: torch.dtype):
    """Whatever happened before a reset, NaN included, the outputs after it are the same to the bit."""
    encoder = make_encoder(kind).to(dtype)
    x, resets = (part.to(dtype) if part.is_floating_point() else part for part in segment())
    resets[12, 3] = True
    other = x.clone()
    other[:12, 3] = float("nan")
    state = {key: s.to(dtype) for key, s in lived_in(encoder.double()).items()}
    encoder.to(dtype)
    spoilt = {key: s.index_fill(0, torch.tensor([3]), float("nan")) for key, s in state.items()}
    found, found_last = encoder.unroll(other, spoilt, resets)
    expected, expected_last = encoder.unroll(x, state, resets)
    assert torch.equal(found[12:], expected[12:])
    untouched = [n for n in range(WORLDS) if n != 3]
    assert torch.equal(found[:, untouched], expected[:, untouched])
    assert all(torch.equal(found_last[key], expected_last[key]) for key in expected_last)


def test_after_a_reset_is_a_fresh_start(kind: EncoderConfig, make_encoder: Make):
    encoder = make_encoder(kind)
    x, resets = segment(rate=0.0)
    resets[12] = True
    fresh = torch.where(torch.arange(STEPS).view(-1, 1, 1) < 12, 0.0, x)
    after, _ = encoder.unroll(x, lived_in(encoder), resets)
    started, _ = encoder.unroll(fresh, encoder.initial_state(WORLDS), resets)
    assert torch.equal(after[12:], started[12:])
    alone, _ = encoder.unroll(x[12:], encoder.initial_state(WORLDS), resets[12:])
    torch.testing.assert_close(after[12:], alone, rtol=0, atol=1e-12)
    state, begun = lived_in(encoder), encoder.initial_state(WORLDS)
    stepped, _ = encoder.step(x[0], reset_state(state, torch.ones(WORLDS, dtype=torch.bool)))
    assert torch.equal(stepped, encoder.step(x[0], begun)[0])


def test_reset_state_is_the_initial_state_where_asked_even_after_nan(kind: EncoderConfig, make_encoder: Make):
    encoder = make_encoder(kind)
    state = {key: torch.full_like(s, float("nan")) for key, s in encoder.initial_state(3).items()}
    for s in reset_state(state, torch.tensor([True, False, True])).values():
        assert bool((s[[0, 2]] == 0).all())
        assert bool(s[1].isnan().all())


def test_worlds_do_not_touch_each_other(kind: EncoderConfig, make_encoder: Make):
    encoder = make_encoder(kind)
    x, resets = segment()
    other = x.clone()
    other[:, 4] += 1.0
    state = lived_in(encoder)
    changed = {key: s.clone() for key, s in state.items()}
    for s in changed.values():
        s[4] += 0.5
    untouched = [n for n in range(WORLDS) if n != 4]
    found, expected = encoder.unroll(other, changed, resets)[0], encoder.unroll(x, state, resets)[0]
    assert torch.equal(found[:, untouched], expected[:, untouched])
    stepped, expected = encoder.step(other[0], changed)[0], encoder.step(x[0], state)[0]
    assert torch.equal(stepped[untouched], expected[untouched])
    if encoder.out_dim:
        assert not torch.equal(stepped[4], expected[4])


def test_the_initial_state_is_all_zeros_of_the_stated_shapes(kind: EncoderConfig, make_encoder: Make):
    encoder = make_encoder(kind)
    state = encoder.initial_state(WORLDS)
    assert {key: tuple(s.shape[1:]) for key, s in state.items()} == encoder.state_shapes()
    assert all(bool((s == 0).all()) and s.dtype == torch.float64 for s in state.values())
    features, after = encoder.step(segment()[0][0], state)
    assert bool(features.isfinite().all())
    assert {key: s.shape for key, s in after.items()} == {key: s.shape for key, s in state.items()}


def test_the_order_of_history_matters_where_there_is_history(kind: EncoderConfig, make_encoder: Make):
    """Reversing what came before the present observation changes the output, except without a memory."""
    encoder = make_encoder(kind)
    x, resets = segment(rate=0.0)
    reversed_past = torch.cat([x[:-1].flip(0), x[-1:]])
    start = encoder.initial_state(WORLDS)
    expected = encoder.unroll(x, start, resets)[0][-1]
    found = encoder.unroll(reversed_past, start, resets)[0][-1]
    if "gru" in encoder.state_shapes() or kind.history > 1:
        assert (found - expected).abs().amax(dim=-1).min() > 1e-4
    else:
        assert torch.equal(found, expected)


def test_a_window_reaches_back_exactly_its_length(window_kind: EncoderConfig, make_encoder: Make):
    encoder = make_encoder(window_kind)
    x, resets = segment(rate=0.0)
    expected = encoder.unroll(x, encoder.initial_state(WORLDS), resets)[0][-1]
    for age in range(window_kind.history + 3):
        other = x.clone()
        other[-1 - age] += 1.0
        found = encoder.unroll(other, encoder.initial_state(WORLDS), resets)[0][-1]
        assert torch.equal(found, expected) == (age >= window_kind.history)


def test_a_window_is_oldest_first_and_filled_with_the_first_observation(
    window_kind: EncoderConfig, make_encoder: Make
):
    encoder = make_encoder(window_kind)
    length = window_kind.history
    state = encoder.initial_state(1)
    for t in range(3):
        _, state = encoder.step(torch.full((1, DIM), 10.0 + t, dtype=torch.float64), state)
    expected = [10.0] * (length - 3) + [10.0, 11.0, 12.0]
    assert state["history"][0, :, 0].tolist() == expected[-length:]
    assert state["filled"].tolist() == [[1.0]]
