"""Losses with numbers worked by hand, and minibatches that leave nobody out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from robodistill import losses
from robodistill.segment import Minibatch, Segment, by_step, by_world
from robodistill.settings import LossConfig, PhaseConfig
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.encoders.base import State
from robodistill_policies.policy import Obs, Policy, PolicyOutput


class Fixed(Minibatch):
    """A minibatch whose networks' outputs are given."""

    def __init__(
        self,
        data: dict[str, Tensor],
        mean: Tensor | None = None,
        log_std: Tensor | None = None,
        latent: Tensor | None = None,
        predicted: Tensor | None = None,
    ) -> None:
        super().__init__({}, {}, data)
        mean = torch.zeros(1, 1) if mean is None else mean
        latent = torch.zeros(*mean.shape[:-1], 0) if latent is None else latent
        self._fixed = PolicyOutput(mean, torch.zeros(mean.shape[-1]) if log_std is None else log_std, latent)
        self._predicted = torch.zeros(1) if predicted is None else predicted

    def output(self, name: str) -> PolicyOutput:
        return self._fixed

    def value(self, name: str) -> Tensor:
        return self._predicted


def ppo_batch(ratio: list[float], advantage: list[float]) -> tuple[Fixed, Tensor]:
    """Samples of a one-dimensional unit Gaussian at 0 whose density the new policy has changed by ``ratio``."""
    count = len(ratio)
    mean = torch.zeros(count, 1, requires_grad=True)
    action = torch.full((count, 1), 0.5)
    now = Normal(0.0, 1.0).log_prob(action)[:, 0]
    data = {
        "action": action, "log_prob": now - torch.tensor(ratio).log(), "advantage": torch.tensor(advantage),
        "mean": torch.zeros(count, 1), "log_std": torch.zeros(count, 1),
    }  # fmt: skip
    return Fixed(data, mean=mean), mean


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "moves"),
    [
        (1.0, 2.0, 2.0, True),
        (1.1, 2.0, 2.2, True),
        (1.5, 2.0, 2.4, False),  # better and already more likely: no more pull
        (0.5, 2.0, 1.0, True),  # better but less likely: pulled back
        (1.5, -2.0, -3.0, True),  # worse but more likely: pushed away
        (0.5, -2.0, -1.6, False),  # worse and already less likely: no more push
    ],
)
def test_ppo_clips_what_would_go_further(ratio: float, advantage: float, objective: float, moves: bool) -> None:
    batch, mean = ppo_batch([ratio], [advantage])
    loss = losses.surrogate(batch, policy="any", clip=0.2)
    assert loss.item() == pytest.approx(-objective, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, mean)
    assert bool(gradient.abs().max() > 0.0) == moves
    if moves:  # the action lies above the mean: a good one pulls the mean up
        assert float(-gradient) * advantage > 0.0


def test_ppo_leaves_its_figures() -> None:
    batch, _ = ppo_batch([1.0, 1.3, 0.7, 1.1], [1.0, 1.0, 1.0, 1.0])
    losses.surrogate(batch, policy="any", clip=0.2)
    assert float(batch.metrics["clipped"]) == pytest.approx(0.5)
    assert float(batch.metrics["kl"]) == pytest.approx(0.0, abs=1e-7)
    batch.data["mean"] += 1.0  # the old policy stood one sigma away: half a nat
    losses.surrogate(batch, policy="any")
    assert float(batch.metrics["kl"]) == pytest.approx(0.5)
    batch.data["mirrored"] = torch.tensor([False, True, True, True])
    batch.data["mean"][1:] += 5.0  # reflected samples are no step of ours
    losses.surrogate(batch, policy="any")
    assert float(batch.metrics["kl"]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (2.0, 1.0),  # unclipped: (2 - 3)^2; clipped at 1.2: (1.2 - 3)^2 = 3.24 is larger
        (0.9, 4.41),  # away from the target, within the clip
        (5.0, 4.0),  # past the target: (5 - 3)^2 against (1.2 - 3)^2
    ],
)
def test_value_loss_by_hand(predicted: float, expected: float) -> None:
    batch = Fixed({"value": torch.tensor([1.0]), "return": torch.tensor([3.0])}, predicted=torch.tensor([predicted]))
    assert float(losses.value(batch, critic="any")) == pytest.approx(expected, rel=1e-5)
    clipped = float(losses.value(batch, critic="any", clip=0.2))
    limited = 1.0 + max(-0.2, min(0.2, predicted - 1.0))
    assert clipped == pytest.approx(max(expected, (limited - 3.0) ** 2), rel=1e-5)


def test_value_clip_stops_the_move_but_not_the_way_back() -> None:
    for start, moves in ((2.0, False), (5.0, True)):
        predicted = torch.tensor([start], requires_grad=True)
        batch = Fixed({"value": torch.tensor([1.0]), "return": torch.tensor([3.0])}, predicted=predicted)
        (gradient,) = torch.autograd.grad(losses.value(batch, critic="any", clip=0.2), predicted)
        assert bool(gradient.abs() > 0) == moves


def test_entropy_and_bounds_by_hand() -> None:
    log_std = torch.tensor([0.0, math.log(2.0)])
    batch = Fixed({}, mean=torch.tensor([[1.5, 0.0], [-3.0, 2.5]]), log_std=log_std)
    expected = 2 * 0.5 * (1.0 + math.log(2.0 * math.pi)) + math.log(2.0)
    assert float(losses.neg_entropy(batch, policy="any")) == pytest.approx(-expected, rel=1e-6)
    # excess over 2: none, none, 1 and 0.5; summed over actions, mean over steps
    assert float(losses.action_bounds(batch, policy="any", limit=2.0)) == pytest.approx((1.0 + 0.25) / 2)


def test_imitation_kinds_by_hand() -> None:
    label = torch.zeros(2, 2)
    mean = torch.tensor([[3.0, 4.0], [0.5, 0.0]])
    batch = Fixed({"label_mean": label, "label_log_std": torch.full((2, 2), math.log(0.5))}, mean=mean)
    assert float(losses.imitate_action(batch, policy="s", kind="mse")) == pytest.approx((9 + 16 + 0.25) / 4)
    assert float(losses.imitate_action(batch, policy="s", kind="huber")) == pytest.approx((2.5 + 3.5 + 0.125) / 4)
    assert float(losses.imitate_action(batch, policy="s", kind="l2")) == pytest.approx((5.0 + 0.5) / 2)
    # the same error in the teacher's own sigmas, 0.5 here
    assert float(batch.metrics["action_error_over_sigma"]) == pytest.approx(2.0 * math.sqrt(25.25 / 4), rel=1e-6)


def test_latent_loss_leaves_out_reflected_samples() -> None:
    latent = torch.tensor([[1.0, 2.0], [7.0, 7.0]])
    batch = Fixed({"label_latent": torch.zeros(2, 2)}, mean=torch.zeros(2, 1), latent=latent)
    assert float(losses.imitate_latent(batch, policy="s")) == pytest.approx((1 + 4 + 49 + 49) / 4)
    batch.data["mirrored"] = torch.tensor([False, True])
    assert float(losses.imitate_latent(batch, policy="s")) == pytest.approx((1 + 4) / 2)


@pytest.mark.parametrize("name", ["advantage", "return", "label_mean", "label_latent"])
def test_what_would_broadcast_is_refused(name: str) -> None:
    batch, _ = ppo_batch([1.0, 1.0], [1.0, 1.0])
    batch.data.update({"return": torch.zeros(2), "label_mean": torch.zeros(2, 1), "label_log_std": torch.zeros(2, 1)})
    batch.data["label_latent"] = torch.zeros(2, 3)
    full = Fixed(batch.data, mean=torch.zeros(2, 1), latent=torch.zeros(2, 3), predicted=torch.zeros(2))
    calls: dict[str, Callable[[], Tensor]] = {
        "advantage": lambda: losses.surrogate(full, policy="p"),
        "return": lambda: losses.value(full, critic="c"),
        "label_mean": lambda: losses.imitate_action(full, policy="p"),
        "label_latent": lambda: losses.imitate_latent(full, policy="p"),
    }
    assert torch.isfinite(calls[name]())
    full.data[name] = full.data[name].unsqueeze(0 if name.startswith("label") else -1)
    with pytest.raises(RobodistillError, match="shapes"):
        calls[name]()


def test_an_unknown_tensor_is_named() -> None:
    with pytest.raises(RobodistillError, match="label_mean"):
        Fixed({"label_mean": torch.zeros(1)})["label_maen"]


def make_segment(steps: int, worlds: int) -> Segment:
    """A segment in which every tensor says which step and which world it is of."""
    step, world = torch.meshgrid(torch.arange(steps), torch.arange(worlds), indexing="ij")
    number = (step * worlds + world).float()
    data = {"id": number, "pair": torch.stack((step, world), -1)}
    state = {"h": torch.arange(worlds).float().unsqueeze(-1)}
    return Segment({"sensors": number.unsqueeze(-1)}, (step + world) % 3 == 0, data, {"net": state})


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000), st.booleans())
def test_minibatches_hold_each_step_once(steps: int, worlds: int, count: int, seed: int, whole: bool) -> None:
    segment = make_segment(steps, worlds)
    size = worlds if whole else steps * worlds
    count = min(count, size)
    parts = list((by_world if whole else by_step)(segment, {}, count, torch.Generator().manual_seed(seed)))
    assert len(parts) == count
    ids = torch.cat([part["id"].flatten() for part in parts])
    assert torch.equal(ids.sort().values, torch.arange(steps * worlds).float())
    assert sum(part["id"].numel() for part in parts) == steps * worlds  # no step is left over
    lengths = [part["id"].numel() for part in parts]
    assert max(lengths) - min(lengths) <= (steps if whole else 1)
    for part in parts:
        assert torch.equal(part.obs["sensors"][..., 0], part["id"])
        assert torch.equal(part["pair"][..., 0] * worlds + part["pair"][..., 1], part["id"].long())


class Recorder(Policy):
    """Remembers what it was given to unroll."""

    given: tuple[Tensor, Tensor, Tensor]

    def unroll(self, obs: Obs, state: State, resets: Tensor) -> tuple[PolicyOutput, State]:
        self.given = (obs["sensors"], state["h"], resets)
        return PolicyOutput(torch.zeros(1), torch.zeros(1), torch.zeros(0)), state


def test_worlds_are_never_cut_in_time_and_take_state_and_resets_along() -> None:
    segment = make_segment(5, 7)
    net = Recorder(PolicyConfig(actor_hidden=()), {"sensors": 1}, 1)
    for part in by_world(segment, {"net": net}, 3, torch.Generator().manual_seed(1)):
        worlds = part["pair"][0, :, 1]
        assert torch.equal(part["pair"][..., 0], torch.arange(5).unsqueeze(1).expand(5, len(worlds)))
        assert torch.equal(part["pair"][..., 1], worlds.expand(5, len(worlds)))
        part.output("net")
        obs, state, resets = net.given
        assert torch.equal(obs, segment.obs["sensors"][:, worlds])
        assert torch.equal(state[:, 0].long(), worlds)
        assert torch.equal(resets, segment.resets[:, worlds])


def test_a_policy_with_memory_cannot_be_split_by_step() -> None:
    encoder = EncoderConfig("robodistill_policies.encoders.gru:GRUEncoder", ("sensors",), (4,), 2)
    net = Policy(PolicyConfig(encoder=encoder, actor_hidden=()), {"sensors": 1}, 1)
    part = next(by_step(make_segment(2, 3), {"net": net}, 1, torch.Generator()))
    with pytest.raises(RobodistillError, match=r"'net' has memory.*split: world"):
        part.output("net")
    # split by world it must have been stepped while the segment was collected
    segment = make_segment(2, 3)
    segment.states = {}
    part = next(by_world(segment, {"net": net}, 1, torch.Generator()))
    with pytest.raises(RobodistillError, match=r"'net' has memory.*collect\.drivers"):
        part.output("net")


def test_a_policy_without_memory_may_be_split_either_way() -> None:
    net = Policy(PolicyConfig(actor_hidden=()), {"sensors": 1}, 2)
    segment = make_segment(4, 3)
    for split, shape in ((by_step, (12, 2)), (by_world, (4, 3, 2))):
        assert next(split(segment, {"net": net}, 1, torch.Generator())).output("net").mean.shape == shape


def test_an_output_without_gradients_serves_no_loss_that_needs_them() -> None:
    """Whichever loss asks first; what has gradients serves both."""
    policy = Policy(PolicyConfig(actor_hidden=(4,)), {"sensors": 1}, 1)
    batch = Minibatch({"student": policy}, {"sensors": torch.ones(3, 1)}, {})
    with torch.no_grad():
        first = batch.output("student")
    second = batch.output("student")
    assert (first.mean.requires_grad, second.mean.requires_grad) == (False, True)
    with torch.no_grad():
        assert batch.output("student") is second


def test_more_minibatches_than_there_is_to_divide_are_refused() -> None:
    segment = make_segment(2, 3)
    with pytest.raises(RobodistillError, match="minibatches"):
        list(by_world(segment, {}, 4, torch.Generator()))
    with pytest.raises(RobodistillError, match="minibatches"):
        list(by_step(segment, {}, 7, torch.Generator()))


def test_minibatches_are_drawn_anew() -> None:
    segment, generator = make_segment(6, 6), torch.Generator().manual_seed(0)
    first, second = (torch.cat([p["id"] for p in by_step(segment, {}, 2, generator)]) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("mirror", "split"), [(1.0, "step"), (-0.1, "step"), (0.5, "world")])
def test_reflection_out_of_range_or_of_whole_worlds_is_refused(mirror: float, split: str) -> None:
    with pytest.raises(RobodistillError, match="mirror"):
        PhaseConfig({"value": LossConfig("robodistill.losses:value")}, ("critic",), 1e-3, mirror=mirror, split=split)  # pyright: ignore[reportArgumentType]


def test_each_step_is_seen_once_as_it_was_or_in_reflection() -> None:
    """The second half of a doubled segment stands in for the first, step by step."""
    segment = make_segment(4, 3)
    twice = Segment(
        {k: torch.cat((v, -v)) for k, v in segment.obs.items()},
        torch.cat((segment.resets, segment.resets)),
        {k: torch.cat((v, v)) for k, v in segment.data.items()}
        | {"mirrored": torch.arange(8).unsqueeze(1).expand(8, 3) >= 4},
    )
    generator = torch.Generator().manual_seed(0)
    parts = list(by_step(twice, {}, 3, generator, 0.5))
    ids, mirrored = (torch.cat([p[name] for p in parts]) for name in ("id", "mirrored"))
    assert sorted(ids.tolist()) == sorted(segment.data["id"].flatten().tolist())
    assert 2 <= int(mirrored.sum()) <= 10
    original = segment.obs["sensors"].flatten(0, 1)[ids.long()]
    seen = torch.cat([p.obs["sensors"] for p in parts])
    assert torch.equal(seen, torch.where(mirrored.unsqueeze(1), -original, original))
