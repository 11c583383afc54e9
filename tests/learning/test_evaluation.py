"""The comparison of policies: intervals that cover, the score, episodes counted once, settled errors, the probe."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from robodistill.config import compose
from robodistill.decode import decode
from robodistill.evaluation import statistics
from robodistill.evaluation.compare import compare
from robodistill.evaluation.drivers import Driver, ZeroDriver
from robodistill.evaluation.probe import HELD_OUT, linear_r2, privileged_r2
from robodistill.evaluation.rollout import Rollout, recorded_worlds, roll_out
from robodistill.settings import EvaluateConfig, RunConfig
from robodistill_envs.config import MetricConfig
from robodistill_envs.interface import interface_of
from robodistill_envs.vector import VecEnv

# -- statistics --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "ratio"])
def test_95_percent_intervals_hold_the_truth_95_times_in_100(kind: str) -> None:
    generator, hits, trials = np.random.default_rng(0), 0, 300
    for _ in range(trials):
        if kind == "mean":
            columns, truth = (generator.exponential(2.0, 80),), 2.0
            found = statistics.bootstrap(statistics.mean, columns, 300)
        else:
            minutes = generator.uniform(0.5, 1.5, 80)
            columns, truth = (generator.poisson(3.0 * minutes), minutes), 3.0
            found = statistics.bootstrap(statistics.ratio, columns, 300)
        low, high = cast("list[float]", found["ci95"])
        assert low < cast(float, found["mean"]) < high
        hits += low <= truth <= high
    assert 0.90 < hits / trials < 0.98


def test_statistics_by_hand() -> None:
    top, bottom = np.array([1.0, 0.0, 3.0]), np.array([2.0, 2.0, 4.0])
    assert statistics.ratio(top, bottom) == pytest.approx(0.5)  # sum over sum, not the mean of ratios
    assert statistics.root_ratio(4.0 * top, bottom) == pytest.approx(np.sqrt(2.0))
    assert statistics.mean(top) == pytest.approx(4.0 / 3.0)
    zero, teacher, student = np.array([10.0, 12.0]), np.array([20.0, 24.0]), np.array([19.0, 20.0])
    assert statistics.score(student, teacher, zero) == pytest.approx((19.5 - 11.0) / (22.0 - 11.0))
    assert statistics.score(zero, teacher, zero) == pytest.approx(0.0)


def test_a_bonus_for_being_alive_does_not_flatter_the_score() -> None:
    generator = np.random.default_rng(1)
    zero, teacher, student = (generator.normal(m, 1.0, 50) for m in (1.0, 9.0, 7.0))
    plain = statistics.score(student, teacher, zero)
    assert statistics.score(student + 100.0, teacher + 100.0, zero + 100.0) == pytest.approx(plain)


def test_episodes_are_resampled_in_pairs() -> None:
    generator = np.random.default_rng(2)
    teacher, zero = generator.normal(10.0, 3.0, 64), generator.normal(1.0, 0.1, 64)
    same = statistics.bootstrap(statistics.score, (teacher, teacher, zero), 500)
    assert same["ci95"] == pytest.approx([1.0, 1.0])  # who does the same on each episode has no doubt to share
    apart = statistics.bootstrap(statistics.score, (generator.permutation(teacher), teacher, zero), 500)
    low, high = cast("list[float]", apart["ci95"])
    assert high - low > 0.1


def test_intervals_can_be_repeated() -> None:
    values = np.random.default_rng(3).normal(size=40)
    first, second = (statistics.bootstrap(statistics.mean, (values,), 200) for _ in range(2))
    assert first == second


# -- one episode a world -----------------------------------------------------------------------

ERRORS = torch.tensor([[4.0, 3, 1, 1, 5, 2, 0, 2], [2.0, 2, 2, 2, 2, 2, 9, 9]])


def error(world: Any) -> tuple[Tensor, Tensor]:
    """The squared error of the tick just made."""
    return world.error.square(), torch.ones(2)


def peak(world: Any) -> tuple[Tensor, Tensor]:
    """The largest of them."""
    return world.error, torch.ones(2)


class Stub:
    """Two worlds of eight ticks of 0.5 s: the second falls in tick 5, and would fall again in tick 7.

    Commands are held for 4 ticks. Reward is 1 a tick, 100 after the fall; what happens before a reset is shown
    to ``before_reset``.
    """

    def __init__(self) -> None:
        self.num_envs, self.action_dim, self.before_reset = 2, 1, None
        command = SimpleNamespace(hold_s=2.0, tracked_by="")
        metrics = (
            MetricConfig("rmse", f"{__name__}:error", "m/s", "root_ratio", settle=True),
            MetricConfig("error", f"{__name__}:error", "m/s", "ratio"),
            MetricConfig("peak", f"{__name__}:peak", "m/s", "max"),
        )
        self.task = SimpleNamespace(name="stub", max_steps=8, control_dt=0.5, metrics=metrics, command=command)
        self.world = SimpleNamespace(parameters={"mass": torch.tensor([[1.0], [2.0]])}, push=torch.zeros(2, 2))
        model = SimpleNamespace(nq=3, njnt=0)
        self.engine = SimpleNamespace(model=model, state=lambda name: torch.zeros(2, 3, dtype=torch.float64))

    def reset(self, seed: int) -> dict[str, Tensor]:
        self.tick = 0
        self.world.command = torch.tensor([[seed + 0.0], [seed + 0.5]])
        return {"sensors": torch.zeros(2, 1)}

    def step(self, action: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor, dict[str, Any]]:
        self.world.error = ERRORS[:, self.tick]
        if self.before_reset:
            self.before_reset()
        reward = torch.tensor([1.0, 1.0 if self.tick <= 5 else 100.0]) + action[:, 0]
        terminated = torch.tensor([False, self.tick in (5, 7)])
        truncated = torch.tensor([self.tick == 7, False])
        self.tick += 1
        if self.tick % 4 == 0:
            self.world.command = self.world.command + 10.0
        return {"sensors": torch.zeros(2, 1)}, reward, terminated, truncated, {}


class Constant(Driver):
    """Acts the same everywhere."""

    def __init__(self, value: float) -> None:
        self.value = value

    def start(self, env: VecEnv) -> None:
        """Nothing to begin."""

    def act(self, env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
        return torch.full((env.num_envs, env.action_dim), self.value)


CONFIG = EvaluateConfig(episodes=2, seed=3, bootstrap=50, settle_s=1.0)


def test_only_the_first_episode_of_a_world_counts() -> None:
    rollout = roll_out(cast(VecEnv, Stub()), Constant(0.0), CONFIG, lambda tick: None)
    assert rollout.returns.tolist() == [8.0, 6.0]
    assert rollout.lengths.tolist() == [8, 6]
    assert rollout.fell.tolist() == [False, True]
    assert rollout.trajectory["alive"].tolist() == [[True] * 8, [True] * 6 + [False] * 2]


def test_settled_and_unsettled_errors_by_hand() -> None:
    rollout = roll_out(cast(VecEnv, Stub()), Constant(0.0), CONFIG, lambda tick: None)
    # settled: ticks 2, 3 and 6, 7 of the first world, 2 and 3 of the second, which is down from tick 6 on
    assert [t.tolist() for t in rollout.sums["rmse"]] == [[6.0, 8.0], [4.0, 2.0]]
    assert [t.tolist() for t in rollout.sums["rmse_unsettled"]] == [[60.0, 24.0], [8.0, 6.0]]
    assert [t.tolist() for t in rollout.sums["error"]] == [[60.0, 24.0], [8.0, 6.0]]
    assert rollout.sums["peak"][0].tolist() == [5.0, 2.0]
    assert [t.tolist() for t in rollout.segments["rmse"]] == [[[2.0, 4.0], [8.0, 0.0]], [[2.0, 2.0], [2.0, 0.0]]]
    assert rollout.commands[..., 0].tolist() == [[3.0, 13.0], [3.5, 13.5]]


def test_the_figures_of_a_comparison_by_hand() -> None:
    drivers = {"teacher": Constant(1.0), "half": Constant(0.5), "zero_action": ZeroDriver()}
    ticks: list[tuple[str, int]] = []
    result, _ = compare(cast(VecEnv, Stub()), drivers, CONFIG, lambda name, tick: ticks.append((name, tick)))
    metrics = result["policies"]["half"]["metrics"]
    assert metrics["rmse"]["mean"] == pytest.approx((14 / 6) ** 0.5)
    assert metrics["rmse_unsettled"]["mean"] == pytest.approx((84 / 14) ** 0.5)
    assert metrics["error"]["mean"] == pytest.approx(84 / 14)
    assert "error_unsettled" not in metrics
    assert metrics["peak"]["mean"] == pytest.approx(3.5)
    assert metrics["peak"]["unit"] == "m/s"
    assert metrics["falls_per_minute"]["mean"] == pytest.approx(1 / (14 * 0.5 / 60.0))
    assert result["policies"]["teacher"]["return"]["mean"] == pytest.approx(14.0)
    assert result["policies"]["zero_action"]["return"]["mean"] == pytest.approx(7.0)
    assert result["score"].keys() == {"half"}
    assert result["score"]["half"]["mean"] == pytest.approx(0.5)
    assert ticks == [(name, tick) for name in drivers for tick in range(8)]


def test_the_worlds_with_the_most_payload_are_recorded() -> None:
    env = cast(VecEnv, Stub())
    cast(Any, env.world).parameter = lambda name: env.world.parameters[name]
    assert recorded_worlds(env, EvaluateConfig(record=1, record_by="mass")).tolist() == [1]
    assert recorded_worlds(env, EvaluateConfig(record=1)).tolist() == [0]


# -- the same episodes for everybody -----------------------------------------------------------


class Wild(Driver):
    """Strong random actions, for another state in every tick."""

    def start(self, env: VecEnv) -> None:
        """Begin its own random numbers."""
        self.generator = torch.Generator().manual_seed(0)

    def act(self, env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
        return 2.0 * torch.randn(env.num_envs, env.action_dim, generator=self.generator)


@functools.cache
def go2() -> RunConfig:
    """Short episodes in which commands change and pushes come often."""
    return decode(
        RunConfig,
        compose([
            "task=go2_flat", "task.episode_s=0.8", "task.command.hold_s=0.3", "task.push.interval_s=[0.1,0.3]",
            "task.terminations.0.params.limit=0.35",
        ]),
    )  # fmt: skip


def test_every_driver_meets_the_same_parameters_commands_and_pushes() -> None:
    worlds = 12
    env = VecEnv(go2().task, worlds, seed=5, threads=1)
    config = EvaluateConfig(episodes=worlds, seed=11, record=worlds)
    env.reset()
    env.step(torch.ones(worlds, env.action_dim))  # whatever happened before leaves no trace
    zero, wild, again = (roll_out(env, d, config, lambda tick: None) for d in (ZeroDriver(), Wild(), ZeroDriver()))
    for name, value in zero.parameters.items():
        assert torch.equal(value, wild.parameters[name]), name
        assert value.shape[0] == worlds
    both = (zero.trajectory["alive"] & wild.trajectory["alive"]).unsqueeze(-1)
    for name in ("command", "push"):
        a, b = zero.trajectory[name], wild.trajectory[name]
        assert torch.equal(a * both, b * both), name
        assert len((a * both).unique()) > worlds, name  # something did happen
    assert not torch.equal(zero.trajectory["qpos"][:, 5], wild.trajectory["qpos"][:, 5])
    assert torch.equal(zero.trajectory["qpos"][:, 0], wild.trajectory["qpos"][:, 0])
    assert bool(wild.fell.any())
    assert torch.equal(zero.returns, again.returns)
    other = roll_out(env, ZeroDriver(), EvaluateConfig(episodes=worlds, seed=12, record=worlds), lambda tick: None)
    assert not torch.equal(zero.parameters["friction"], other.parameters["friction"])


# -- the probe of the latent -------------------------------------------------------------------


def test_a_linear_relation_is_found_and_noise_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    world = torch.arange(60).repeat(20)
    features = torch.randn(1200, 5, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 1.0, 1.0]) + 3.0
    linear = features @ torch.tensor([1.0, -0.2, 4.0, 0.0, 0.0]) + 7.0
    half = linear + linear.std() * torch.randn(1200, generator=generator)
    targets = torch.stack((linear, half, torch.randn(1200, generator=generator), torch.ones(1200)), dim=1)
    found = linear_r2(features, targets, world)
    assert float(found[0]) > 0.99
    assert float(found[1]) == pytest.approx(0.5, abs=0.1)
    assert abs(float(found[2])) < 0.05
    assert bool(found[3].isnan())  # what never varies has no R^2


def test_no_world_is_on_both_sides() -> None:
    # every world has its own code and its own value: whoever has seen a world knows it, nobody else can
    generator = torch.Generator().manual_seed(1)
    world = torch.arange(30).repeat(40)
    code, value = torch.randn(30, 40, generator=generator), torch.randn(30, 1, generator=generator)
    honest = float(linear_r2(code[world], value[world], world))
    leaking = float(linear_r2(code[world], value[world], torch.arange(1200)))
    assert honest < 0.5
    assert leaking > 0.95
    # and what is fitted does not know what the held-out worlds hold
    held = world > int(world.max()) * (1.0 - HELD_OUT)
    assert 0.25 < float(held.float().mean()) < 0.35


def test_r2_is_named_by_term_and_element() -> None:
    spec = interface_of(go2().task)
    dims = {group: spec.group_dim(group) for group in spec.groups}
    generator = torch.Generator().manual_seed(2)
    privileged = torch.randn(400, dims["privileged"], generator=generator)
    names = [f"{t.name}[{i}]" if t.dim > 1 else t.name for t in spec.terms("privileged") for i in range(t.dim)]
    at = names.index("friction")
    samples = {
        "latent": [privileged[:, [at]] * 2.0 + 1.0], "privileged": [privileged], "world": [torch.arange(40).repeat(10)],
        "sensors": [torch.randn(400, dims["sensors"], generator=generator)],
    }  # fmt: skip
    empty = torch.zeros(0)
    rollout = Rollout(empty, empty, empty, {}, {}, empty, {}, {}, empty, samples)
    found = privileged_r2(rollout, spec)
    assert found["r2"]["friction"] > 0.99
    assert all(value < 0.1 for name, value in found["r2"].items() if name != "friction")
    assert found["r2_baseline"]["friction"] < 0.1
    assert "base_velocity[2]" in found["r2"]
    assert privileged_r2(Rollout(empty, empty, empty, {}, {}, empty, {}, {}, empty, {}), spec) == {}


def test_trajectories_hold_the_robot_without_rotors() -> None:
    """A backlash adds rotors to the simulated ``qpos``; what draws a trajectory knows the robot's own model only."""
    for gap, nq in (("0.0", 19), ("0.01", 31)):
        words = ["task=go2_flat", f"task.robot.motors.backlash=[{gap}]", "task.episode_s=0.1"]
        config = decode(RunConfig, compose(words))
        env = VecEnv(config.task, 2, seed=0, threads=1)
        assert env.engine.model.nq == nq
        settings = EvaluateConfig(episodes=2, seed=1, record=2)
        rollout = roll_out(env, ZeroDriver(), settings, lambda tick: None)
        assert rollout.trajectory["qpos"].shape == (2, 5, 19)
