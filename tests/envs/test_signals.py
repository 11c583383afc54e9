"""What the robot's sensors report: the truth, disturbed as the task says and no other way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from robodistill.config import groups
from robodistill_envs import rotations
from robodistill_envs.config import SignalConfig, TaskConfig
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.vector import Disturbances, VecEnv

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
TASKS = sorted(groups()["task"])
ROUNDED = 1e-6
"""What a rotation there and back leaves of a float32."""
NOISE = Disturbances(parameters=False, pushes=False)


def zeros(env: VecEnv) -> Tensor:
    return torch.zeros(env.num_envs, env.action_dim)


def term(env: VecEnv, obs: dict[str, Tensor], name: str, group: str = "sensors") -> Tensor:
    """Return an observation term in its own unit."""
    start = 0
    for spec in env.spec.terms(group):
        if spec.name == name:
            return obs[group][:, start : start + spec.dim] / torch.tensor(spec.scale)
        start += spec.dim
    raise AssertionError(name)


def error_of(env: VecEnv, name: str) -> Tensor:
    """Return measured minus true, for quaternions the small rotation between them [rad]."""
    measured, true = env.world.signals[name], env.world.true(name)
    if measured.shape[1] == 4:
        conjugate = true * torch.tensor([1.0, -1.0, -1.0, -1.0])
        return 2.0 * rotations.multiply(conjugate, measured)[:, 1:]
    return measured - true


def motion(env: VecEnv) -> Tensor:
    """Return velocities and states of filtered actuators (num_envs, nv + na): what an action moves first."""
    model, engine = env.engine.model, env.engine
    assert isinstance(engine, MjbatchEngine)
    filters = np.zeros((env.num_envs, model.na))
    for i, filtered in enumerate(filters):
        mujoco.mj_extractState(
            model, engine.row(i), mujoco.mjtState.mjSTATE_INTEGRATION, filtered, mujoco.mjtState.mjSTATE_ACT
        )
    return torch.cat((engine.state("qvel"), torch.from_numpy(filters)), dim=1)


def lags_of(env: VecEnv, delay: str) -> Tensor:
    """Return each world's drawn delay in physics steps, rounded up; 0 where the task declares that nothing lags."""
    if not env.task.delayed:
        assert delay not in env.task.parameters
        return torch.zeros(env.num_envs, dtype=torch.int64)
    lags = torch.ceil(env.world.parameter(delay)[:, 0] / env.task.physics.timestep - 1e-4).long()
    assert lags.unique().numel() >= 2
    return lags


@pytest.mark.parametrize("name", TASKS)
def test_noise_has_the_size_that_the_task_says(name: str, make_env: MakeEnv) -> None:
    env = make_env(name, 64, disturbances=NOISE)
    env.reset(0)
    errors: dict[str, list[Tensor]] = {s.name: [] for s in env.task.robot.sensors}
    for _ in range(6):
        env.step(zeros(env))
        for signal, seen in errors.items():
            seen.append(error_of(env, signal))
    for signal, seen in errors.items():
        sigma = env.task.signals.get(signal, SignalConfig()).noise
        stacked = torch.stack(seen)  # (time, worlds, elements)
        count = stacked.numel()
        near = 4.0 / math.sqrt(2.0 * count) + 0.02
        assert float(stacked.std()) == pytest.approx(sigma, rel=near, abs=ROUNDED), signal
        assert abs(float(stacked.mean())) <= 5.0 * sigma / math.sqrt(count) + ROUNDED, signal
        if sigma:  # fresh in every tick and world
            assert abs(float((stacked[1:] * stacked[:-1]).mean())) < 5.0 * sigma**2 / math.sqrt(count)
            assert abs(float((stacked[:, 1:] * stacked[:, :-1]).mean())) < 5.0 * sigma**2 / math.sqrt(count)


@pytest.mark.parametrize("name", TASKS)
def test_undisturbed_signals_are_the_truth(name: str, make_env: MakeEnv) -> None:
    env = make_env(name, 2, quiet=True)
    env.reset(0)
    for _ in range(5):
        env.step(0.5 * torch.ones(2, env.action_dim))
        for sensor in env.task.robot.sensors:
            assert torch.equal(env.world.signals[sensor.name], env.world.true(sensor.name))


def test_signals_keep_their_values_when_the_physics_goes_on(make_env: MakeEnv) -> None:
    env = make_env("go2_flat", 2, quiet=True)
    env.reset(0)
    kept = dict(env.world.signals)
    copies = {name: value.clone() for name, value in kept.items()}
    env.engine.step(5)
    env.world.command += 1.0
    assert not torch.equal(env.world.true("joint_pos"), kept["joint_pos"])
    for name, value in kept.items():
        assert torch.equal(value, copies[name]), name


def test_encoders_count_in_quanta(load_task: LoadTask, make_env: MakeEnv) -> None:
    task = load_task("go2_flat")
    coarse = replace(task, signals={**task.signals, "joint_pos": SignalConfig(noise=0.01, quantum=0.004)})
    env = make_env(coarse, 4, disturbances=NOISE)
    env.reset(0)
    counts = env.world.signals["joint_pos"] / 0.004
    assert torch.allclose(counts, counts.round(), atol=1e-3)
    assert counts.unique().numel() > 20


def test_a_tilted_imu_tilts_gravity(make_env: MakeEnv) -> None:
    env = make_env("go2_flat", 6, only=("imu_tilt",))
    obs = env.reset(0)
    tilt = env.world.parameter("imu_tilt")
    assert (tilt[:, :2].abs() > 0.003).any(dim=0).all()
    # the robot stands level at the start: a roll by a moves gravity to (0, -a, -1), a pitch by b to (b, 0, -1)
    expected = torch.stack((tilt[:, 1], -tilt[:, 0], -torch.ones(6)), dim=1)
    assert torch.allclose(term(env, obs, "projected_gravity"), expected, atol=2e-3)
    assert torch.allclose(term(env, obs, "gravity", "privileged"), torch.tensor([0.0, 0.0, -1.0]), atol=1e-6)
    for _ in range(5):  # it stays as it is for the episode
        obs, *_ = env.step(zeros(env))
    assert torch.allclose(error_of(env, "imu_quat_wxyz"), tilt, atol=1e-3)


@pytest.mark.parametrize("name", TASKS)
def test_signals_lag_by_the_drawn_delay(name: str, make_env: MakeEnv) -> None:
    """A delay acts in whole physics steps, rounded up."""
    env = make_env(name, 8, only=("signal_delay",))
    env.reset(1)
    lags = lags_of(env, "signal_delay")
    env.engine.state("ctrl")[:] += 0.3
    if not env.task.delayed:  # else the buffers hold the start at rest; here all may move that no motor does
        env.engine.state("qvel")[:] += 1.0
    true: dict[str, list[Tensor]] = {s.name: [] for s in env.task.robot.sensors}
    for k in range(2 * int(lags.max()) + 4):
        env.engine.step(1)
        env.world.measure(env.random, env.episode, noise=False)
        for signal, past in true.items():
            past.append(env.world.true(signal).clone())
            for world, lag in enumerate(lags.tolist()):
                assert torch.equal(env.world.signals[signal][world], past[max(k - lag, 0)][world])
    still = {signal for signal, past in true.items() if torch.equal(past[0], past[-1])}
    assert "joint_vel" not in still
    assert {signal for signal in still if true[signal][-1].any()} == set()  # a touch of nothing reads 0 throughout


@pytest.mark.parametrize("name", TASKS)
def test_actions_act_after_the_drawn_delay(name: str, make_env: MakeEnv) -> None:
    stepped, idle = (make_env(name, 8, only=("action_delay",)) for _ in range(2))
    for env in (stepped, idle):
        env.reset(1)
    lags = lags_of(stepped, "action_delay")
    stepped.engine.state("ctrl")[:] += 0.3
    for k in range(int(lags.max()) + 1):
        for env in (stepped, idle):
            env.engine.step(1)
        moved = (motion(stepped) != motion(idle)).any(dim=1)
        assert moved.tolist() == (lags <= k).tolist()


def test_no_delay_is_no_delay(make_env: MakeEnv) -> None:
    """The nominal robot answers within its first physics step."""
    stepped, idle = (make_env("go2_flat", 1, quiet=True) for _ in range(2))
    for env in (stepped, idle):
        env.reset(0)
    stepped.engine.state("ctrl")[:] += 0.3
    for env in (stepped, idle):
        env.engine.step(1)
    assert not torch.equal(stepped.engine.state("qvel"), idle.engine.state("qvel"))
