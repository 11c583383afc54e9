"""The comparison itself: every driver on the same worlds, figures with intervals, files for the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robodistill.evaluation import statistics
from robodistill.evaluation.drivers import Driver
from robodistill.evaluation.kept import Kept
from robodistill.evaluation.probe import privileged_r2
from robodistill.evaluation.rollout import Look, Rollout, as_arrays, roll_out
from robodistill.files import write_json, writing
from robodistill.networks import STUDENT
from robodistill.settings import EvaluateConfig
from robodistill_envs.config import TaskConfig
from robodistill_envs.vector import VecEnv

TEACHER, ZERO = "teacher", "zero_action"


def _metrics(rollout: Rollout, task: TaskConfig, config: EvaluateConfig) -> dict[str, Any]:
    minutes = rollout.lengths.numpy() * task.control_dt / 60.0
    result: dict[str, Any] = {
        "falls_per_minute": {
            **statistics.bootstrap(statistics.ratio, (rollout.fell.numpy(), minutes), config.bootstrap), "unit": "1/min"
        }
    }  # fmt: skip
    for metric in task.metrics:
        for name in (metric.name, f"{metric.name}_unsettled"):
            if name not in rollout.sums:
                continue
            top, bottom = (value.numpy() for value in rollout.sums[name])
            columns = (top,) if metric.reduce == "max" else (top, bottom)
            how = statistics.mean if metric.reduce == "max" else getattr(statistics, metric.reduce)
            result[name] = {**statistics.bootstrap(how, columns, config.bootstrap), "unit": metric.unit}
    return result


def compare(
    env: VecEnv,
    drivers: Mapping[str, Driver],
    config: EvaluateConfig,
    progress: Callable[[str, int], None],
    watch: Look | None = None,
    kept: Kept | None = None,
) -> tuple[dict[str, Any], dict[str, Rollout]]:
    """Roll out every driver on the same seed; return the figures of ``evaluation.json`` and the rollouts.

    ``watch`` is shown the student's ticks; ``kept`` is what other runs have rolled out.
    """
    kept = kept or Kept("")

    def rollout_of(name: str, driver: Driver) -> Rollout:
        look = watch if name == STUDENT else None
        return roll_out(env, driver, config, lambda tick: progress(name, tick), look)

    rollouts = {
        name: kept.rollout(env, driver, config, partial(rollout_of, name, driver))
        for name, driver in drivers.items()
    }
    returns = {name: rollout.returns.numpy() for name, rollout in rollouts.items()}
    result: dict[str, Any] = {
        "task": env.task.name, "episodes": config.episodes, "seed": config.seed, "control_dt": env.task.control_dt,
        "policies": {
            name: {
                "return": statistics.bootstrap(statistics.mean, (returns[name],), config.bootstrap),
                "metrics": _metrics(rollout, env.task, config),
            }
            for name, rollout in rollouts.items()
        },
        "score": {},
    }  # fmt: skip
    if TEACHER in returns and ZERO in returns:
        for name, reached in returns.items():
            if name not in (TEACHER, ZERO):
                columns = (reached, returns[TEACHER], returns[ZERO])
                result["score"][name] = statistics.bootstrap(statistics.score, columns, config.bootstrap)
    if STUDENT in rollouts:
        result |= privileged_r2(rollouts[STUDENT], env.spec)
    return result, rollouts


def write_files(
    folder: Path, result: dict[str, Any], rollouts: Mapping[str, Rollout], control_dt: float
) -> None:
    """Write ``evaluation.json``, ``episodes.npz`` and ``trajectories.npz`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    episodes: dict[str, Any] = {}
    trajectories: dict[str, Any] = {"control_dt": np.array(control_dt)}
    for name, rollout in rollouts.items():
        episodes |= {f"{name}.{key}": value for key, value in as_arrays(rollout).items()}
        trajectories |= {f"{name}.{key}": value.numpy() for key, value in rollout.trajectory.items()}
    first = next(iter(rollouts.values()))
    episodes |= {f"parameter.{key}": value.numpy() for key, value in first.parameters.items()}
    episodes["command"] = first.commands.numpy()
    worlds = first.recorded.numpy()
    trajectories |= {f"parameter.{key}": value.numpy()[worlds] for key, value in first.parameters.items()}
    for name, arrays in (("episodes.npz", episodes), ("trajectories.npz", trajectories)):
        with writing(folder / name):
            np.savez_compressed(folder / name, **arrays)
    write_json(folder / "evaluation.json", result)
