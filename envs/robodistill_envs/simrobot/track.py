"""Track: what a simulated robot did, a row per physics step in a file of its own. The truth, not what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.drivers.base import Command
from robodistill_deploy.errors import RobodistillError

Array = NDArray[np.float64]
_COMMAND = ("position", "velocity", "kp", "kd", "effort")


class TrackWriter:
    """Writes one file: a line of JSON with the columns, then rows of float64."""

    def __init__(self, path: Path, model: mujoco.MjModel, joints: tuple[str, ...]) -> None:
        sizes = {
            "time": 1, "tick": 1, "damped": 1, "qpos": model.nq, "qvel": model.nv, "sensordata": model.nsensordata,
            "torque": len(joints), **dict.fromkeys(_COMMAND, len(joints)),
        }  # fmt: skip
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise RobodistillError(f"record={path}: {error.strerror}; choose another file") from error
        self._file.write(json.dumps({"joints": joints, "columns": sizes}).encode() + b"\n")

    def add(
        self, data: mujoco.MjData, torque: Array, command: Command, *, time: float, tick: int, damped: bool
    ) -> None:
        """Write the state after a physics step, and the ``command`` that acted in it, after the watchdog."""
        acted = [getattr(command, name) for name in _COMMAND]
        parts = (np.array([time, tick, damped]), data.qpos, data.qvel, data.sensordata, torque, *acted)
        self._file.write(np.concatenate(parts).tobytes())

    def flush(self) -> None:
        """Let readers see every row so far."""
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()


def read_track(path: Path) -> dict[str, Array]:
    """Return column -> (steps, size); ``time`` [s], ``tick`` and ``damped`` are (steps,). A torn last row is left out.

    ``sensordata`` is of the model that ``build_model`` makes of the task: ``sensor_slice`` finds a sensor in it.
    """
    with path.open("rb") as file:
        sizes = json.loads(file.readline())["columns"]
        numbers = np.frombuffer(file.read(), np.uint8)
    width = sum(sizes.values())
    steps = len(numbers) // (8 * width)
    rows = numbers[: steps * 8 * width].view(np.float64).reshape(steps, width)
    columns = np.split(rows, np.cumsum(list(sizes.values()))[:-1], axis=1)
    return {n: c[:, 0] if n in ("time", "tick", "damped") else c for n, c in zip(sizes, columns, strict=True)}
