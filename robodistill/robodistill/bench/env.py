"""How much of the bare engine's speed is left when terms, rewards, resets and randomisation are added."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robodistill.memory import resident_bytes
from robodistill.settings import RunConfig
from robodistill.threads import one_thread, set_threads
from robodistill_deploy.errors import RobodistillError
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
    """The same steps twice from one state: by ``Engine.step`` alone, without pushes and resets, and in VecEnv."""

    def __init__(self, env: VecEnv, settings: Settings, steps: int) -> None:
        self.env, self.settings, self.steps = env, settings, steps
        self.generator = torch.Generator().manual_seed(env.seed)
        self.targets: list[Tensor] = []

    def actions(self, steps: int) -> Tensor:
        """Return random raw actions (steps, num_envs, action_dim)."""
        shape = (steps, self.env.num_envs, self.env.action_dim)
        return self.settings.noise * torch.randn(shape, generator=self.generator)

    def play(self, actions: Tensor) -> None:
        """Step the environment."""
        for action in actions:
            self.env.step(action)

    def note(self, actions: Tensor) -> None:
        """Step the environment and remember the servos' targets."""
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
    def __call__(self) -> tuple[float, float]:
        """Return the seconds of the bare engine and of the environment, with torch on one thread as in training."""
        actions = self.actions(self.steps)
        begin = self.env.state_dict()
        self.note(actions)
        self.env.load_state_dict(begin)
        bare = _timed(self.bare)
        self.env.load_state_dict(begin)
        return bare, _timed(lambda: self.play(actions))


def measure(config: RunConfig, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Return for each number of worlds the control steps per second of both, and their ratio, medians of rounds.

    ``kib_per_world`` is by how much the process is larger than before any environment was made, once it has settled.
    """
    rows: list[dict[str, float]] = []
    VecEnv(config.task, 1, config.seed, 1).reset()  # what is loaded at first use counts for no world
    before = resident_bytes()
    for worlds in settings.worlds:
        threads = set_threads(config.threads)
        env = VecEnv(config.task, worlds, config.seed, threads, compiles=config.compile)
        env.reset(stagger=True)
        steps = max(1, settings.steps * _FULL // max(worlds, _FULL))
        one = _Round(env, settings, steps)
        with torch.no_grad(), one_thread():
            one.play(one.actions(round(settings.settle_s / env.task.control_dt)))
            grown = resident_bytes() - before
            times = [one() for _ in range(settings.rounds)]
        count = worlds * steps
        row = {
            "worlds": worlds,
            "bare_steps_per_s": count / statistics.median(bare for bare, _ in times),
            "env_steps_per_s": count / statistics.median(whole for _, whole in times),
            "ratio": statistics.median(bare / whole for bare, whole in times),
            "ratio_low": min(bare / whole for bare, whole in times),
            "ratio_high": max(bare / whole for bare, whole in times),
            "us_per_world_step": 1e6 * statistics.median(whole for _, whole in times) / count,
            "kib_per_world": grown / worlds / 1024.0,
        }
        rows.append(row)
        del env, one
        say(
            f"worlds={worlds:<6} bare={row['bare_steps_per_s']:.0f}/s  env={row['env_steps_per_s']:.0f}/s  "
            f"ratio={row['ratio']:.3f}  ({row['ratio_low']:.3f} to {row['ratio_high']:.3f} in {settings.rounds} rounds)"
            f"  {row['us_per_world_step']:.1f} us and {row['kib_per_world']:.1f} KiB per world"
        )
    worst = min(row["ratio"] for row in rows)
    say(f"ratio={worst:.3f}")
    return {"task": config.task.name, "rows": rows, "ratio": worst}
