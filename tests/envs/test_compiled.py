"""Compiled targets, outcomes, starts and observations: the same functions, traced once, whoever ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robodistill_deploy.errors import RobodistillError
from robodistill_envs import compiled
from robodistill_envs.config import TaskConfig
from robodistill_envs.vector import VecEnv
from robodistill_envs.world import World

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
HAS_COMPILER = any(shutil.which(name) for name in ("g++", "clang++", "c++"))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Trace what would be compiled and run the trace as it is: the same bits, in seconds and without a compiler."""
    count: list[int] = []

    def library(program: torch.export.ExportedProgram) -> Callable[[list[Tensor]], list[Tensor]]:
        count.append(1)
        return lambda inputs: list(program.module()(*inputs))

    monkeypatch.setattr(compiled, "_library", library)
    monkeypatch.setattr(compiled, "require_compiler", lambda: None)
    return count


def steps(env: VecEnv, count: int) -> list[list[Tensor]]:
    """Return what ``count`` steps with random actions give, tensor by tensor."""
    generator = torch.Generator().manual_seed(3)
    found: list[list[Tensor]] = []
    for _ in range(count):
        action = 0.6 * torch.randn(env.num_envs, env.action_dim, generator=generator)
        obs, reward, terminated, truncated, info = env.step(action)
        ended = info["final_obs"][next(iter(obs))]
        signals, world = env.world.signals.values(), env.world
        drawn = [world.command, world.push, env.command_age, world.parameters[next(iter(world.parameters))]]
        drawn = [value.clone() for value in drawn]
        found.append([*obs.values(), reward, terminated, truncated, ended, *signals, *drawn, info["done_ids"]])
    return found


@pytest.mark.parametrize("name", ["go2_flat", "cartpole_balance"])
def test_it_is_traced_once_and_says_the_same(
    name: str, traced: list[int], load_task: LoadTask, make_env: MakeEnv
) -> None:
    task = load_task(name)
    dt = task.control_dt
    task = replace(
        task,
        episode_s=10 * dt,
        command=task.command and replace(task.command, hold_s=4 * dt),
        push=task.push and replace(task.push, interval_s=(2 * dt, 5 * dt)),
    )
    plain, fast = make_env(task, 6), make_env(task, 6, compiles=True)
    for env in (plain, fast):
        env.reset(2, stagger=True)
    expected, found = steps(plain, 25), steps(fast, 25)
    assert len({len(step[-1]) for step in expected}) >= 3  # different numbers end
    for here, there in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    assert len(traced) == 4
    sizes: list[float] = []
    for progress in (1.0, 0.5):  # neither another seed nor another size of commands is another function
        for env in (plain, fast):
            env.progress = progress
            env.reset(7)
        expected, found = steps(plain, 9), steps(fast, 9)
        for here, there in zip(expected, found, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
        sizes.append(float(fast.world.command.norm() + fast.world.push.norm()))
    assert not task.command or 0.0 < sizes[1] < sizes[0]
    assert len(traced) == 4


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler here")
def test_compiled_it_differs_in_the_last_bits_and_repeats_itself(
    load_task: LoadTask, make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    task = load_task("pendulum_swingup")
    task = replace(task, episode_s=10 * task.control_dt)
    plain, fast, again = (make_env(task, 5, compiles=compiles) for compiles in (False, True, True))
    results: list[list[list[Tensor]]] = []
    for env in (plain, fast, again):
        env.reset(2, stagger=True)
        results.append(steps(env, 20))
    for first, second, third in zip(*results, strict=True):
        assert all(
            torch.allclose(a.float(), b.float(), atol=1e-4) for a, b in zip(first, second, strict=True)
        )
        assert all(torch.equal(a, b) for a, b in zip(second, third, strict=True))
    kept = sorted((tmp_path / "robodistill" / "compiled").iterdir())
    assert [path.suffix for path in kept] == [".pt2"] * 4  # made once, for both
    alone, one = make_env(task, 1), make_env(task, 1, compiles=True)  # a single world, too
    for env in (alone, one):
        env.reset(2, stagger=True)
    for first, second in zip(steps(alone, 12), steps(one, 12), strict=True):
        assert all(
            torch.allclose(a.float(), b.float(), atol=1e-4) for a, b in zip(first, second, strict=True)
        )
    assert sorted((tmp_path / "robodistill" / "compiled").iterdir()) == kept


def test_without_a_compiler_one_line_says_what_to_do(
    make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RobodistillError, match=r"install one \(apt install g\+\+\)") as caught:
        make_env("pendulum_swingup", 1, compiles=True)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("CXX", "my-compiler")
    with pytest.raises(RobodistillError, match="my-compiler was not found"):
        make_env("pendulum_swingup", 1, compiles=True)


def branching(world: World) -> Tensor:
    return world.command[:, 0] * 0.0 + (1.0 if bool((world.command[:, 0] > 0.5).any()) else 0.0)


def test_a_reward_that_cannot_be_traced_is_refused_in_one_line(
    load_task: LoadTask, make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "require_compiler", lambda: None)
    monkeypatch.setattr(compiled, "_library", lambda program: lambda inputs: list(program.module()(*inputs)))
    task = load_task("go2_flat")
    first = replace(task.rewards[0], type=f"{__name__}:branching", params={})
    env = make_env(replace(task, rewards=(first, *task.rewards[1:])), 3, compiles=True)
    env.reset(0)
    with pytest.raises(RobodistillError, match=r"cannot be compiled: .*leave compile out") as caught:
        env.step(torch.zeros(3, env.action_dim))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("width", "dtype"), [(5, torch.float32), (7, torch.float32), (7, torch.float64)])
def test_other_widths_and_kinds_of_number_are_another_library(width: int, dtype: torch.dtype) -> None:
    def key(columns: int, kind: torch.dtype) -> str:
        module = compiled._Traced(lambda x: (x[:, :2].sum(dim=1),))  # pyright: ignore[reportPrivateUsage]
        return compiled._key(compiled._trace(module, [torch.zeros(3, columns, dtype=kind)]))  # pyright: ignore[reportPrivateUsage]

    assert key(width, dtype) == key(width, dtype)
    assert key(width, dtype) != key(6, torch.float32)
