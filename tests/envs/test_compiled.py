"""Compiled rewards and observations: the same functions, traced once, whoever ends."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from robodistill_deploy.errors import RobodistillError
from robodistill_envs.config import TaskConfig
from robodistill_envs.vector import VecEnv

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
HAS_COMPILER = any(shutil.which(name) for name in ("g++", "clang++", "c++"))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace what would be compiled and run it as it is: the same bits, in seconds and without a compiler."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.setattr("robodistill_envs.compiled.require_compiler", lambda: None)
    torch.compiler.reset()
    counters.clear()


def steps(env: VecEnv, count: int) -> list[list[Tensor]]:
    """Return what ``count`` steps with random actions give, tensor by tensor."""
    generator = torch.Generator().manual_seed(3)
    found: list[list[Tensor]] = []
    for _ in range(count):
        action = 0.6 * torch.randn(env.num_envs, env.action_dim, generator=generator)
        obs, reward, terminated, truncated, info = env.step(action)
        ended = info["final_obs"][next(iter(obs))]
        signals = env.world.signals.values()
        found.append([*obs.values(), reward, terminated, truncated, ended, *signals, info["done_ids"]])
    return found


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("name", ["go2_flat", "cartpole_balance"])
def test_it_is_traced_once_and_says_the_same(name: str, load_task: LoadTask, make_env: MakeEnv) -> None:
    task = load_task(name)
    task = replace(task, episode_s=10 * task.control_dt)
    plain, fast = make_env(task, 6), make_env(task, 6, compiles=True)
    for env in (plain, fast):
        env.reset(2, stagger=True)
    expected, found = steps(plain, 25), steps(fast, 25)
    assert len({len(step[-1]) for step in expected}) >= 3  # different numbers end
    for here, there in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    traces = counters["stats"]["unique_graphs"]
    assert traces >= 2
    restored = make_env(task, 6, compiles=True)
    restored.load_state_dict(fast.state_dict())
    fast.reset(7)
    steps(fast, 5)
    assert counters["stats"]["unique_graphs"] == traces  # another seed is no other function


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler here")
def test_compiled_it_differs_in_the_last_bits_and_repeats_itself(load_task: LoadTask, make_env: MakeEnv) -> None:
    torch.compiler.reset()
    task = load_task("pendulum_swingup")
    task = replace(task, episode_s=10 * task.control_dt)
    plain, fast, again = (make_env(task, 5, compiles=compiles) for compiles in (False, True, True))
    results: list[list[list[Tensor]]] = []
    for env in (plain, fast, again):
        env.reset(2, stagger=True)
        results.append(steps(env, 20))
    for first, second, third in zip(*results, strict=True):
        assert all(torch.allclose(a.float(), b.float(), atol=1e-4) for a, b in zip(first, second, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(second, third, strict=True))


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
