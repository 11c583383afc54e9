"""Pictures of trajectories: what they show, how they fail, and that a video holds every frame."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import mujoco
import numpy as np
import pytest

import robodistill_envs
from robodistill_deploy.errors import RobodistillError
from robodistill_envs import render
from robodistill_envs.render import Arrow, Camera, animate, available_backend, frames
from robodistill_envs.scene import load_scene
from robodistill_envs.stick_figure import Frame, stick_figure_frames
from robodistill_envs.video import side_by_side, write_video

MJCF = Path(robodistill_envs.__file__).parent / "robots/unitree_go2/unitree_go2.xml"
SIZE = (160, 120)
PENDULUM = """<mujoco><worldbody><body pos="0 0 1"><joint axis="0 1 0"/>
  <geom type="capsule" fromto="0 0 0 0 0 -0.6" size="0.03"/></body></worldbody></mujoco>"""

needs_gl = pytest.mark.skipif(
    available_backend() is None, reason="no OpenGL: neither EGL nor OSMesa draws here"
)


@pytest.fixture(scope="module")
def scene() -> mujoco.MjModel:
    return load_scene(MJCF)


def walk(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A made-up gait, qpos (count, 19) at 25 Hz."""
    t = np.arange(count) / 25
    qpos = np.zeros((count, 19))
    qpos[:, 0], qpos[:, 2], qpos[:, 3] = 0.8 * t, 0.3, 1.0
    for leg, phase in enumerate((0.0, np.pi, np.pi, 0.0)):
        qpos[:, 8 + 3 * leg] = 0.9 + 0.4 * np.sin(14 * t + phase)
        qpos[:, 9 + 3 * leg] = -1.7
    return qpos


def check(images: list[Frame], count: int) -> None:
    width, height = SIZE
    assert len(images) == count
    assert all(image.shape == (height, width, 3) and image.dtype == np.uint8 for image in images)
    assert all(image.std() > 5 for image in images)  # there is something in each
    assert all((a != b).mean() > 0.002 for a, b in pairwise(images))  # and it moves


# -- the drawn stick figure -------------------------------------------------------------------------------------


def test_stick_figure_moves(scene: mujoco.MjModel):
    check(list(stick_figure_frames(scene, walk(4), size=SIZE)), 4)


def test_stick_figure_stays_in_the_picture_far_from_the_origin(scene: mujoco.MjModel):
    near, far = walk(2), walk(2)
    far[:, :2] += (1000.0, -1000.0)  # whole squares of any grid that divides 0.1 m
    width = SIZE[0]
    for a, b in zip(*(stick_figure_frames(scene, q, size=SIZE) for q in (near, far)), strict=True):
        side = a[: SIZE[1] // 2], b[: SIZE[1] // 2]
        np.testing.assert_array_equal(side[0][:, : width // 2], side[1][:, : width // 2])


def test_stick_figure_shows_a_fixed_base(tmp_path: Path):
    (tmp_path / "pendulum.xml").write_text(PENDULUM)
    model = load_scene(tmp_path / "pendulum.xml", floor=False)
    swing = np.linspace(0.0, 3.0, 4)[:, None]
    check(list(stick_figure_frames(model, swing, size=SIZE)), 4)


def test_label_is_drawn_on_its_frame(scene: mujoco.MjModel):
    still = np.repeat(walk(1), 2, 0)
    plain, pushed = stick_figure_frames(scene, still, size=SIZE, labels=["", "push!"])
    assert (plain != pushed).any()
    assert (plain[SIZE[1] // 4 :] == pushed[SIZE[1] // 4 :]).all()


@pytest.mark.parametrize("draw", [stick_figure_frames, frames])
def test_wrong_trajectories_are_refused(scene: mujoco.MjModel, draw: Any):
    with pytest.raises(RobodistillError, match=r"\(T, 19\).*\(3, 18\)"):
        next(draw(scene, np.zeros((3, 18))))
    broken = walk(3)
    broken[1, 7] = np.nan
    with pytest.raises(RobodistillError, match="frame 1"):
        next(draw(scene, broken))
    with pytest.raises(RobodistillError, match="2 for 3 frames"):
        next(draw(scene, walk(3), labels=["a", "b"]))


# -- OpenGL -----------------------------------------------------------------------------------------------------


@needs_gl
def test_rendered_frames_move(scene: mujoco.MjModel):
    check(list(frames(scene, walk(3), size=SIZE)), 3)


@needs_gl
def test_rendered_picture_is_upright(scene: mujoco.MjModel):
    (image,) = frames(scene, walk(1), size=SIZE, camera=Camera(elevation=-5.0))
    sky, ground = image[2].mean(0), image[-3].mean(0)
    assert sky[2] > ground[2] + 20  # bluer above


@needs_gl
@pytest.mark.slow
def test_labels_arrows_and_payload_show(scene: mujoco.MjModel):
    qpos = np.repeat(walk(1), 3, 0)
    push = Arrow(start=(0.0, 0.5, 0.35), vector=(0.0, -0.3, 0.0))
    plain, labelled, pushed = frames(
        scene, qpos, size=SIZE, labels=["", "student", ""], arrows=[[], [], [push]]
    )
    loaded = next(frames(load_scene(MJCF, payload=("base_link", 3.0)), qpos, size=SIZE))
    red = [int(((image[..., 0] > 150) & (image[..., 1] < 90)).sum()) for image in (plain, pushed)]
    assert (plain[:20] != labelled[:20]).any()
    assert red[0] == 0 < 5 < red[1]
    assert (plain != loaded).mean() > 0.01


@needs_gl
def test_camera_follows(scene: mujoco.MjModel):
    far = walk(1)
    far[:, 0] += 64.0
    near_picture, far_picture = next(frames(scene, walk(1), size=SIZE)), next(frames(scene, far, size=SIZE))
    middle = slice(SIZE[1] // 3, 2 * SIZE[1] // 3), slice(SIZE[0] // 3, 2 * SIZE[0] // 3)
    assert np.abs(near_picture[middle].astype(int) - far_picture[middle]).mean() < 8


@needs_gl
@pytest.mark.slow
def test_two_canvases_take_turns(scene: mujoco.MjModel):
    alone = list(frames(scene, walk(3), size=SIZE))
    reverse = walk(3)[::-1]
    both = list(side_by_side(frames(scene, walk(3), size=SIZE), frames(scene, reverse, size=SIZE)))
    for one, joined in zip(alone, both, strict=True):
        np.testing.assert_array_equal(one, joined[:, : SIZE[0]])


def test_without_opengl_it_is_drawn(scene: mujoco.MjModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    assert available_backend() is None
    with pytest.raises(RobodistillError, match="apt-get install"):
        next(frames(scene, walk(1)))
    drawn, expected = (draw(scene, walk(1), size=SIZE) for draw in (animate, stick_figure_frames))
    np.testing.assert_array_equal(next(drawn), next(expected))


def test_a_chosen_backend_is_the_only_one_tried(monkeypatch: pytest.MonkeyPatch):
    tried: list[str] = []

    def fails(backend: str) -> bool:
        tried.append(backend)
        return False

    monkeypatch.setattr(render, "_works", fails)
    monkeypatch.setenv("MUJOCO_GL", "OSMesa")
    assert available_backend() is None
    monkeypatch.delenv("MUJOCO_GL")
    assert available_backend() is None
    assert tried == ["osmesa", "egl", "osmesa"]
    monkeypatch.setenv("MUJOCO_GL", "eggl")
    with pytest.raises(RobodistillError, match="did you mean 'egl'"):
        available_backend()


def test_import_chooses_nothing():
    code = (
        "import os, sys, robodistill_envs.render, robodistill_envs.video\n"
        "assert not {'OpenGL', 'matplotlib', 'imageio_ffmpeg'} & set(sys.modules), 'imported early'\n"
        "assert not {'MUJOCO_GL', 'PYOPENGL_PLATFORM'} & set(os.environ), 'environment changed'\n"
    )
    environment = {"PATH": "", "HOME": "/tmp", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# -- scene ------------------------------------------------------------------------------------------------------


def test_scene_has_the_robots_joints_and_mass(scene: mujoco.MjModel):
    robot = mujoco.MjModel.from_xml_path(str(MJCF))
    loaded = load_scene(MJCF, payload=("base_link", 3.0))
    for model in (scene, loaded):
        assert [model.joint(j).name for j in range(model.njnt)] == [
            robot.joint(j).name for j in range(robot.njnt)
        ]
        np.testing.assert_array_equal(model.body_mass, robot.body_mass)
    with pytest.raises(RobodistillError, match="did you mean 'base_link'"):
        load_scene(MJCF, payload=("base_lnk", 1.0))


# -- files ------------------------------------------------------------------------------------------------------


def colours(count: int, width: int = 64, height: int = 48) -> list[Frame]:
    return [np.full((height, width, 3), 10 * i, np.uint8) for i in range(count)]


@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49)])
def test_video_decodes_to_the_same_frames(tmp_path: Path, width: int, height: int):
    path = tmp_path / "new" / "walk.mp4"
    assert write_video(path, colours(17, width, height), fps=25) == 17
    reader: Any = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    back = [np.frombuffer(raw, np.uint8).mean() for raw in reader]
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p")
    assert meta["size"] == (64, 48)
    assert meta["fps"] == 25
    np.testing.assert_allclose(back, [10 * i for i in range(17)], atol=3)
    assert [p.name for p in path.parent.iterdir()] == ["walk.mp4"]


def test_a_video_that_fails_leaves_nothing(tmp_path: Path):
    with pytest.raises(RobodistillError, match="no frames"):
        write_video(tmp_path / "a.mp4", [], fps=25)
    with pytest.raises(RobodistillError, match="frame 2 is"):
        write_video(tmp_path / "b.mp4", [*colours(2), *colours(1, width=32)], fps=25)
    assert list(tmp_path.iterdir()) == []


def test_side_by_side_holds_the_last_frame():
    short, long = colours(2), colours(4)
    joined = list(side_by_side(short, long))
    assert len(joined) == 4
    assert joined[3].shape == (48, 128, 3)
    assert joined[3][0, 0, 0] == 10
    assert joined[3][0, 64, 0] == 30
    with pytest.raises(RobodistillError, match="heights differ"):
        next(side_by_side(short, colours(1, height=32)))
    with pytest.raises(RobodistillError, match="no frames"):
        next(side_by_side(short, []))
