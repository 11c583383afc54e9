"""Rollouts that many runs have in common, made once: a benchmark's cells all compare with the same teacher."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import mujoco
import numpy as np

from robodistill.checkpoint import is_whole, load_tree, save_tree
from robodistill.evaluation.drivers import Driver
from robodistill.evaluation.rollout import Rollout
from robodistill.runs import provenance
from robodistill.settings import EvaluateConfig
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv


class Kept:
    """A folder of rollouts. Two are the same if the driver, the task, the model, all settings and the code are.

    Of the code it knows versions and, in a clone, the commit: neither edits since nor functions of a task of one's own.
    """

    def __init__(self, folder: str) -> None:
        """Without a ``folder`` nothing is kept."""
        self._folder = Path(folder) if folder else None
        self.taken = 0
        """How many rollouts did not have to be made."""

    def rollout(self, env: VecEnv, driver: Driver, config: EvaluateConfig, make: Callable[[], Rollout]) -> Rollout:
        """Return what ``make`` gives, or gave in another run; it has no samples then: they are the student's."""
        if self._folder is None or not driver.identity:
            return make()
        path = self._folder / _name(env, driver, config)
        try:
            kept = Rollout(**load_tree(path))
        except RobodistillError:  # not there, or damaged
            kept = make()
            _keep(path, kept)
        else:
            self.taken += 1
        return kept


def _name(env: VecEnv, driver: Driver, config: EvaluateConfig) -> str:
    model = np.zeros(mujoco.mj_sizeModel(env.engine.model), np.uint8)
    mujoco.mj_saveModel(env.engine.model, None, model)
    facts = [provenance(), driver.identity, asdict(env.task), asdict(config)]
    told = json.dumps(facts, sort_keys=True, default=str).encode()
    return hashlib.sha256(told + model.tobytes()).hexdigest()[:16]


def _keep(path: Path, rollout: Rollout) -> None:
    own = path.with_name(f"{path.name}-{uuid4().hex[:8]}")  # another process may be writing the same
    save_tree(own, {**vars(rollout), "samples": {}})
    if not is_whole(path):
        shutil.rmtree(path, ignore_errors=True)
        try:
            own.rename(path)
        except OSError:
            if not is_whole(path):  # if it is, another one was faster, with the same
                raise
    shutil.rmtree(own, ignore_errors=True)
