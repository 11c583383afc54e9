"""A VecEnv goes on bit for bit where another stopped, and stops where anything is not a number."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robodistill.config import groups
from robodistill_envs.config import PushConfig, RewardConfig, TaskConfig, TermConfig
from robodistill_envs.vector import NonFiniteError, VecEnv
from robodistill_envs.world import World

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
TASKS = sorted(groups()["task"])
N = 3


def actions(env: VecEnv, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return 0.6 * torch.randn(steps, env.num_envs, env.action_dim, generator=generator)


def lively(task: TaskConfig) -> TaskConfig:
    """Short episodes, quick commands, many pushes: all that a restart could forget."""
    task = replace(task, episode_s=40 * task.control_dt)
    if task.push:
        task = replace(task, push=PushConfig(task.push.max_speed, (0.1, 0.3)))
    if task.command:
        task = replace(task, command=replace(task.command, hold_s=15 * task.control_dt))
    return task


def leaves(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


def equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("before", [0, 23])
def test_restored_environment_goes_on_bit_for_bit(name: str, before: int, make_env: MakeEnv) -> None:
    env = make_env(lively(make_env(name, 1).task), N)
    env.progress = 0.8
    env.reset(3, stagger=True)
    taken = actions(env, before + 50)
    for action in taken[:before]:
        env.step(action)
    saved = env.state_dict()
    resumed = make_env(env.task, N, seed=99)
    expected = [env.step(action) for action in taken[before:]]
    resumed.load_state_dict(saved)
    assert any(len(step[4]["done_ids"]) for step in expected)
    for action, (obs, reward, terminated, truncated, info) in zip(taken[before:], expected, strict=True):
        step = resumed.step(action)
        assert all(torch.equal(step[0][g], obs[g]) for g in obs)
        assert all(torch.equal(step[4]["final_obs"][g], info["final_obs"][g]) for g in obs)
        for a, b in zip(step[1:4], (reward, terminated, truncated), strict=True):
            assert torch.equal(a, b)
        assert ("episode" in step[4]) is ("episode" in info)
        if "episode" in info:
            theirs, ours = leaves(info["episode"]), leaves(step[4]["episode"])
            assert all(equal(value, ours[key]) for key, value in theirs.items())
    theirs, ours = leaves(env.state_dict()), leaves(resumed.state_dict())
    assert theirs.keys() == ours.keys()
    assert [key for key in theirs if not equal(theirs[key], ours[key])] == []


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_world_goes_its_way_however_many_are_beside_it(name: str, threads: int, make_env: MakeEnv) -> None:
    """Through staggered episodes, resets, commands and pushes, on one thread and on two, also after a restart."""
    task = lively(make_env(name, 1).task)
    few, many = make_env(task, N), make_env(task, 3 * N, threads=threads)
    for env in (few, many):
        env.progress = 0.7
        env.reset(6, stagger=True)
    generator = torch.Generator().manual_seed(8)
    ended = 0
    for tick in range(60):
        if tick == 30:
            restored = make_env(task, 3 * N, seed=99, threads=3 - threads)
            restored.load_state_dict(many.state_dict())
            many = restored
        action = 0.6 * torch.randn(3 * N, few.action_dim, generator=generator)
        a, b = few.step(action[:N]), many.step(action)
        pairs = [(a[0][g], b[0][g]) for g in a[0]] + [(a[4]["final_obs"][g], b[4]["final_obs"][g]) for g in a[0]]
        pairs += list(zip(a[1:4], b[1:4], strict=True))
        assert all(torch.equal(x, y[:N]) for x, y in pairs), tick
        if len(a[4]["done_ids"]):
            mine = b[4]["done_ids"] < N
            ended += int(mine.sum())
            theirs, ours = leaves(b[4]["episode"]), leaves(a[4]["episode"])
            assert all(torch.equal(value, theirs[key][mine]) for key, value in ours.items())
    assert ended >= N
    for key, value in few.world.parameters.items():
        assert torch.equal(value, many.world.parameters[key][:N])
        assert not torch.equal(value, many.world.parameters[key][N : 2 * N])  # the others are others


@pytest.mark.parametrize("name", TASKS)
def test_a_restored_environment_sees_what_was_seen(name: str, make_env: MakeEnv) -> None:
    env = make_env(name, N)
    obs = env.reset(3)
    for action in actions(env, 5):
        obs, *_ = env.step(action)
    resumed = make_env(name, N)
    resumed.load_state_dict(env.state_dict())
    assert all(torch.equal(value, obs[group]) for group, value in resumed.observe().items())


@pytest.mark.parametrize("name", TASKS)
def test_a_saved_state_stays_as_it_was(name: str, make_env: MakeEnv) -> None:
    """Neither going on nor restoring from it may change it."""
    env = make_env(lively(make_env(name, 1).task), N)
    env.reset(3)
    taken = actions(env, 45)
    for action in taken[:5]:
        env.step(action)
    saved = env.state_dict()
    kept = copy.deepcopy(saved)
    resumed = make_env(env.task, N)
    resumed.load_state_dict(saved)
    for action in taken[5:]:
        env.step(action)
        resumed.step(action)
    then, now = leaves(kept), leaves(saved)
    assert [key for key in then if not equal(then[key], now[key])] == []


# -- what is not a number ----------------------------------------------------------------------


def poisoned_reward(world: World, *, step: int, env: int, value: float) -> Tensor:
    """A reward that goes wrong in one world at one step."""
    result = torch.zeros(world.num_envs)
    result[(torch.arange(world.num_envs) == env) & (world.steps == step)] = value
    return result


def poisoned_term(world: World, *, step: int, env: int, value: float) -> Tensor:
    """Two columns, of which the second goes wrong."""
    return torch.stack(
        (torch.ones(world.num_envs), poisoned_reward(world, step=step, env=env, value=value)), 1
    )


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make this module importable by the name that a configuration would give."""
    import sys

    monkeypatch.setitem(sys.modules, "poison", sys.modules[__name__])
    return "poison"


def run(env: VecEnv, steps: int) -> None:
    for action in actions(env, steps):
        env.step(action)


def fails(env: VecEnv, folder: Path, steps: int = 8) -> tuple[str, dict[str, Any]]:
    """Return the message and the repro file of the NonFiniteError that stepping raises."""
    env.repro_folder = folder
    env.reset(5)
    with pytest.raises(NonFiniteError) as caught:
        run(env, steps)
    (file,) = folder.glob("*.npz")
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    with np.load(file) as stored:
        return message, dict(stored)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_reward_stops_with_world_step_and_term(
    value: float, load_task: LoadTask, make_env: MakeEnv, poison: str, tmp_path: Path
) -> None:
    task = load_task("cartpole_balance")
    bad = RewardConfig("oops", f"{poison}:poisoned_reward", 1.0, {"step": 4, "env": 2, "value": value})
    env = make_env(replace(task, rewards=(*task.rewards, bad), terminations=()), N)
    message, stored = fails(env, tmp_path)
    assert message.startswith("world 2, episode 0, step 4: reward term 'oops' is not finite")
    assert stored["qpos"] == pytest.approx(env.engine.state("qpos")[2].numpy())
    assert stored["qvel"] == pytest.approx(env.engine.state("qvel")[2].numpy())
    assert stored["action"] == pytest.approx(env.world.action[2].numpy())
    assert (int(stored["seed"]), int(stored["episode"]), int(stored["step"])) == (5, 0, 4)
    assert stored["parameter.pole_mass"] == pytest.approx(env.world.parameters["pole_mass"][2].numpy())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_observation_stops_with_world_step_and_term(
    value: float, load_task: LoadTask, make_env: MakeEnv, poison: str, tmp_path: Path
) -> None:
    task = load_task("pendulum_swingup")
    params = {"step": 3, "env": 1, "value": value}
    bad = TermConfig("oops", f"{poison}:poisoned_term", "privileged", elements=2, params=params)
    terms = task.groups["privileged"]
    many = {**task.groups, "privileged": (*terms[:2], bad, *terms[2:])}
    message, _ = fails(make_env(replace(task, groups=many), N), tmp_path)
    assert message.startswith("world 1, episode 0, step 3: privileged term 'oops' is not finite")


def test_a_bad_action_stops_too(make_env: MakeEnv, tmp_path: Path) -> None:
    env = make_env("go2_flat", N)
    env.repro_folder = tmp_path
    env.reset(0)
    env.step(torch.zeros(N, 12))
    action = torch.zeros(N, 12)
    action[1, 7] = float("nan")
    with pytest.raises(NonFiniteError, match=r"world 1, episode 0, step 2: sensors term 'last_action'"):
        env.step(action)
    (file,) = tmp_path.glob("*.npz")
    with np.load(file) as stored:
        assert np.isnan(stored["action"]).nonzero()[0].tolist() == [7]


@pytest.mark.parametrize("field", ["qpos", "qvel"])
def test_diverged_physics_ends_the_episode_of_its_world_alone(
    field: str, make_env: MakeEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MuJoCo restarts a world that it finds broken; its episode ends there, and says why."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its own log there
    env, calm = make_env("go2_flat", N), make_env("go2_flat", N)
    for each in (env, calm):
        each.reset(0)
        each.step(torch.zeros(N, 12))
    env.engine.state(field)[1, 4] = float("nan")
    obs, reward, terminated, truncated, info = env.step(torch.zeros(N, 12))
    expected = calm.step(torch.zeros(N, 12))
    assert terminated.tolist() == [False, True, False]
    assert not truncated.any()
    assert info["episode"]["causes"]["physics_diverged"].tolist() == [True]
    # what was measured there means nothing; that it fell still counts
    survivors = sum(r.weight for r in env.task.rewards if r.survives_divergence)
    assert float(reward[1]) == pytest.approx(survivors * env.task.control_dt)
    assert env.world.steps.tolist() == [2, 0, 2]
    assert env.episode.tolist() == [0, 1, 0]
    assert all(torch.isfinite(value).all() for value in obs.values())
    others = torch.tensor([0, 2])
    assert all(torch.equal(obs[g][others], expected[0][g][others]) for g in obs)
    assert torch.equal(reward[others], expected[1][others])
    assert not env.step(torch.zeros(N, 12))[2].any()
