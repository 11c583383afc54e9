"""Ranges: conditions outside of training's, which never change what a policy is told about training's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from robodistill.config import groups
from robodistill_deploy.errors import SpecError
from robodistill_envs.config import DrawConfig, RangeConfig, TaskConfig
from robodistill_envs.model import MAX_DELAY_S
from robodistill_envs.ranges import within
from robodistill_envs.vector import VecEnv

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
DMC = [name for name in sorted(groups()["task"]) if name.startswith("dmc_")]


@pytest.mark.parametrize("name", DMC)
@pytest.mark.parametrize(("range_", "times"), [("ood", 2), ("far", 3)])
def test_ranges_leave_out_the_one_inside(name: str, range_: str, times: int, load_task: LoadTask) -> None:
    """ALGORITHMS: train [1 - d, 1 + d], then up to 2 d and up to 3 d, each without the one before."""
    task = load_task(name)
    assert set(task.ranges[range_].parameters) == set(task.parameters)
    for key, draw in task.ranges[range_].parameters.items():
        config = task.parameters[key]
        middle, half = config.nominal[0], 0.5 * (config.high[0] - config.low[0])
        found = (draw.low[0], draw.gap_low[0], draw.gap_high[0], draw.high[0])
        wanted = (-times, 1 - times, times - 1, times)
        assert found == pytest.approx([middle + k * half for k in wanted])
        assert draw.low[0] > 0.0


def test_draws_fill_both_sides_and_nothing_between(make_env: MakeEnv, load_task: LoadTask) -> None:
    pytest.importorskip("dm_control")
    task = within(load_task("dmc_pendulum"), "ood")
    env = make_env(task, 2000)
    env.reset(0)
    mass = env.world.parameter("mass")[:, 0]
    low, high = mass[mass < 1.0], mass[mass > 1.0]
    assert 0.8 <= float(low.min()) < 0.81
    assert 0.89 < float(low.max()) <= 0.9
    assert 1.1 <= float(high.min()) < 1.11
    assert 1.19 < float(high.max()) <= 1.2
    assert 0.45 < len(low) / 2000 < 0.55
    # negative control: without a range all of them lie where nothing was drawn above
    env = make_env("dmc_pendulum", 200)
    env.reset(0)
    assert ((env.world.parameter("mass") >= 0.9) & (env.world.parameter("mass") <= 1.1)).all()


def test_a_policy_is_told_of_a_range_on_trainings_scale(make_env: MakeEnv, load_task: LoadTask) -> None:
    """The same mass reads the same in and out of range: 1 is the end of what was trained on, 2 twice as far."""
    pytest.importorskip("dm_control")
    env = make_env(within(load_task("dmc_pendulum"), "ood"), 50)
    obs = env.reset(0)
    told, mass = obs["privileged"][:, 1], env.world.parameter("mass")[:, 0]
    assert torch.allclose(told, (mass - 1.0) / 0.1, atol=1e-5)
    assert float(told.abs().min()) >= 1.0 - 1e-5


def test_train_is_the_task_itself(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    assert within(task, "train") is task


def test_what_does_not_fit_is_named(load_task: LoadTask) -> None:
    task = load_task("cartpole_balance")
    with pytest.raises(SpecError, match="range 'odd'"):
        within(task, "odd")
    one = DrawConfig((1.0,), (2.0,))
    for chosen, message in (
        (RangeConfig({"pole_mas": one}), "did you mean 'pole_mass'"),
        (RangeConfig({"pole_mass": DrawConfig((1.0, 1.0), (2.0, 2.0))}), "1 values, not 2"),
        (RangeConfig(push_speed=(0.0, 1.0)), "does not push"),
    ):
        with pytest.raises(SpecError, match=message):
            within(replace(task, ranges={"x": chosen}), "x")
    for bad in (((2.0,), (1.0,)), ((0.0,), (1.0,), (0.8,), (0.2,)), ((0.0, 0.0), (1.0,)), ((0.0,), (1.0,), (-1.0,))):
        with pytest.raises(SpecError, match="range: low"):
            DrawConfig(*bad)


# -- the Go2's -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("range_", "parameter", "low", "high"),
    [("low_friction", "friction", 0.15, 0.3), ("heavy_payload", "payload", 3.0, 5.0),
     ("long_delay", "action_delay", 0.02, 0.03), ("long_delay", "signal_delay", 0.02, 0.03)],
)  # fmt: skip
def test_the_go2_leaves_one_range_at_a_time(
    range_: str, parameter: str, low: float, high: float, make_env: MakeEnv, load_task: LoadTask
) -> None:
    base = load_task("go2_flat")
    env, other = make_env(within(base, range_), 300), make_env(base, 300)
    env.reset(5)
    other.reset(5)
    drawn = env.world.parameter(parameter)
    assert low <= float(drawn.min()) < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < float(drawn.max()) <= high
    for key, value in env.world.parameters.items():
        if key not in base.ranges[range_].parameters:
            assert torch.equal(value, other.world.parameters[key])  # the very same worlds otherwise


def test_hard_pushes_are_harder(make_env: MakeEnv, load_task: LoadTask) -> None:
    base = load_task("go2_flat")
    for task, low, high in ((base, 0.0, 0.8), (within(base, "hard_push"), 0.8, 1.2)):
        env = make_env(task, 400)
        env.reset(1)
        counter = torch.zeros(400, dtype=torch.int64)
        speed = env.draws.push(env.random, counter, torch.ones(()))[0].norm(dim=1)
        assert low <= float(speed.min()) + 1e-6 < low + 0.03
        assert high - 0.03 < float(speed.max()) <= high + 1e-6


def test_the_longest_delay_fits_the_buffers(load_task: LoadTask, make_env: MakeEnv) -> None:
    """A step of the target arrives after the drawn delay, at the end of the range too; beyond it is refused."""
    base = load_task("go2_flat")
    longest = DrawConfig((MAX_DELAY_S,), (MAX_DELAY_S,))
    task = replace(base, ranges={"edge": RangeConfig({"action_delay": longest, "signal_delay": longest})})
    env = make_env(within(task, "edge"), 1)
    env.reset(0)
    engine, dt = env.engine, task.physics.timestep
    before = engine.state("ctrl").clone()
    engine.state("ctrl")[:, 1] += 0.5
    arrived = None
    twin = make_env(within(task, "edge"), 1)
    twin.reset(0)
    for k in range(12):
        engine.step(1)
        twin.engine.step(1)
        if arrived is None and not torch.equal(engine.state("qvel"), twin.engine.state("qvel")):
            arrived = k
    assert torch.equal(twin.engine.state("ctrl"), before)
    assert arrived is not None
    assert MAX_DELAY_S - dt <= arrived * dt <= MAX_DELAY_S + dt
