"""The parts that methods are put together from: roles, shaping, hooks, windows, next observations, labels, memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from robodistill import losses
from robodistill.segment import Minibatch, Segment, by_step, by_world
from robodistill.settings import (
    CollectConfig,
    HookConfig,
    LossConfig,
    MethodConfig,
    PhaseConfig,
    ShapeConfig,
    TrainConfig,
)
from robodistill.trainer import Trainer
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Obs, Policy

HERE = __name__
GRU = EncoderConfig("robodistill_policies.encoders.gru:GRUEncoder", ("sensors",), (6,), 3)


class Reader(Critic):
    """Values a state by its one observation."""

    def value(self, obs: Obs) -> Tensor:
        return obs["sensors"][..., 0]


def counting(toys: ModuleType, worlds: int = 4, deadly: bool = False) -> Any:
    """x counts 100, 101, 102, then the episode ends at 103 and begins again at 100; each step pays x."""

    def move(state: dict[str, Tensor], action: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        return {"x": state["x"] + 1.0}, state["x"][:, 0].clone(), torch.zeros(len(action), dtype=torch.bool)

    def begin(n: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"x": torch.full((n, 1), 100.0)}

    return toys.Toy(worlds, 3, begin, lambda s: {"sensors": s["x"]}, move, time_outs_kill=deadly)


def trainer_of(
    toy: Any, networks: dict[str, nn.Module], collect: CollectConfig, losses: dict[str, LossConfig],
    trained: tuple[str, ...], shape: dict[str, ShapeConfig] | None = None, iterations: int = 10, **phase: Any,
) -> Trainer:  # fmt: skip
    method = MethodConfig(
        "toy", collect, {"phase": PhaseConfig(losses, trained, 1e-3, **{"minibatches": 1, **phase})}, shape=shape or {}
    )
    config = TrainConfig(method, PolicyConfig(), iterations * collect.num_envs * collect.steps)
    return Trainer(config, cast(VecEnv, toy), nn.ModuleDict(networks), 0, saved="student")


def flat(actor: tuple[int, ...] = (), **policy: Any) -> Policy:
    return Policy(PolicyConfig(actor_hidden=actor, **policy), {"sensors": 1}, 1)


VALUE = {"v": LossConfig("robodistill.losses:value", params={"critic": "critic"})}

# -- roles -------------------------------------------------------------------------------------


def driven(toys: ModuleType, deterministic: tuple[str, ...] = ()) -> tuple[Trainer, Segment]:
    networks: dict[str, nn.Module] = {"teacher": flat((8,), init_std=0.3), "student": flat((8,), init_std=0.5)}
    for policy in networks.values():
        cast(nn.Linear, cast(Policy, policy).actor[-1]).weight.data.mul_(30.0)
    shares = {"teacher": (0.5, 0.5), "student": (0.5, 0.5)}
    collect = CollectConfig(shares, 64, 12, deterministic=deterministic, critic="critic")
    trainer = trainer_of(counting(toys, 64), {**networks, "critic": Reader({"sensors": 1}, ())}, collect, VALUE,
                         ("teacher",))  # fmt: skip
    return trainer, trainer.collector.collect(0.0)[0]


def test_a_minibatch_knows_who_drove(toys: ModuleType) -> None:
    trainer, segment = driven(toys)
    networks = dict(trainer.networks.items())
    for split in (by_step, by_world):
        for batch in split(segment, networks, 2, torch.Generator().manual_seed(0)):
            teacher, student = batch.role_mask("teacher"), batch.role_mask("student")
            assert torch.equal(teacher, batch["role"] == 0)
            assert bool((teacher ^ student).all())
            assert bool(teacher.any())
            assert bool(student.any())
            values = batch["reward"]
            assert float(batch.mean(values, "student")) == pytest.approx(float(values[student].mean()))
            assert float(batch.mean(values, "student", ~student[..., :])) == pytest.approx(
                float(values[student].mean())
            )
            assert float(batch.mean(values, "student", student)) == 0.0


def test_the_surrogate_is_of_the_policy_against_who_drove(toys: ModuleType) -> None:
    """The student's ratio on the teacher's steps is pi_S / pi_T, and on its own 1 before the first step."""
    trainer, segment = driven(toys)
    networks = dict(trainer.networks.items())
    batch = next(by_step(segment, networks, 1, torch.Generator()))
    student, teacher = (cast(Policy, networks[n]).step(batch.obs, {})[0] for n in ("student", "teacher"))

    def density(output: Any) -> Tensor:
        return torch.distributions.Normal(output.mean, output.log_std.exp()).log_prob(batch["action"]).sum(-1)

    ratio = torch.exp(density(student) - density(teacher))
    objective = torch.minimum(ratio * batch["advantage"], ratio.clamp(0.8, 1.2) * batch["advantage"]).detach()
    mine = batch.role_mask("teacher")
    found = losses.surrogate(batch, policy="student", role="teacher", name="off").detach()
    assert float(found) == pytest.approx(-float(objective[mine].mean()), rel=1e-4)
    assert float(batch.metrics["clipped_off"]) == pytest.approx(float(((ratio - 1).abs() > 0.2)[mine].float().mean()))
    assert float(batch.metrics["clipped_off"]) > 0.2
    assert "kl" not in batch.metrics  # nothing to steer a learning rate by: the teacher's noise is no step of ours
    own = losses.surrogate(batch, policy="student", role="student").detach()
    assert float(own) == pytest.approx(-float(batch["advantage"][~mine].mean()), rel=1e-4)
    assert float(batch.metrics["kl"]) == pytest.approx(0.0, abs=1e-5)


def test_values_of_one_role(toys: ModuleType) -> None:
    trainer, segment = driven(toys)
    batch = next(by_step(segment, dict(trainer.networks.items()), 1, torch.Generator()))
    error = (batch.value("critic") - batch["return"]).square()
    mask = batch.role_mask("student")
    assert float(losses.value(batch, critic="critic", role="student")) == pytest.approx(float(error[mask].mean()))
    assert float(error[mask].mean()) != pytest.approx(float(error.mean()), rel=1e-6)


def test_actions_spread_by_the_deviation_not_by_the_variance(toys: ModuleType) -> None:
    _, segment = driven(toys)
    z = (segment.data["action"] - segment.data["mean"]) * torch.exp(-segment.data["log_std"])
    for role, std in ((0, 0.3), (1, 0.5)):
        mine = segment.data["role"] == role
        assert float(z[mine].std()) == pytest.approx(1.0, abs=0.15)
        noise = (segment.data["action"] - segment.data["mean"])[mine]
        assert float(noise.std()) == pytest.approx(std, rel=0.15)
        assert float(noise.std()) != pytest.approx(std**2, rel=0.15)


# -- shaping -----------------------------------------------------------------------------------


def tick(segment: Segment, networks: Mapping[str, nn.Module], *, scale: float = 1.0) -> Tensor:
    """A bonus of x - 100, the step of the episode."""
    assert "critic" in networks
    return scale * (segment.obs["sensors"][..., 0] - 100.0)


def two_wide(segment: Segment, networks: Mapping[str, nn.Module]) -> Tensor:
    return torch.zeros(*segment.shape, 1)


def shaped(toys: ModuleType, shape: dict[str, ShapeConfig], progress: float = 0.0) -> tuple[Segment, dict[str, float]]:
    collect = CollectConfig({"student": (1.0, 1.0)}, 4, 6, critic="critic", lam=1.0, gamma=1.0)
    networks: dict[str, nn.Module] = {"student": flat(), "critic": Reader({"sensors": 1}, ())}
    trainer = trainer_of(counting(toys), networks, collect, VALUE, ("student",), shape)
    return trainer.collector.collect(progress)


def test_shaping_is_added_before_advantages_are_estimated_and_is_logged(toys: ModuleType) -> None:
    plain, _ = shaped(toys, {})
    bonus = plain.obs["sensors"][..., 0] - 100.0
    for weight in (0.5, -2.0):
        found, figures = shaped(toys, {"tick": ShapeConfig(f"{HERE}:tick", weight, params={"scale": 3.0})})
        torch.testing.assert_close(found.data["reward"], plain.data["reward"] + weight * 3.0 * bonus)
        assert figures["shape/tick"] == pytest.approx(3.0 * float(bonus.mean()))
        assert figures["collect/reward"] == pytest.approx(float(plain.data["reward"].mean()))  # the task's own
        # the last step of the segment has no other after it: its advantage moves by its own bonus
        moved = found.data["advantage"][-1] - plain.data["advantage"][-1]
        torch.testing.assert_close(moved, weight * 3.0 * bonus[-1])
    penalty, _ = shaped(toys, {"tick": ShapeConfig(f"{HERE}:tick", -1.0)})
    later = bonus > 0
    assert bool((penalty.data["reward"] < plain.data["reward"])[later].all())  # the sign that SITT's code has not


def test_the_weight_of_shaping_moves_within_its_window(toys: ModuleType) -> None:
    config = ShapeConfig(f"{HERE}:tick", 0.0, -1.0, begin=0.2, end=0.6)
    plain, _ = shaped(toys, {})
    for progress, weight in ((0.0, 0.0), (0.2, 0.0), (0.4, -0.5), (0.6, -1.0), (1.0, -1.0)):
        assert config.weight_at(progress) == pytest.approx(weight)
        found, _ = shaped(toys, {"tick": config}, progress)
        bonus = plain.obs["sensors"][..., 0] - 100.0
        torch.testing.assert_close(found.data["reward"] - plain.data["reward"], weight * bonus)


def test_a_bonus_that_would_broadcast_is_refused(toys: ModuleType) -> None:
    with pytest.raises(RobodistillError, match=r"method\.shape\.wide.*\(T, N\)"):
        shaped(toys, {"wide": ShapeConfig(f"{HERE}:two_wide")})
    with pytest.raises(RobodistillError, match=r"method\.shape\.tick.*did you mean 'scale'"):
        shaped(toys, {"tick": ShapeConfig(f"{HERE}:tick", params={"scal": 1.0})})


# -- windows and hooks -------------------------------------------------------------------------


@pytest.mark.parametrize(("begin", "end"), [(0.5, 0.5), (0.6, 0.2), (-0.1, 1.0), (0.0, 1.1)])
def test_windows_out_of_range_are_refused(begin: float, end: float) -> None:
    with pytest.raises(RobodistillError, match="begin < end"):
        LossConfig("a:b", begin=begin, end=end)
    with pytest.raises(RobodistillError, match="begin < end"):
        PhaseConfig(VALUE, ("critic",), 1e-3, begin=begin, end=end)


def test_a_phase_runs_within_its_window(toys: ModuleType) -> None:
    collect = CollectConfig({"student": (1.0, 1.0)}, 4, 6, critic="critic")
    networks: dict[str, nn.Module] = {"student": flat(), "critic": Critic({"sensors": 1}, ())}
    trainer = trainer_of(counting(toys), networks, collect, VALUE, ("critic",), begin=0.3, end=0.7)
    ran = ["loss/v" in trainer.iterate() for _ in range(10)]
    assert ran == [False] * 3 + [True] * 4 + [False] * 3


def test_a_hook_runs_after_each_step_and_moves_the_copy_by_the_closed_form(toys: ModuleType) -> None:
    collect = CollectConfig({"student": (1.0, 1.0)}, 4, 6, critic="critic")
    critic, slow = Critic({"sensors": 1}, ()), Critic({"sensors": 1}, ()).requires_grad_(False)
    networks: dict[str, nn.Module] = {"student": flat(), "critic": critic, "slow": slow}
    params = {"source": "critic", "target": "slow", "decay": 0.75}
    after = {"follow": HookConfig("robodistill.hooks:ema", params)}
    trainer = trainer_of(
        counting(toys), networks, collect, VALUE, ("critic",), epochs=2, minibatches=3, after=after
    )  # fmt: skip
    (fast, _), (copied, _) = (list(network.net.parameters()) for network in (critic, slow))
    expected = copied.clone()
    optimizer: Any = trainer.phases["phase"].optimizer
    step, seen = optimizer.step, 0

    def noted() -> None:
        nonlocal expected, seen
        step()
        seen += 1
        expected = 0.75 * expected + 0.25 * fast.detach()

    optimizer.step = noted
    trainer.iterate()
    assert seen == 6
    torch.testing.assert_close(copied.detach(), expected)
    assert not torch.equal(copied, fast)


# -- what a step led to, and what the labeller expected ----------------------------------------


@pytest.mark.parametrize("deadly", [False, True])
def test_next_observations_are_what_each_step_led_to(toys: ModuleType, deadly: bool) -> None:
    collect = CollectConfig({"student": (1.0, 1.0)}, 4, 7, next_obs=("sensors",))
    trainer = trainer_of(counting(toys, deadly=deadly), {"student": flat(), "critic": Critic({"sensors": 1}, ())},
                         collect, VALUE, ("critic",))  # fmt: skip
    segment, _ = trainer.collector.collect(0.0)
    assert torch.equal(segment.data["next_sensors"], segment.obs["sensors"] + 1.0)
    assert bool(segment.data["done"].any())
    assert not torch.equal(segment.obs["sensors"][1:], segment.obs["sensors"][:-1] + 1.0)  # what a shift would give


@pytest.mark.parametrize("deadly", [False, True])
def test_label_values_and_advantages_by_hand(toys: ModuleType, deadly: bool) -> None:
    """In the units of the labeller's critic, whatever discount and scale the student's own method has."""
    collect = CollectConfig({"student": (1.0, 1.0)}, 4, 7, label_critic="expert", gamma=0.9, reward_scale=7.0)
    networks: dict[str, nn.Module] = {"student": flat(), "critic": Critic({"sensors": 1}, ()),
                                      "expert": Reader({"sensors": 1}, (), gamma=0.5, reward_scale=2.0)}  # fmt: skip
    trainer = trainer_of(counting(toys, deadly=deadly), networks, collect, VALUE, ("critic",))
    segment, _ = trainer.collector.collect(0.0)
    x = segment.obs["sensors"][..., 0]
    assert torch.equal(segment.data["label_value"], x)
    alive = ~segment.data["terminated"]
    assert bool(alive.all()) != deadly
    torch.testing.assert_close(segment.data["label_advantage"], 2.0 * x + 0.5 * (x + 1.0) * alive - x)


@pytest.mark.parametrize("shares", [(0.0, 1.0), (1.0, 0.0)])
def test_somebody_must_drive(shares: tuple[float, float]) -> None:
    first, last = shares
    assert CollectConfig({"student": (first, last), "teacher": (last, first)})
    with pytest.raises(RobodistillError, match="let somebody drive"):
        CollectConfig({"student": shares, "teacher": shares})


# -- memory under reinforcement learning -------------------------------------------------------


def test_the_ratio_of_a_policy_with_memory_is_1_before_the_first_step(toys: ModuleType) -> None:
    student = Policy(PolicyConfig(encoder=GRU, actor_hidden=(8,), init_std=0.5), {"sensors": 1}, 1)
    cast(nn.Linear, student.actor[-1]).weight.data.mul_(30.0)
    collect = CollectConfig({"student": (1.0, 1.0)}, 16, 5, critic="critic")
    networks: dict[str, nn.Module] = {"student": student, "critic": Critic({"sensors": 1}, (4,))}
    trainer = trainer_of(counting(toys, 16), networks, collect, VALUE, ("student", "critic"), split="world")
    trainer.collector.collect(0.0)
    segment, _ = trainer.collector.collect(0.0)  # the second begins amid episodes, with memory
    assert not bool(segment.resets[0].all())
    for forgetful, same in ((False, True), (True, False)):
        if forgetful:
            segment.states["student"] = {k: v + 1.0 for k, v in segment.states["student"].items()}
        for batch in by_world(segment, networks, 2, torch.Generator().manual_seed(0)):
            losses.surrogate(batch, policy="student")
            assert (float(batch.metrics["kl"]) < 1e-9) == same


def test_a_labeller_with_memory_keeps_it_across_updates(toys: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    teacher = Policy(PolicyConfig(encoder=GRU, actor_hidden=(8,)), {"sensors": 1}, 1)
    cast(nn.Linear, teacher.actor[-1]).weight.data.mul_(30.0)
    collect = CollectConfig({"student": (1.0, 1.0)}, 4, 2, labeller="teacher")  # segments shorter than episodes
    imitate = {"a": LossConfig("robodistill.losses:imitate_action", params={"policy": "student"})}
    trainer = trainer_of(counting(toys), {"student": flat((4,)), "teacher": teacher}, collect, imitate, ("student",))
    segments: list[Segment] = []
    run = trainer.phases["phase"].run

    def noting(segment: Segment, *rest: Any) -> dict[str, float]:
        segments.append(segment)
        return run(segment, *rest)

    monkeypatch.setattr(trainer.phases["phase"], "run", noting)
    for _ in range(5):
        trainer.iterate()
    obs = {"sensors": torch.cat([s.obs["sensors"] for s in segments])}
    resets, labels = torch.cat([s.resets for s in segments]), torch.cat([s.data["label_mean"] for s in segments])
    with torch.no_grad():
        whole, _ = teacher.unroll(obs, teacher.initial_state(4), resets)
        wiped = resets.clone()
        wiped[::2] = True
        forgot, _ = teacher.unroll(obs, teacher.initial_state(4), wiped)
    torch.testing.assert_close(labels, whole.mean, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(labels, forgot.mean, atol=1e-3)


def test_values_belong_to_the_observation_of_their_own_step(toys: ModuleType) -> None:
    collect = CollectConfig({"student": (1.0, 1.0)}, 4, 7, critic="critic", gamma=1.0, lam=0.0)
    networks: dict[str, nn.Module] = {"student": flat(), "critic": Reader({"sensors": 1}, ())}
    segment, _ = trainer_of(counting(toys), networks, collect, VALUE, ("student",)).collector.collect(0.0)
    x = segment.obs["sensors"][..., 0]
    assert torch.equal(segment.data["value"], x)
    torch.testing.assert_close(segment.data["return"], x + (x + 1.0))  # reward x, then the value of x + 1
    assert not torch.equal(segment.data["value"][1:], x[:-1])


def test_progress_reaches_the_losses(toys: ModuleType) -> None:
    collect = CollectConfig({"student": (1.0, 1.0)}, 4, 6, critic="critic")
    networks: dict[str, nn.Module] = {"student": flat(), "critic": Critic({"sensors": 1}, ())}
    trainer = trainer_of(counting(toys), networks, collect, {"p": LossConfig(f"{HERE}:seen")}, ("critic",))
    assert [trainer.iterate()["policy/progress"] for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert math.isclose(trainer.progress, 0.3)


def seen(batch: Minibatch) -> Tensor:
    """Leaves the progress in the log."""
    batch.metrics["progress"] = torch.tensor(batch.progress)
    return batch.value("critic").mean()
