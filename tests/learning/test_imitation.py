"""Divergences of Gaussians: closed forms, stationary points, and the traps that a deviation sets."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from robodistill import gaussian, losses
from robodistill.methods import dagger_active
from robodistill.methods.imitation import Kind, imitate_distribution
from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.policy import PolicyOutput

D = torch.float64


class Given(Minibatch):
    """A minibatch whose policy is a mean and a log deviation."""

    def __init__(self, mean: Tensor, log_std: Tensor, data: dict[str, Tensor], drivers: tuple[str, ...] = ()) -> None:
        super().__init__({}, {}, data, drivers=drivers)
        self.given = PolicyOutput(mean, log_std, torch.zeros(*mean.shape[:-1], 0))

    def output(self, name: str) -> PolicyOutput:
        return self.given


def labels(mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    return {"label_mean": mean, "label_log_std": torch.log(std).expand_as(mean)}


def draw(steps: int = 64, actions: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means and deviations of teacher and student that differ in every dimension."""
    generator = torch.Generator().manual_seed(0)
    mean_t, mean_s = (torch.randn(steps, actions, generator=generator, dtype=D) for _ in range(2))
    return mean_t, torch.tensor([0.3, 0.8, 1.4], dtype=D)[:actions], mean_s, torch.tensor([0.5, 0.6, 0.9], dtype=D)


def loss(
    kind: Kind, mean: Tensor, std: Tensor, data: dict[str, Tensor], progress: float = 0.0, **params: Any
) -> Tensor:
    batch = Given(mean, torch.log(std), data)
    batch.progress = progress
    return imitate_distribution(batch, policy="s", kind=kind, **params)


def test_both_directions_are_those_of_torch() -> None:
    mean_t, std_t, mean_s, std_s = draw()
    teacher, student = Normal(mean_t, std_t), Normal(mean_s, std_s)
    data = labels(mean_t, std_t)
    forward, reverse = kl_divergence(teacher, student).mean(), kl_divergence(student, teacher).mean()
    assert float(loss("forward_kl", mean_s, std_s, data)) == pytest.approx(float(forward), rel=1e-12)
    assert float(loss("reverse_kl", mean_s, std_s, data)) == pytest.approx(float(reverse), rel=1e-12)
    assert float(forward) != pytest.approx(float(reverse), rel=0.1)


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "balanced_kl", "taid"])
def test_gradients_are_those_of_finite_differences(kind: Kind) -> None:
    mean_t, std_t, mean_s, std_s = draw(4)
    data = labels(mean_t, std_t)
    moving = torch.cat((mean_s.flatten(), torch.log(std_s))).requires_grad_()
    split = mean_s.numel()
    # the target of taid is the student as it was: it must not move along
    fixed = moving.detach().clone()
    share = 0.4 + 0.6 * 0.25

    def value(x: Tensor) -> Tensor:
        mean, log_std = x[:split].view_as(mean_s), x[split:]
        if kind == "taid":
            old_mean, old_log_std = fixed[:split].view_as(mean_s), fixed[split:].expand_as(mean_s)
            target = gaussian.interpolate(old_mean, old_log_std, mean_t, data["label_log_std"], share)
            return gaussian.kl(*target, mean, log_std.expand_as(mean)).mean() / mean.shape[-1]
        return loss(kind, mean, torch.exp(log_std), data, 0.25)

    found = loss(kind, moving[:split].view_as(mean_s), torch.exp(moving[split:]), data, 0.25)
    (gradient,) = torch.autograd.grad(found, moving)
    for i in range(len(moving)):
        step = torch.zeros_like(fixed)
        step[i] = 1e-6
        slope = (value(fixed + step) - value(fixed - step)) / 2e-6
        assert float(gradient[i]) == pytest.approx(float(slope), abs=1e-7), i


@pytest.mark.parametrize(
    ("kind", "expected"), [("forward_kl", math.sqrt(0.3**2 + 0.7**2)), ("reverse_kl", 0.3), ("balanced_kl", 0.3)]
)
def test_the_deviation_comes_to_rest_where_the_closed_form_says(kind: Kind, expected: float) -> None:
    """Forward: sS^2 = sT^2 + D^2. Reverse: sS = sT; balanced, too: coming from above it is reverse."""
    log_std = torch.zeros(1, dtype=D, requires_grad=True)
    mean, data = torch.full((1, 1), 0.7, dtype=D), labels(torch.zeros(1, 1, dtype=D), torch.tensor([0.3], dtype=D))
    optimizer = torch.optim.SGD([log_std], lr=0.02)
    for _ in range(2000):
        optimizer.zero_grad()
        loss(kind, mean, torch.exp(log_std), data).backward()
        optimizer.step()
    assert float(log_std.detach().exp()) == pytest.approx(expected, rel=1e-2 if kind == "balanced_kl" else 1e-4)


def test_forward_kl_with_a_free_deviation_hides_the_error_of_the_mean_and_the_log_shows_it() -> None:
    data = labels(torch.zeros(1, 1, dtype=D), torch.tensor([0.1], dtype=D))
    mean = torch.full((1, 1), 1.0, dtype=D, requires_grad=True)
    hiding = torch.tensor([math.log(math.sqrt(0.1**2 + 1.0))], dtype=D, requires_grad=True)  # it took the error in

    def slope(**params: Any) -> float:
        batch = Given(mean, hiding, data)
        value = imitate_distribution(batch, policy="s", kind="forward_kl", **params)
        assert float(batch.metrics["error_sq"]) == pytest.approx(1.0)
        assert float(batch.metrics["std_policy"]) == pytest.approx(math.sqrt(1.01))
        assert float(batch.metrics["std_label"]) == pytest.approx(0.1)
        return float(torch.autograd.grad(value, mean)[0])

    assert slope() == pytest.approx(1.0 / 1.01)
    # bounded to twice the labeller's, the mean is pulled as if the student were that sure
    assert slope(at_most=2.0) == pytest.approx(1.0 / 0.2**2)


def test_a_deviation_above_its_bound_finds_the_way_back() -> None:
    data = labels(torch.zeros(1, 1, dtype=D), torch.tensor([0.1], dtype=D))
    log_std = torch.tensor([0.5], dtype=D, requires_grad=True)
    mean = torch.zeros(1, 1, dtype=D)
    value = imitate_distribution(Given(mean, log_std, data), policy="s", kind="forward_kl", at_most=2.0)
    assert float(torch.autograd.grad(value, log_std)[0]) > 0.0
    far = torch.full((1, 1), 5.0, dtype=D)  # an error that would widen it further
    value = imitate_distribution(Given(far, log_std, data), policy="s", kind="forward_kl", at_most=2.0)
    assert float(torch.autograd.grad(value, log_std)[0]) == 0.0


def test_a_detached_deviation_has_no_gradient() -> None:
    mean_t, std_t, mean_s, std_s = draw()
    for std, moves in (("free", True), ("detached", False)):
        log_std = torch.log(std_s).requires_grad_()
        batch = Given(mean_s.clone().requires_grad_(), log_std, labels(mean_t, std_t))
        value = imitate_distribution(batch, policy="s", std=std)  # pyright: ignore[reportArgumentType]
        gradient = torch.autograd.grad(value, [log_std], allow_unused=True)[0]
        assert (gradient is not None) == moves


def test_with_reverse_kl_the_dimensions_in_which_the_teacher_is_sure_weigh_most() -> None:
    std_t = torch.tensor([0.1, 1.0], dtype=D)
    mean = torch.ones(1, 2, dtype=D, requires_grad=True)
    data = labels(torch.zeros(1, 2, dtype=D), std_t)
    (gradient,) = torch.autograd.grad(loss("reverse_kl", mean, torch.ones(2, dtype=D), data), mean)
    assert float(gradient[0, 0] / gradient[0, 1]) == pytest.approx(100.0)
    (gradient,) = torch.autograd.grad(loss("forward_kl", mean, torch.ones(2, dtype=D), data), mean)
    assert float(gradient[0, 0] / gradient[0, 1]) == pytest.approx(1.0)


def test_balanced_kl_covers_where_the_student_is_the_surer_one() -> None:
    mean_t, _, mean_s, std_s = draw()
    for std_t, other in ((2.0 * std_s, "forward_kl"), (0.5 * std_s, "reverse_kl")):
        data = labels(mean_t, std_t)
        assert float(loss("balanced_kl", mean_s, std_s, data)) == float(loss(other, mean_s, std_s, data))  # pyright: ignore[reportArgumentType]


def test_between_two_gaussians_lie_those_of_mixed_natural_parameters() -> None:
    mean_t, std_t, mean_s, std_s = draw()
    log_t, log_s = torch.log(std_t).expand_as(mean_t), torch.log(std_s).expand_as(mean_s)
    for share, mean, std in ((0.0, mean_s, std_s), (1.0, mean_t, std_t)):
        between = gaussian.interpolate(mean_s, log_s, mean_t, log_t, share)
        torch.testing.assert_close(between, (mean, torch.log(std).expand_as(mean)))
    # log densities mix linearly, up to a constant
    mean, log_std = gaussian.interpolate(mean_s, log_s, mean_t, log_t, 0.3)
    points = [torch.full_like(mean, x) for x in (-1.0, 0.5)]
    both = [0.7 * gaussian.log_prob(mean_s, log_s, x) + 0.3 * gaussian.log_prob(mean_t, log_t, x) for x in points]
    found = [gaussian.log_prob(mean, log_std, x) for x in points]
    torch.testing.assert_close(found[0] - found[1], both[0] - both[1])


def test_taid_with_equal_deviations_is_only_a_learning_rate() -> None:
    mean_t, _, mean_s, std_s = draw()
    for progress, share in ((0.0, 0.4), (0.5, 0.7), (1.0, 1.0)):
        for std_t, only in ((std_s, True), (2.0 * std_s, False)):
            mean = mean_s.clone().requires_grad_()
            data = labels(mean_t, std_t)
            (slow,) = torch.autograd.grad(loss("taid", mean, std_s, data, progress), mean)
            (full,) = torch.autograd.grad(loss("forward_kl", mean, std_s, data, progress), mean)
            assert torch.allclose(slow, share * full) == (only or share == 1.0)


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "balanced_kl", "taid"])
def test_the_scale_of_a_loss_does_not_depend_on_the_number_of_actions(kind: Kind) -> None:
    mean_t, std_t, mean_s, std_s = draw()
    one = loss(kind, mean_s, std_s, labels(mean_t, std_t))
    twice = loss(kind, mean_s.repeat(1, 2), std_s.repeat(2), labels(mean_t.repeat(1, 2), std_t.repeat(2)))
    assert float(twice) == pytest.approx(float(one), rel=1e-12)
    batch = Given(mean_s.repeat(1, 2), torch.zeros(6, dtype=D), labels(mean_t.repeat(1, 2), std_t.repeat(2)))
    summed = (batch.given.mean - batch["label_mean"]).square().sum(-1).mean()  # the control: a sum does
    assert float(losses.imitate_action(batch, policy="s")) == pytest.approx(float(summed) / 6, rel=1e-12)


def test_a_label_that_would_broadcast_is_refused() -> None:
    mean_t, std_t, mean_s, std_s = draw()
    with pytest.raises(RobodistillError, match="shapes"):
        loss("forward_kl", mean_s, std_s, labels(mean_t.unsqueeze(0), std_t))


def test_only_the_steps_of_a_role_count() -> None:
    mean_t, std_t, mean_s, std_s = draw(4)
    data = labels(mean_t, std_t) | {"role": torch.tensor([0, 1, 1, 0])}
    batch = Given(mean_s, torch.log(std_s), data, ("teacher", "student"))
    found = imitate_distribution(batch, policy="s", role="student")
    rows = Given(mean_s[1:3], torch.log(std_s), {k: v[1:3] for k, v in data.items()})
    assert float(found) == pytest.approx(float(imitate_distribution(rows, policy="s")))
    assert float(found) != pytest.approx(float(imitate_distribution(batch, policy="s")), rel=1e-3)
    with pytest.raises(RobodistillError, match="did you mean 'student'"):
        imitate_distribution(batch, policy="s", role="studnet")


# -- weighted labels ---------------------------------------------------------------------------


def active(advantage: list[float], mean: list[float], roles: list[int], limit: float = 100.0) -> tuple[Tensor, Given]:
    data = labels(torch.zeros(len(mean), 1), torch.tensor([0.5]))
    data |= {"label_advantage": torch.tensor(advantage), "role": torch.tensor(roles)}
    batch = Given(torch.tensor(mean).unsqueeze(1), torch.zeros(1), data, ("student", "teacher"))
    return dagger_active.weights(batch, batch.given.mean, labeller="teacher", limit=limit), batch


def test_weights_by_hand() -> None:
    advantage, mean = [1.0, -1.0, 0.0], [1.0, 1.0, 2.0]
    found, batch = active(advantage, mean, [0, 0, 1])
    std = torch.tensor(advantage).std()
    trust = torch.cat((torch.sigmoid(-torch.tensor(advantage[:2]) / std), torch.ones(1)))
    raw = (torch.tensor(mean) / 0.5).square() * trust
    torch.testing.assert_close(found, raw / raw.mean())
    expected = (found * torch.tensor(mean).square()).mean()
    assert float(dagger_active.imitate_weighted(batch, policy="s", limit=100.0)) == pytest.approx(float(expected))


def test_a_step_that_beat_the_teachers_own_expectation_is_trusted_less() -> None:
    weights, _ = active([2.0, -2.0], [1.0, 1.0], [0, 0])
    assert float(weights[0]) < 0.5 * float(weights[1])
    same, _ = active([2.0, -2.0], [1.0, 1.0], [1, 1])  # the control: where the teacher itself drove, both count alike
    assert float(same[0]) == float(same[1])


def test_weights_have_mean_one_and_a_limit() -> None:
    weights, _ = active([0.0] * 8, [0.1] * 7 + [3.0], [0] * 8)
    assert float(weights.mean()) == pytest.approx(1.0, rel=1e-5)
    assert float(weights.max()) > 5.0
    assert float(active([0.0] * 8, [0.1] * 7 + [3.0], [0] * 8, 5.0)[0].max()) == 5.0
