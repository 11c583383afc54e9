"""Rollouts that many runs have in common, made once: a benchmark's cells all compare with the same teacher."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from robodistill.checkpoint import is_whole, load_tree, save_tree
from robodistill.evaluation.drivers import Driver
from robodistill.evaluation.rollout import Rollout
from robodistill.settings import EvaluateConfig
from robodistill_envs.config import TaskConfig


def kept_rollout(
    folder: Path | None, task: TaskConfig, driver: Driver, config: EvaluateConfig, make: Callable[[], Rollout]
) -> Rollout:
    """Return what ``make`` gives, or what it gave before in another run; ``folder`` None keeps nothing.

    Two rollouts are the same if the driver, the task (with its range), the seed and all settings are. Only drivers
    that say who they are are kept.
    """
    if folder is None or not driver.identity:
        return make()
    path = folder / _name(task, driver, config)
    if is_whole(path):
        return Rollout(**load_tree(path))
    rollout = make()
    _keep(path, vars(rollout))
    return rollout


def _name(task: TaskConfig, driver: Driver, config: EvaluateConfig) -> str:
    facts = [version("robodistill"), driver.identity, asdict(task), asdict(config)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _keep(path: Path, rollout: dict[str, Any]) -> None:
    own = path.with_name(f"{path.name}-{os.getpid()}")  # another process may be writing the same
    save_tree(own, rollout)
    shutil.rmtree(path, ignore_errors=True)  # damaged, or else it would have been taken
    try:
        os.rename(own, path)
    except OSError:  # the other one was first, and has written the same
        shutil.rmtree(own)
