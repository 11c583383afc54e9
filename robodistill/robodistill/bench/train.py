"""Where the time of training goes: a profile of whole iterations, collecting and learning.

  robodistill bench train task=go2_flat iterations=20

Keys    iterations=10           iterations that are timed, and as many that are profiled
        warm_up=3               iterations before them
        out=<file.json>         where the figures go
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from robodistill.builders import teacher_networks
from robodistill.settings import RunConfig
from robodistill.threads import set_threads
from robodistill.trainer import Trainer
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv

PARTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "physics": (("engines/mjbatch.py", "step"),),
    "targets and pushes": (("vector.py", "_act"),),
    "rewards and terminations": (("vector.py", "_judge"),),
    "observations": (("vector.py", "_observe"),),
    "resets": (("vector.py", "_begin"),),
    "inference": (("collect.py", "_act"),),
    "advantages": (("collect.py", "_add_advantages"),),
    "learning": (("phases.py", "run"),),
    "normalisers": (("trainer.py", "_update_normalizers"),),
}
"""Part of an iteration -> the functions (end of the file's path, name) whose time, all they call included, it is."""


@dataclass(frozen=True)
class Settings:
    """``robodistill bench train``."""

    iterations: int = 10
    """Iterations that are timed, and as many that are profiled."""
    warm_up: int = 3
    """Iterations before them."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.iterations < 1 or self.warm_up < 0:
            raise RobodistillError("bench train: iterations must be at least 1, warm_up at least 0")


def measure(config: RunConfig, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Return steps per second, the learner's share of the wall time, and each part's milliseconds per iteration."""
    torch.manual_seed(config.seed)
    train = config.teacher
    threads = set_threads(config.threads)
    env = VecEnv(config.task, train.method.collect.num_envs, config.seed, threads, compiles=config.compile)
    trainer = Trainer(train, env, teacher_networks(train, env.spec), config.seed, saved="teacher")
    for _ in range(settings.warm_up):
        trainer.iterate()
    timed = [trainer.iterate() for _ in range(settings.iterations)]
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(settings.iterations):
        trainer.iterate()
    profile.disable()
    parts = split(pstats.Stats(profile), settings.iterations)
    speed = statistics.median(f["time/steps_per_s"] for f in timed)
    learner = statistics.median(f["time/learn_s"] / (f["time/learn_s"] + f["time/collect_s"]) for f in timed)
    whole = sum(parts.values())
    for name, seconds in parts.items():
        say(f"{name:<26}{1e3 * seconds:9.1f} ms  {seconds / whole:6.1%}")
    say(f"steps_per_s={speed:.0f}  learner={learner:.3f} of the wall time (unprofiled)")
    return {"task": config.task.name, "steps_per_s": speed, "learner": learner, "seconds": parts}


def split(stats: pstats.Stats, iterations: int) -> dict[str, float]:
    """Return the seconds of each of PARTS, and of all else, per iteration."""
    entries: dict[tuple[str, int, str], Any] = vars(stats)["stats"]
    whole = sum(own for _, _, own, _, _ in entries.values())
    parts = {
        name: sum(
            cumulative
            for (file, _, function), (_, _, _, cumulative, _) in entries.items()
            if any(file.endswith(end) and function == called for end, called in places)
        )
        for name, places in PARTS.items()
    }
    parts["all else"] = whole - sum(parts.values())
    return {name: seconds / iterations for name, seconds in parts.items()}
