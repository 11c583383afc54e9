"""Draw the README's picture: the student walking, one frame every tenth of a second.

Call ``python docs/images/make_go2_student.py runs/demo docs/images/go2_student.png``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from robodistill.config import compose, decode
from robodistill_envs.config import TaskConfig
from robodistill_envs.model import mjcf_path
from robodistill_envs.render import frames
from robodistill_envs.scene import load_scene

SHOWN, EVERY = 4, 6
"""Frames side by side, and control steps between two."""


def main(run: Path, picture: Path) -> None:
    """Write ``picture`` from the first recorded episode of the student."""
    task = decode(TaskConfig, compose(["task=go2_flat"])["task"])
    recorded = np.load(run / "evaluation" / "trajectories.npz")
    speed = np.linalg.norm(recorded["student.truth"][..., :2], axis=-1).mean(axis=1)
    episode = int((speed * recorded["student.alive"][:, -1]).argmax())
    qpos = recorded["student.qpos"][episode]
    payload = float(recorded["parameter.payload"][episode, 0])
    start = 2 * len(qpos) // 3
    model = load_scene(mjcf_path(task.robot.mjcf), payload=("base_link", payload), antialias=True)
    chosen = qpos[start : start + SHOWN * EVERY : EVERY]
    imageio.imwrite(picture, np.concatenate(list(frames(model, chosen, size=(360, 300))), axis=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
