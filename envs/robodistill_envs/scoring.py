"""Score: the task's own rewards for what one robot did elsewhere, such as a simulated robot behind a link."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from robodistill_envs.config import TaskConfig
from robodistill_envs.model import TRUE, sensor_slice
from robodistill_envs.vector import Disturbances, VecEnv

Array = NDArray[np.float64]
UNDISTURBED = Disturbances(parameters=False, noise=False, pushes=False, reset=False)


class Scorer(VecEnv):
    """A training environment whose physics stands still: true sensor values take the place of its own.

    Rewards, terminations and internals are the task's, evaluated by the code that evaluates them in training.
    """

    def __init__(self, task: TaskConfig) -> None:
        super().__init__(task, 1, threads=1, disturbances=UNDISTURBED)
        sensors = (*task.robot.sensors, *task.robot.truth)
        self._places = {s.name: sensor_slice(self.engine.model, s, TRUE) for s in sensors}

    def begin(self, sensors: Mapping[str, Array]) -> None:
        """Begin an episode where the robot's true ``sensors`` (name -> values in the task's order) are these."""
        self.reset()
        self._put(sensors)

    def score(self, action: Array, command: Array, sensors: Mapping[str, Array]) -> dict[str, float]:
        """Return each term's weighted reward of one control step.

        ``action``, raw, under ``command`` led to the ``sensors`` at its end. A fall counts each time it is seen.
        """
        world = self.world
        self._act(torch.from_numpy(np.asarray(action, np.float32))[None])
        world.command[0] = torch.from_numpy(np.asarray(command, np.float32))
        self._put(sensors)
        return dict(zip(self.reward_names, self._judge().rewards[0].tolist(), strict=True))

    def _put(self, sensors: Mapping[str, Array]) -> None:
        for name, where in self._places.items():
            self.engine.sensordata[0, where] = torch.from_numpy(np.asarray(sensors[name], np.float32))
        self.engine.version += 1
