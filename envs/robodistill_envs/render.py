"""Pictures of a trajectory: MuJoCo's renderer where OpenGL works, a drawn stick figure everywhere else.

A trajectory is ``qpos`` (T, nq) of a model. Rendering wants a model of its own, made by ``load_scene`` from the same
MJCF as the physics: it has a sky, a floor and light, and its joints are the same. A frame is uint8 (height, width, 3).

    model = load_scene(path)
    write_video(Path("walk.mp4"), animate(model, qpos, labels="student"), fps=25)   # robodistill_envs.video
"""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_envs.scene import FLOOR, SUN
from robodistill_envs.stick_figure import (
    Frame,
    check_trajectory,
    frame_labels,
    reach,
    root_body,
    stick_figure_frames,
)

BACKENDS = ("egl", "osmesa", "glfw")
OFF = ("disable", "disabled", "off", "false", "0")
"""Values of MUJOCO_GL with which MuJoCo itself goes without OpenGL."""

_SHADOW, _GLOW = (0.03, 0.034, 0.039, 1.0), 10.0
"""Colour of a shadow: nearly black but glowing, so that the light changes it little."""
_PROBE = """
import importlib, sys
import mujoco, numpy
gl = importlib.import_module("mujoco." + sys.argv[1]).GLContext(32, 32)
gl.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data, camera, scene = mujoco.MjData(model), mujoco.MjvCamera(), mujoco.MjvScene(model, 10)
mujoco.mj_forward(model, data)
camera.distance = 4
mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, scene)
context, rect = mujoco.MjrContext(model, 100), mujoco.MjrRect(0, 0, 32, 32)
image = numpy.zeros((32, 32, 3), numpy.uint8)
mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
mujoco.mjr_render(rect, scene, context)
mujoco.mjr_readPixels(image, None, rect, context)
print("works" if image.std() > 1 else "draws nothing")
context.free()
gl.free()
"""


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from; a value that is None is chosen to suit the model."""

    azimuth: float | None = None
    """[deg] direction of view: 90 looks along +y, 180 along -x (a robot at the origin that faces +x, from the front)"""
    elevation: float = -14.0
    """[deg]"""
    distance: float | None = None
    """[m]"""
    lookat: tuple[float, float, float] | None = None
    """[m] a fixed point; None follows a floating base, or looks at the middle of a model without one"""


@dataclass(frozen=True)
class Arrow:
    """Something with a size and a direction, drawn in one frame: a push, a command."""

    start: tuple[float, float, float]
    """[m] world"""
    vector: tuple[float, float, float]
    """[m] world, tip minus start"""
    rgba: tuple[float, float, float, float] = (0.9, 0.2, 0.1, 1.0)
    width: float = 0.012
    """[m]"""


def available_backend() -> str | None:
    """Return the OpenGL that MuJoCo can draw with here without a display, or None; tried once, in another process.

    MUJOCO_GL, if set, is the only one tried. A driver that does not work may crash, hence the other process.
    """
    wish = os.environ.get("MUJOCO_GL", "").strip().lower()
    if wish in OFF:
        return None
    if wish and wish not in BACKENDS:
        raise RobodistillError(f"MUJOCO_GL: {unknown('backend', wish, (*BACKENDS, *OFF))}")
    candidates = (wish,) if wish else ("egl", "osmesa")
    return next((name for name in candidates if _works(name)), None)


@functools.cache
def _works(backend: str) -> bool:
    environment = {**os.environ, "MUJOCO_GL": backend}
    command = [sys.executable, "-c", _PROBE, backend]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return "works" in done.stdout


class _Canvas:
    """An OpenGL context of one size for one model, and what is needed to draw into it."""

    def __init__(self, backend: str, model: mujoco.MjModel, size: tuple[int, int]) -> None:
        width, height = size
        # Renderer takes its context from the MUJOCO_GL that stood when mujoco was imported; this one is chosen now.
        self._gl = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        self._gl.make_current()
        room = model.vis.global_.offwidth, model.vis.global_.offheight
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        model.vis.global_.offwidth, model.vis.global_.offheight = room
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self.scene = mujoco.MjvScene(model, 2 * model.ngeom + 100)
        self.option = mujoco.MjvOption()
        groups = {int(g) for g, kind in zip(model.geom_group, model.geom_type, strict=True) if kind != 0}
        if groups and min(groups) > 2:  # nothing but collision shapes: better than nothing
            self.option.geomgroup[3:] = 1
        self.option.sitegroup[:] = 0

    def draw(self, label: str) -> Frame:
        """Return the scene as the camera sees it, with ``label`` in a corner."""
        self._gl.make_current()  # another canvas may have drawn since
        mujoco.mjr_render(self._rect, self.scene, self._context)
        if label:
            font, corner = mujoco.mjtFont.mjFONT_NORMAL, mujoco.mjtGridPos.mjGRID_TOPLEFT
            mujoco.mjr_overlay(font, corner, self._rect, label, "", self._context)
        image = np.empty((self._rect.height, self._rect.width, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, self._rect, self._context)
        return image[::-1].copy()  # OpenGL's first row is the lowest

    def close(self) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()


def frames(
    model: mujoco.MjModel,
    qpos: NDArray[np.floating[Any]],
    *,
    size: tuple[int, int] = (480, 360),
    camera: Camera | None = None,
    labels: str | Sequence[str] = "",
    arrows: Sequence[Sequence[Arrow]] | None = None,
) -> Iterator[Frame]:
    """Yield one rendered picture per row of ``qpos`` (T, nq); ``size`` is (width, height).

    ``labels`` is one text for all frames or one per frame; ``arrows`` holds the arrows of each frame.
    """
    check_trajectory(model, qpos)
    texts = frame_labels(labels, len(qpos))
    backend = available_backend()
    if backend is None:
        raise RobodistillError(
            "no OpenGL here: apt-get install libegl1 libopengl0 libgl1-mesa-dri (or libosmesa6 alone), "
            "or draw with stick_figure_frames"
        )
    view = _View(model, qpos, camera or Camera())
    data = mujoco.MjData(model)
    with closing(_Canvas(backend, model, size)) as canvas:
        for i, row in enumerate(qpos):
            data.qpos[:] = row
            mujoco.mj_fwdPosition(model, data)
            view.follow(data)
            # the endless floor is laid out around the camera that the scene had before
            mujoco.mjv_updateCamera(model, data, view.camera, canvas.scene)
            everything = mujoco.mjtCatBit.mjCAT_ALL.value
            mujoco.mjv_updateScene(model, data, canvas.option, None, view.camera, everything, canvas.scene)
            _cast_shadows(model, canvas.scene)
            for arrow in arrows[i] if arrows is not None else ():
                _add_arrow(canvas.scene, arrow)
            yield canvas.draw(texts[i])


class _View:
    """A camera that follows a floating base smoothly, and jumps when it jumps (a new episode)."""

    def __init__(self, model: mujoco.MjModel, qpos: NDArray[np.floating[Any]], wish: Camera) -> None:
        root = root_body(model)
        if root is None:
            middle, radius = reach(model, qpos)
            azimuth, distance = 90.0, 3.2 * radius
        else:
            middle, azimuth, distance = np.zeros(3), 140.0, 1.7 * float(model.stat.extent)
        self._root = root if wish.lookat is None else None
        self.camera = mujoco.MjvCamera()
        self.camera.azimuth = azimuth if wish.azimuth is None else wish.azimuth
        self.camera.elevation = wish.elevation
        self.camera.distance = distance if wish.distance is None else wish.distance
        self.camera.lookat[:] = middle if wish.lookat is None else wish.lookat
        self._started = False

    def follow(self, data: mujoco.MjData) -> None:
        """Move the camera after a robot with a free base; another stands where it is."""
        if self._root is None:
            return
        target = data.xpos[self._root] - (0.0, 0.0, 0.08)  # a little low: the legs are part of the picture
        step = target - self.camera.lookat
        if not self._started or np.linalg.norm(step[:2]) > 1.0:
            self.camera.lookat[:] = target
        else:
            self.camera.lookat[:] += step * (0.2, 0.2, 0.05)
        self._started = True


def _cast_shadows(model: mujoco.MjModel, scene: Any) -> None:
    """Add to the scene every geom pressed flat onto the floor along the light.

    MuJoCo's shadow map costs three quarters of a frame with software OpenGL; on a flat floor this is exact and cheap.
    """
    if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, FLOOR) < 0:
        return
    press = np.eye(3) - np.outer(SUN / SUN[2], [0.0, 0.0, 1.0])
    for i in range(scene.ngeom):
        source = scene.geoms[i]
        if source.type == mujoco.mjtGeom.mjGEOM_PLANE or scene.ngeom >= scene.maxgeom:
            continue
        place = press @ source.pos + (0.0, 0.0, 0.001)
        shadow = scene.geoms[scene.ngeom]
        mujoco.mjv_initGeom(
            shadow, source.type, source.size, place, np.eye(3).ravel(), np.array(_SHADOW, np.float32)
        )
        shadow.mat[:] = press @ source.mat
        shadow.dataid, shadow.emission, shadow.specular = source.dataid, _GLOW, 0.0
        scene.ngeom += 1


def _add_arrow(scene: Any, arrow: Arrow) -> None:
    if scene.ngeom >= scene.maxgeom:
        return
    geom, kind = scene.geoms[scene.ngeom], mujoco.mjtGeom.mjGEOM_ARROW
    mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), np.array(arrow.rgba, np.float32))
    start = np.array(arrow.start, float)
    mujoco.mjv_connector(geom, kind, arrow.width, start, start + np.array(arrow.vector, float))
    scene.ngeom += 1


def animate(
    model: mujoco.MjModel,
    qpos: NDArray[np.floating[Any]],
    *,
    size: tuple[int, int] = (480, 360),
    camera: Camera | None = None,
    labels: str | Sequence[str] = "",
    arrows: Sequence[Sequence[Arrow]] | None = None,
) -> Iterator[Frame]:
    """Return pictures of a trajectory however this machine can make them: ``frames``, else ``stick_figure_frames``.

    A drawn figure has its own two views and no arrows.
    """
    if available_backend() is None:
        return stick_figure_frames(model, qpos, size=size, labels=labels)
    return frames(model, qpos, size=size, camera=camera, labels=labels, arrows=arrows)
