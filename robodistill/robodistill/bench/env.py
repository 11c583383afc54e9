"""How much of the bare engine's speed is left when terms, rewards, resets and randomisation are added.

  robodistill bench env task=go2_flat
  robodistill bench env task=go2_flat worlds=4096 rounds=21 threads=1 out=env.json

Keys    worlds=256,1024,4096,16384  numbers of worlds
        rounds=9                rounds for each, of which the median counts
        steps=24                control steps of a round; fewer with more than 4096 worlds
        noise=0.5               standard deviation of the raw actions, as of a policy that explores
        settle_s=2.0            [s] of simulated time before the first round, so that falls come at their usual rate
        compiled=auto           VecEnv with compile=true beside the plain one; auto: with a C++ compiler
        out=<file.json>         where the figures go

A round steps from the same state by the engine alone, in VecEnv and, where a C++ compiler is found, in VecEnv with
compile=true, all with the same targets. `ratio=` at the end is the worst of the compiled one, or of the plain one where
it is alone. Compiling takes about a minute the first time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from robodistill.memory import resident_bytes
from robodistill.settings import RunConfig
from robodistill.threads import one_thread, set_threads
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.compiled import has_compiler
from robodistill_envs.vector import VecEnv


@dataclass(frozen=True)
class Settings:
    """``robodistill bench env``."""

    worlds: tuple[int, ...] = (256, 1024, 4096, 16384)
    """Numbers of worlds to measure."""
    rounds: int = 9
    """Rounds for each; the median counts."""
    steps: int = 24
    """Control steps of a round; fewer with more than 4096 worlds, so that a round takes no longer than with these."""
    noise: float = 0.5
    """Standard deviation of the raw actions, as of a policy that explores."""
    settle_s: float = 2.0
    """[s] of simulated time before the first round, so that falls and resets come at their usual rate."""
    compiled: Literal["auto", True, False] = "auto"
    """Whether VecEnv as with ``compile=true`` is measured beside the plain one; auto: where a C++ compiler is found."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if min(*self.worlds, self.rounds, self.steps) < 1:
            raise RobodistillError("bench env: worlds, rounds and steps must be at least 1")


_FULL = 4096


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class _Round:
    """The same steps from one state: by ``Engine.step`` alone, without pushes and resets, and in each VecEnv."""

    def __init__(self, envs: list[VecEnv], settings: Settings, steps: int) -> None:
        self.envs, self.settings, self.steps = envs, settings, steps
        self.env = envs[0]
        self.generator = torch.Generator().manual_seed(self.env.seed)
        self.targets: list[Tensor] = []

    def actions(self, steps: int) -> Tensor:
        """Return random raw actions (steps, num_envs, action_dim)."""
        shape = (steps, self.env.num_envs, self.env.action_dim)
        return self.settings.noise * torch.randn(shape, generator=self.generator)

    def note(self, actions: Tensor) -> None:
        """Step the plain environment and remember the servos' targets."""
        self.targets = []
        for action in actions:
            self.env.step(action)
            self.targets.append(self.env.engine.state("ctrl").clone())

    def bare(self) -> None:
        """Step the engine alone with the same targets."""
        ctrl, engine, decimation = self.env.engine.state("ctrl"), self.env.engine, self.env.task.decimation
        for target in self.targets:
            ctrl.copy_(target)
            engine.step(decimation)

    @torch.no_grad()
    def __call__(self) -> list[float]:
        """Return the seconds of the bare engine, then of each environment, with torch on one thread as in training."""
        actions = self.actions(self.steps)
        begin = self.env.state_dict()
        self.note(actions)
        self.env.load_state_dict(begin)
        times = [_timed(self.bare)]
        for env in self.envs:
            env.load_state_dict(begin)
            times.append(_timed(lambda env=env: play(env, actions)))
        return times


def play(env: VecEnv, actions: Tensor) -> None:
    """Step ``env`` with ``actions`` (steps, num_envs, action_dim)."""
    for action in actions:
        env.step(action)


def _times(
    config: RunConfig, settings: Settings, worlds: int, steps: int, compiles: bool
) -> tuple[list[list[float]], int]:
    """Return the seconds of each round, and the size of the process [bytes] when the plain environment had settled."""
    threads = set_threads(config.threads)
    env = VecEnv(config.task, worlds, config.seed, threads)
    env.reset(stagger=True)
    one = _Round([env], settings, steps)
    with torch.no_grad(), one_thread():
        play(env, one.actions(round(settings.settle_s / env.task.control_dt)))
        size = resident_bytes()
        if compiles:
            one.envs.append(VecEnv(config.task, worlds, config.seed, threads, compiles=True))
            one.envs[1].reset()
            play(one.envs[1], one.actions(2))  # its functions are compiled at their first call
        return [one() for _ in range(settings.rounds)], size


def _row(times: list[list[float]], which: int, count: int) -> dict[str, float]:
    """Return the figures of environment ``which`` (1 the plain one) from rounds of ``count`` control steps."""
    ratios = [seconds[0] / seconds[which] for seconds in times]
    whole = statistics.median(seconds[which] for seconds in times)
    return {
        "env_steps_per_s": count / whole,
        "ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios),
        "us_per_world_step": 1e6 * whole / count,
    }  # fmt: skip


def _says(name: str, row: dict[str, Any]) -> str:
    return (
        f"{name}={row['env_steps_per_s']:.0f}/s  ratio={row['ratio']:.3f}  "
        f"({row['ratio_low']:.3f} to {row['ratio_high']:.3f})  {row['us_per_world_step']:.1f} us per world"
    )


def measure(config: RunConfig, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Return for each number of worlds the control steps per second of all, and their ratios, medians of rounds.

    A row is of the plain VecEnv and holds the same figures of the compiled one under ``compiled``, where it is
    measured; ``ratio`` is the worst of the compiled one, else of the plain. ``kib_per_world`` is by how much the
    process is larger than before any environment was made, once the plain one has settled.
    """
    wanted = settings.compiled
    compiles = (config.compile or has_compiler()) if wanted == "auto" else wanted
    if compiles:
        say("VecEnv plain and compiled: compiling takes about a minute the first time; compiled=false leaves it out")
    rows: list[dict[str, Any]] = []
    with torch.no_grad(), one_thread():  # what is loaded at first use counts for no world
        warm = VecEnv(config.task, 1, config.seed, 1, compiles=compiles)
        warm.reset()
        play(warm, torch.zeros(2, 1, warm.action_dim))
    before = resident_bytes()
    for worlds in settings.worlds:
        steps = max(1, settings.steps * _FULL // max(worlds, _FULL))
        times, size = _times(config, settings, worlds, steps, compiles)
        count = worlds * steps
        row: dict[str, Any] = {
            "worlds": worlds,
            "bare_steps_per_s": count / statistics.median(seconds[0] for seconds in times),
            **_row(times, 1, count),
            "kib_per_world": (size - before) / worlds / 1024.0,
        }
        parts = [f"worlds={worlds:<6} bare={row['bare_steps_per_s']:.0f}/s", _says("env", row)]
        parts[1] += f", {row['kib_per_world']:.1f} KiB"
        if compiles:
            row["compiled"] = _row(times, 2, count)
            parts.append(_says("compiled", row["compiled"]))
        rows.append(row)
        say("  ".join(parts))
    which = "compiled" if compiles else "plain"
    worst = min(row["compiled"]["ratio"] if compiles else row["ratio"] for row in rows)
    say(f"ratio={worst:.3f} ({which}, the worst; medians and ranges of {settings.rounds} rounds)")
    return {"task": config.task.name, "rows": rows, "ratio": worst, "ratio_of": which}
