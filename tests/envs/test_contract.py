"""What a VecEnv promises, for every task that the configuration tree holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from robodistill.config import groups
from robodistill_envs.config import PushConfig, TaskConfig
from robodistill_envs.vector import VecEnv

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
Step = tuple[dict[str, Tensor], Tensor, Tensor, Tensor, dict[str, Any]]
TASKS = sorted(groups()["task"])
for_every_task = pytest.mark.parametrize("name", TASKS)


def actions(steps: int, n: int, dim: int, size: float = 0.6) -> Tensor:
    """Return (steps, n, dim): the first worlds get the same whatever ``n``."""
    generator = torch.Generator().manual_seed(11)
    return size * torch.randn(steps, 16, dim, generator=generator)[:, :n]


def roll(env: VecEnv, steps: int, size: float = 0.6) -> list[Step]:
    return [env.step(action) for action in actions(steps, env.num_envs, env.action_dim, size)]


def same(a: Step, b: Step, worlds: slice = slice(None)) -> bool:
    """Return whether everything that two steps hand out agrees bit for bit in ``worlds``."""
    pairs = [(a[0][g], b[0][g]) for g in a[0]] + [(x, y) for x, y in zip(a[1:4], b[1:4], strict=True)]
    pairs += [(a[4]["final_obs"][g], b[4]["final_obs"][g]) for g in a[0]]
    return all(torch.equal(x[worlds], y[worlds]) for x, y in pairs)


def short(task: TaskConfig, steps: int) -> TaskConfig:
    return replace(task, episode_s=steps * task.control_dt)


@for_every_task
def test_shapes_types_and_finite(name: str, make_env: MakeEnv) -> None:
    env = make_env(name, 3)
    obs = env.reset(0)
    for step in [(obs, None, None, None, {"final_obs": obs}), *roll(env, 10)]:
        for seen in (step[0], step[4]["final_obs"]):
            assert set(seen) == set(env.spec.groups)
            for group, value in seen.items():
                assert value.shape == (3, env.spec.group_dim(group))
                assert value.dtype == torch.float32
                assert torch.isfinite(value).all()
                assert value.untyped_storage().data_ptr() != env.world.command.untyped_storage().data_ptr()
        if step[1] is not None:
            assert (step[1].shape, step[1].dtype) == ((3,), torch.float32)
            assert all(v is not None and (v.shape, v.dtype) == ((3,), torch.bool) for v in step[2:4])
            assert torch.isfinite(step[1]).all()


@for_every_task
def test_students_see_no_privileged_term(name: str, make_env: MakeEnv) -> None:
    spec = make_env(name, 1).spec
    assert {"sensors", "privileged"} <= set(spec.groups)
    assert {t.source for t in spec.terms("sensors")} <= {"sensor", "command", "internal"}
    assert {t.source for t in spec.terms("privileged")} == {"privileged"}
    for term in spec.terms("sensors"):
        assert "velocity" not in term.name  # of the base: nothing on the robot measures it
        assert "privileged" not in term.type


@for_every_task
def test_a_seed_fixes_everything(name: str, make_env: MakeEnv) -> None:
    task = short(make_env(name, 1).task, 30)
    a, b, c = (make_env(task, 3, seed=s) for s in (0, 1, 1))
    first = [env.reset(seed) for env, seed in ((a, 7), (b, 7), (c, 8))]
    assert all(torch.equal(first[0][g], first[1][g]) for g in first[0])
    assert not torch.equal(first[0]["sensors"], first[2]["sensors"])
    steps = zip(*(roll(env, 60) for env in (a, b, c)), strict=True)
    agree = [(same(x, y), same(x, z)) for x, y, z in steps]
    assert all(x for x, _ in agree)
    assert not any(y for _, y in agree)
    again = a.reset(7)  # and a used environment starts as a new one does
    assert all(torch.equal(again[g], first[0][g]) for g in again)


@for_every_task
def test_a_world_does_not_know_how_many_are_beside_it(name: str, make_env: MakeEnv) -> None:
    task = short(make_env(name, 1).task, 25)
    few, many = make_env(task, 4), make_env(task, 9, threads=2)
    few.reset(2)
    many.reset(2)
    for a, b in zip(roll(few, 60), roll(many, 60), strict=True):
        assert same(a, b, slice(0, 4))


@for_every_task
def test_first_world_shifts_which_worlds_are_simulated(name: str, make_env: MakeEnv) -> None:
    """Worlds 2 and 3 are the same in an environment of their own, also after ``reset(seed)`` and a restart."""
    task = short(make_env(name, 1).task, 25)
    every, part = make_env(task, 4), make_env(task, 2, first_world=2)
    a, b = every.reset(3), part.reset(3)
    assert all(torch.equal(a[g][2:], b[g]) for g in a)
    for action in actions(30, 4, every.action_dim):
        x, y = every.step(action), part.step(action[2:])
        assert all(torch.equal(x[0][g][2:], y[0][g]) for g in a)
        assert torch.equal(x[1][2:], y[1])
    resumed = make_env(task, 2, first_world=2)
    resumed.load_state_dict(part.state_dict())
    for action in actions(30, 4, every.action_dim):
        assert same(part.step(action[2:]), resumed.step(action[2:]))


@for_every_task
def test_time_limits_truncate_and_begin_anew(name: str, make_env: MakeEnv) -> None:
    task = replace(short(make_env(name, 1).task, 6), terminations=())
    env, longer = make_env(task, 3), make_env(replace(task, episode_s=1e3), 3)
    obs = env.reset(0)
    longer.reset(0)
    taken = actions(6, 3, env.action_dim, 0.2)
    for k, action in enumerate(taken):
        obs, reward, terminated, truncated, info = env.step(action)
        unending = longer.step(action)
        assert not terminated.any()
        assert truncated.all() if k == 5 else not truncated.any()
        assert info["done_ids"].tolist() == ([0, 1, 2] if k == 5 else [])
        # the true last observation, untouched by the reset, is what would have been seen without one
        assert all(torch.equal(info["final_obs"][g], unending[4]["final_obs"][g]) for g in obs)
        assert torch.equal(reward, unending[1])
        for group, value in obs.items():
            assert torch.equal(value, info["final_obs"][group]) is (k != 5)
    assert env.world.steps.tolist() == [0, 0, 0]
    assert env.episode.tolist() == [1, 1, 1]
    assert all(torch.equal(v, env.observe()[g]) for g, v in obs.items())
    assert not env.world.last_action.any()


def test_what_ends_by_a_termination_is_not_truncated(make_env: MakeEnv, load_task: LoadTask) -> None:
    """Also where both come at once: the value of what follows counts after a truncation only."""
    task = short(load_task("cartpole_balance"), 2)
    always = replace(task.terminations[0], params={"sensor": "hinge_angle", "limit": -1.0})
    env = make_env(replace(task, terminations=(always,)), 2)
    env.reset(0)
    env.world.steps[0] = 1
    _, _, terminated, truncated, info = env.step(torch.zeros(2, 1))
    assert terminated.tolist() == [True, True]
    assert truncated.tolist() == [False, False]
    assert info["episode"]["truncated"].tolist() == [False, False]


@for_every_task
def test_the_world_remembers_two_actions(name: str, make_env: MakeEnv) -> None:
    env = make_env(name, 2, quiet=True)
    env.reset(0)
    before = torch.zeros(2, env.action_dim)
    for action in actions(3, 2, env.action_dim, 0.2):
        env.step(action)
        assert torch.equal(env.world.last_action, before)
        assert torch.equal(env.world.action, action)
        assert torch.equal(env.world.internals.get("last_action", action), action)
        before = action


@for_every_task
def test_a_reset_episode_is_a_fresh_one(name: str, make_env: MakeEnv) -> None:
    """After an autoreset a world goes on as one that never lived before, in the same episode."""
    task = short(make_env(name, 1).task, 8)
    used, new = make_env(task, 3), make_env(task, 3)
    used.reset(0)
    roll(used, 8)
    assert used.world.steps.tolist() == [0, 0, 0]
    new.reset(0)
    new.episode[:] = used.episode - 1
    new.world.steps[:] = 7
    new.step(torch.zeros(3, new.action_dim))
    assert new.episode.tolist() == used.episode.tolist()
    for a, b in zip(roll(used, 7), roll(new, 7), strict=True):
        assert same(a, b)


@for_every_task
def test_episode_statistics_add_up(name: str, make_env: MakeEnv) -> None:
    env = make_env(short(make_env(name, 1).task, 20), 4)
    env.reset(0, stagger=True)
    begun = env.world.steps.clone()
    total, length, ended = torch.zeros(4), torch.zeros(4, dtype=torch.int64), 0
    for _, reward, terminated, truncated, info in roll(env, 45, size=1.5):
        total += reward
        length += 1
        ids = info["done_ids"]
        assert torch.equal(ids, (terminated | truncated).nonzero()[:, 0])
        assert not (terminated & truncated).any()
        assert ("episode" in info) is (len(ids) > 0)
        if len(ids) == 0:
            continue
        episode = info["episode"]
        assert torch.allclose(episode["return"], total[ids], atol=1e-5)
        assert torch.allclose(episode["rewards"].sum(dim=1), total[ids], atol=1e-5)
        assert episode["rewards"].shape == (len(ids), len(env.reward_names))
        assert torch.equal(episode["length"], length[ids] + begun[ids])
        assert torch.equal(episode["truncated"], truncated[ids])
        because = torch.stack(list(episode["causes"].values())).any(dim=0)
        assert torch.equal(because, terminated[ids])
        total[ids], length[ids], begun[ids] = 0.0, 0, 0
        ended += len(ids)
    assert ended >= 8


@for_every_task
def test_every_observation_varies(name: str, make_env: MakeEnv) -> None:
    """A column that never changes tells nothing: it would be a term that is not wired up."""
    task = make_env(name, 1).task
    if task.push:
        task = replace(task, push=PushConfig(task.push.max_speed, (0.2, 0.4)))
    env = make_env(task, 6)
    env.reset(0)
    seen = [step[4]["final_obs"] for step in roll(env, 60)]
    if not env.task.reset.height:  # an arm may first have to find what it is to touch: all its joints at speed do
        generator, speeds = torch.Generator().manual_seed(1), env.engine.state("qvel")
        for _ in range(12):
            speeds[:] = 30.0 * (2.0 * torch.rand(speeds.shape, generator=generator) - 1.0)
            seen += [step[4]["final_obs"] for step in roll(env, 20, size=2.0)]
    for group in env.spec.groups:
        stacked = torch.stack([obs[group] for obs in seen]).flatten(0, 1)
        flat = (stacked.amax(dim=0) - stacked.amin(dim=0)) < 1e-4
        silent = [env.groups[group].locate(int(c)) for c in flat.nonzero()[:, 0]]
        # without a floor a touch may have nothing to meet in so short a time
        touches = {s.name for s in env.task.robot.sensors if s.type == "touch" and not env.task.robot.floor}
        read = {t.name: set(t.inputs) for t in env.spec.terms(group)}
        assert [name for name in silent if not read[name] & touches] == []


@for_every_task
def test_stagger_spreads_the_first_ends(name: str, make_env: MakeEnv) -> None:
    env = make_env(name, 64)
    env.reset(0, stagger=True)
    ages = env.world.steps.float() / env.task.max_steps
    assert 0.0 <= float(ages.min()) < 0.1
    assert 0.9 < float(ages.max()) < 1.0


@for_every_task
def test_actions_are_clipped_to_the_limits_of_the_robot(name: str, make_env: MakeEnv) -> None:
    env = make_env(name, 2, quiet=True)
    env.reset(0)
    for sign, end in ((1e6, "upper"), (-1e6, "lower")):
        env.step(torch.full((2, env.action_dim), sign))
        limit = torch.tensor(
            [v for part in env.spec.actions for v in getattr(part, end)], dtype=torch.float64
        )
        assert torch.allclose(env.engine.state("ctrl"), limit.expand(2, -1))
        env.reset(0)


def test_before_reset_sees_the_last_state(make_env: MakeEnv, load_task: LoadTask) -> None:
    env = make_env(replace(short(load_task("go2_flat"), 3), terminations=()), 2)
    env.reset(0)
    heights: list[Tensor] = []
    env.before_reset = lambda: heights.append(env.engine.state("qpos")[:, 2].clone())
    roll(env, 3)
    assert len(heights) == 3
    assert not torch.equal(heights[-1], env.engine.state("qpos")[:, 2])
