"""Render docs/images/go2_views.png: the Go2 from the front left, the side and the rear above."""

from pathlib import Path

import imageio
import numpy as np

import robodistill_envs
from robodistill_envs.render import Camera, frames
from robodistill_envs.scene import load_scene

STANDING = {"hip": (0.1, -0.1), "thigh": 0.85, "calf": -1.6}
VIEWS = (
    Camera(azimuth=218.0, elevation=-14.0, distance=1.05, lookat=(0.03, 0.0, 0.2)),
    Camera(azimuth=90.0, elevation=-6.0, distance=1.05, lookat=(0.02, 0.0, 0.2)),
    Camera(azimuth=325.0, elevation=-34.0, distance=1.1, lookat=(0.0, 0.0, 0.2)),
)


def main() -> None:
    """Write the picture beside this file."""
    model = load_scene(
        Path(robodistill_envs.__file__).parent / "robots/unitree_go2/unitree_go2.xml", antialias=True
    )
    qpos = np.zeros((1, model.nq))
    qpos[0, 2:4] = 0.316, 1.0
    for j in range(1, model.njnt):
        leg, part, _ = model.joint(j).name.split("_")
        hip = STANDING["hip"]["LR".index(leg[1])]
        qpos[0, model.jnt_qposadr[j]] = hip if part == "hip" else STANDING[part]
    pictures = [next(frames(model, qpos, size=(480, 400), camera=view)) for view in VIEWS]
    imageio.imwrite(Path(__file__).with_name("go2_views.png"), np.concatenate(pictures, axis=1))


if __name__ == "__main__":
    main()
