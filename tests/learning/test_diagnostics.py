"""The diagnostics of an evaluation, each against a closed form or a case made for it, with a control that lacks it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from robodistill import gaussian
from robodistill.evaluation.diagnostics.actions import action_agreement
from robodistill.evaluation.diagnostics.failures import failures, shared_failures
from robodistill.evaluation.diagnostics.gap import irreducible_gap
from robodistill.evaluation.diagnostics.history import ablations, history_use
from robodistill.evaluation.diagnostics.samples import Samples, Watch, shuffled
from robodistill.evaluation.diagnostics.sensitivity import sensitivity
from robodistill.evaluation.drivers import TorchDriver
from robodistill.evaluation.rollout import Rollout
from robodistill_deploy.spec import InterfaceSpec
from robodistill_envs.vector import VecEnv
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.policy import Policy

WORLDS, TICKS = 24, 40
EMPTY = torch.zeros(0)


def spec(**terms: int) -> InterfaceSpec:
    listed = tuple(SimpleNamespace(name=name, dim=dim) for name, dim in terms.items())
    parts = (SimpleNamespace(names=("hip", "knee")),)
    return cast(InterfaceSpec, SimpleNamespace(terms=lambda group: listed, actions=parts, control_dt=0.02))


def linear_policy(weight: Tensor) -> Policy:
    """mean = weight x, but for the normaliser's 1e-4 in the variance."""
    policy = Policy(PolicyConfig(actor_hidden=(), init_std=0.5), {"sensors": weight.shape[1]}, weight.shape[0])
    return set_actor(policy, weight)


def set_actor(policy: Policy, weight: Tensor) -> Policy:
    (layer,) = (module for module in policy.actor if isinstance(module, nn.Linear))
    layer.weight.data.copy_(weight)
    layer.bias.data.zero_()
    return policy


def window_policy(taps: list[float]) -> Policy:
    """The action is a weighted sum of the last observations, oldest first."""
    encoder = EncoderConfig(
        "robodistill_policies.encoders.stack:StackEncoder", ("sensors",), hidden=(), out_dim=1, history=len(taps)
    )
    policy = Policy(PolicyConfig(encoder=encoder, actor_hidden=(), init_std=0.5), {"sensors": 1}, 1)
    policy.encoder.get_parameter("net.0.weight").data.copy_(torch.tensor([taps]))
    policy.encoder.get_parameter("net.0.bias").data.zero_()
    return set_actor(policy, torch.tensor([[0.0, 1.0]]))


def made(student: Tensor, teacher: Tensor, world: Tensor) -> Samples:
    return Samples(world, torch.zeros_like(world), student, teacher, None, None, EMPTY, {}, {})


# -- agreement ---------------------------------------------------------------------------------


def test_actions_by_hand() -> None:
    world = torch.arange(20).repeat(5)
    teacher = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    student = teacher + torch.tensor([0.5, -1.0])
    sigma_s, sigma_t = torch.tensor([0.25, 0.25]).log(), torch.tensor([0.5, 0.5]).log()
    found = action_agreement(made(student, teacher, world), sigma_s, sigma_t, spec(), 50)
    assert found["by_action"]["hip"]["mean"] == pytest.approx(1.0, rel=1e-5)
    assert found["by_action"]["knee"]["ci95"] == pytest.approx([2.0, 2.0], rel=1e-5)
    assert found["error_over_sigma"]["mean"] == pytest.approx(math.sqrt(2.5), rel=1e-5)
    assert found["kl_teacher_student"]["mean"] == pytest.approx(2 * (-math.log(2) + 1.5) + 1.25 / 0.125, rel=1e-5)
    assert found["kl_student_teacher"]["mean"] == pytest.approx(2 * (math.log(2) - 0.375) + 1.25 / 0.5, rel=1e-5)
    same = action_agreement(made(teacher, teacher, world), sigma_t, sigma_t, spec(), 50)
    assert same["kl_teacher_student"]["mean"] == same["error_over_sigma"]["mean"] == 0.0


def test_divergences_are_the_expectations_that_they_stand_for() -> None:
    """KL(T||S) is the mean of log p_T - log p_S over what T does: by sampling, so that a swap would show."""
    generator = torch.Generator().manual_seed(1)
    mean_t, mean_s = torch.tensor([0.3, -0.2]), torch.tensor([0.0, 0.4])
    log_t, log_s = torch.tensor([0.5, 0.8]).log(), torch.tensor([0.9, 0.4]).log()
    drawn = mean_t + log_t.exp() * torch.randn(200_000, 2, generator=generator)
    sampled = (gaussian.log_prob(mean_t, log_t, drawn) - gaussian.log_prob(mean_s, log_s, drawn)).mean()
    rows = made(mean_s.expand(4, 2), mean_t.expand(4, 2), torch.arange(4))
    found = action_agreement(rows, log_s, log_t, spec(), 10)
    assert found["kl_teacher_student"]["mean"] == pytest.approx(float(sampled), rel=0.02)
    assert abs(found["kl_student_teacher"]["mean"] - float(sampled)) > 0.2


def test_ticks_of_one_world_are_no_new_evidence() -> None:
    generator = torch.Generator().manual_seed(2)
    offset = torch.randn(20, 2, generator=generator)
    zero = torch.zeros(2)

    def width(repeats: int) -> float:
        world = torch.arange(20).repeat(repeats)
        found = action_agreement(made(offset[world], torch.zeros(20 * repeats, 2), world), zero, zero, spec(), 400)
        low, high = found["error_over_sigma"]["ci95"]
        return high - low

    assert width(50) == pytest.approx(width(1), rel=1e-6)


# -- history -----------------------------------------------------------------------------------


def roll(driver: TorchDriver, watch: Watch | None = None, worlds: int = WORLDS) -> Rollout:
    """Reward is largest for repeating the observation before the present one; observations are random."""
    env = cast(VecEnv, SimpleNamespace(num_envs=worlds))
    signal = torch.randn(TICKS, WORLDS, 1, generator=torch.Generator().manual_seed(3))[:, :worlds]
    driver.start(env)
    returns, alive = torch.zeros(worlds), torch.ones(worlds, dtype=torch.bool)
    for t in range(TICKS):
        action = driver.act(env, {"sensors": signal[t]})
        if watch is not None:
            watch(t, {"sensors": signal[t]}, alive)
        returns -= (action - signal[max(0, t - 1)]).square()[:, 0]
    return Rollout(returns, EMPTY, torch.zeros(worlds, dtype=torch.bool), {}, {}, EMPTY, {}, {}, EMPTY)


def use_of_history(policy: Policy) -> dict[str, Any]:
    driver = TorchDriver(policy)
    watch = Watch(driver, linear_policy(torch.tensor([[0.0]])))
    student = roll(driver, watch)
    samples = watch.samples()
    assert samples is not None
    rolled = lambda other: roll(other, worlds=WORLDS // 2)  # noqa: E731
    return history_use(samples, torch.tensor([0.5]).log(), student, rolled, ablations(policy), 200)


def test_a_student_that_needs_its_history_loses_without_it() -> None:
    found = use_of_history(window_policy([0.0, 0.0, 0.0, 1.0, 0.0]))
    assert found["memory"]
    assert found["worlds"] == WORLDS // 2
    for name in ("reset", "shuffled"):
        low, _ = found[name]["return_lost"]["ci95"]
        assert low > 0.5 * TICKS  # two independent observations differ by sqrt(2)
        # in the teacher's sigma of 0.5; a shuffled step is the right one a quarter of the time
        wanted = math.sqrt(2.0 * (1.0 if name == "reset" else 0.75)) / 0.5
        assert found[name]["action_change"]["mean"] == pytest.approx(wanted, rel=0.3)


def test_a_student_that_ignores_its_history_loses_nothing() -> None:
    found = use_of_history(window_policy([0.0, 0.0, 0.0, 0.0, 1.0]))
    for name in ("reset", "shuffled"):
        assert found[name]["return_lost"] == {"mean": 0.0, "ci95": [0.0, 0.0]}
        assert found[name]["action_change"]["mean"] == 0.0


def test_a_student_that_takes_the_mean_does_not_mind_the_order() -> None:
    found = use_of_history(window_policy([0.25, 0.25, 0.25, 0.25, 0.0]))
    assert found["reset"]["action_change"]["mean"] > 0.5
    # the oldest step, which leaves, stays where it is
    assert found["shuffled"]["action_change"]["mean"] < 1e-6
    assert abs(found["shuffled"]["return_lost"]["mean"]) < 1e-4


def test_no_memory_nothing_to_ablate() -> None:
    assert ablations(linear_policy(torch.ones(1, 1))) == {}
    assert use_of_history(linear_policy(torch.ones(1, 1))) == {"memory": False}


def test_shuffling_keeps_what_is_remembered() -> None:
    history = torch.arange(24.0).view(2, 6, 2)
    mixed = shuffled({"history": history, "filled": torch.ones(2, 1)}, torch.Generator().manual_seed(0))["history"]
    assert torch.equal(mixed[:, 0], history[:, 0])
    assert not torch.equal(mixed, history)
    assert torch.equal(mixed.sort(dim=1).values, history)
    assert torch.equal(mixed[..., 1] - mixed[..., 0], torch.ones(2, 6))  # steps move as a whole


# -- failures ----------------------------------------------------------------------------------


def test_failures_that_the_teacher_shares() -> None:
    student = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=torch.bool)
    teacher = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], dtype=torch.bool)
    found = shared_failures(student, teacher)
    assert [found[k] for k in ("both", "student_only", "teacher_only", "neither")] == [3, 1, 1, 5]
    share = found["teacher_fails_where_student_fails"]
    assert share["mean"] == pytest.approx(0.75)
    assert share["ci95"] == pytest.approx([0.3006, 0.9544], abs=1e-3)  # Wilson, 3 of 4
    assert found["teacher_fails_where_student_does_not"]["mean"] == pytest.approx(1 / 6)
    nobody = shared_failures(torch.zeros(5, dtype=torch.bool), teacher[:5])
    assert math.isnan(nobody["teacher_fails_where_student_fails"]["mean"])


@pytest.mark.parametrize(("student_return", "failed"), [(6.1, 0), (5.9, 1)])
def test_who_stays_nearer_to_doing_nothing_has_failed(student_return: float, failed: int) -> None:
    """Without it, tasks whose episodes never end early would have no failures."""

    def rollout(returns: list[float], fell: list[bool]) -> Rollout:
        nothing = torch.zeros(0)
        lengths, ended = torch.ones(len(returns)), torch.tensor(fell)
        return Rollout(torch.tensor(returns), lengths, ended, {}, {}, nothing, {}, {}, nothing)

    stays, falls = [False, False], [False, True]
    found = failures({
        "teacher": rollout([10.0, 10.0], stays), "zero_action": rollout([0.0, 4.0], stays),
        "student": rollout([student_return, 9.0], falls),
    })  # fmt: skip
    assert found["half_way"] == 6.0
    assert found["student_only"] == 1 + failed
    assert found["both"] == 0
    weak = failures({
        "teacher": rollout([2.0, 2.0], stays), "zero_action": rollout([9.0, 9.0], stays),
        "student": rollout([student_return, 9.0], falls),
    })  # fmt: skip
    assert weak["half_way"] is None
    assert weak["student_only"] == 1  # the one that ended early


# -- gap ---------------------------------------------------------------------------------------

ROWS = 4000


def world_of_rows(worlds: int = 100) -> Tensor:
    return torch.arange(worlds).repeat(ROWS // worlds)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("hidden", [0.3, 1.0])
def test_what_the_input_does_not_hold_is_the_gap(hidden: float) -> None:
    """The teacher adds ``hidden`` times noise that only it knows to a curved function of the student's input."""
    x = drawn(ROWS, 4, seed=0)
    curved = torch.stack((x[:, 0].tanh() + x[:, 1].abs(), x[:, 2] * 0.5), dim=1)
    residual = curved + hidden * drawn(ROWS, 2, seed=1)
    found = irreducible_gap(x, residual, world_of_rows(), 300)
    truth = hidden**2
    assert found["at_most"]["ci95"][1] >= truth
    assert found["at_most"]["mean"] == pytest.approx(truth, rel=0.35, abs=0.02)
    assert abs(found["plateau"] - truth) <= abs(found["at_most"]["mean"] - truth) + 0.05 * truth
    assert found["student"]["mean"] > found["at_most"]["mean"]
    assert found["regression"] == "random features"


def test_what_the_input_holds_is_no_gap() -> None:
    x = drawn(ROWS, 4, seed=0)
    found = irreducible_gap(x, x[:, :2] - 2.0 * x[:, 2:], world_of_rows(), 100)
    assert found["at_most"]["mean"] < 1e-3
    assert found["student"]["mean"] > 4.0


def test_a_random_teacher_is_all_gap_and_no_regression_pretends_otherwise() -> None:
    found = irreducible_gap(drawn(ROWS, 4, seed=0), drawn(ROWS, 2, seed=5), world_of_rows(), 300)
    low, high = found["at_most"]["ci95"]
    assert low < 1.0 < high
    assert found["at_most"]["mean"] == pytest.approx(found["student"]["mean"], rel=0.02)


def test_the_gap_is_judged_on_worlds_that_nobody_fitted() -> None:
    """What is constant in a world, and a code by which it can be learned by heart: no help in other worlds."""
    world = world_of_rows(50)
    code, value = drawn(50, 60, seed=6)[world], drawn(50, 1, seed=7)[world]
    assert irreducible_gap(code, value, world, 50)["at_most"]["mean"] > 0.5
    assert irreducible_gap(code, value, torch.arange(ROWS), 50)["at_most"]["mean"] < 0.05  # the control: a leak
    assert irreducible_gap(code, value, torch.zeros(ROWS, dtype=torch.int64), 50) == {}


# -- sensitivity -------------------------------------------------------------------------------


def test_the_jacobian_of_a_linear_student() -> None:
    weight = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.5, 0.0, 0.0, 0.0]])
    x = drawn(500, 4, seed=8) * torch.tensor([0.1, 5.0, 0.2, 0.3])
    kept = {"tick": torch.arange(500) % 10, "sensors": x}
    samples = Samples(EMPTY, EMPTY, EMPTY, EMPTY, None, None, EMPTY, kept, {})
    sigma = torch.tensor([0.5, 0.25])
    found = sensitivity(samples, linear_policy(weight), sigma.log(), spec(gyro=1, unused=1, joints=2))
    spread = x.std(0) / math.sqrt(1.0001)
    by_hand = {
        "gyro": float(spread[0]) * math.sqrt(((1.0 / 0.5) ** 2 + (0.5 / 0.25) ** 2) / 2),
        "unused": 0.0,
        "joints": float(spread[2]) * math.sqrt((2.0 / 0.5) ** 2 / 2),
    }
    assert found["by_term"] == pytest.approx(by_hand, rel=1e-4)
    assert len(found["time_s"]) == 10
    assert found["over_time"]["joints"] == pytest.approx([by_hand["joints"]] * 10, rel=1e-4)


def test_samples_leave_the_dead_out_and_hold_what_was_done() -> None:
    policy = window_policy([0.0, 1.0, 0.0])
    driver, teacher = TorchDriver(policy), linear_policy(torch.tensor([[3.0]]))
    watch, env = Watch(driver, teacher), cast(VecEnv, SimpleNamespace(num_envs=3))
    driver.start(env)
    acted: list[Tensor] = []
    for t in range(16):
        obs = {"sensors": drawn(3, 1, seed=t)}
        acted.append(driver.act(env, obs))
        watch(t, obs, torch.tensor([True, t < 10, True]))
    samples = watch.samples()
    assert samples is not None
    assert samples.world.tolist() == [0, 1, 2, 0, 2]
    assert samples.tick.tolist() == [5, 5, 5, 15, 15]
    assert torch.allclose(samples.student, torch.cat((acted[5], acted[15][[0, 2]])))
    assert torch.allclose(samples.teacher[:3], 3.0 * drawn(3, 1, seed=5) / math.sqrt(1.0001), rtol=1e-4)
    assert Watch(driver, teacher).samples() is None
