"""A drawn animation of a trajectory that needs no OpenGL: side and top view by forward kinematics and matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.errors import RobodistillError

Frame: TypeAlias = NDArray[np.uint8]
Array: TypeAlias = NDArray[np.float64]

_LEFT, _RIGHT, _BODY, _FLOOR = "#1f77b4", "#d95f02", "#333333", "#b9c3cc"
_DPI = 100


def root_body(model: mujoco.MjModel) -> int | None:
    """Return the body of the first free joint, None in a model with a fixed base."""
    free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE.value)
    return int(model.jnt_bodyid[free[0]]) if len(free) else None


def reach(model: mujoco.MjModel, qpos: NDArray[np.floating[Any]]) -> tuple[Array, float]:
    """Return the middle (3,) and radius [m] of the space that a model takes up along a trajectory (T, nq)."""
    data = mujoco.MjData(model)
    solid = model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE.value
    size = model.geom_rbound[solid, None]
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for row in qpos[:: max(1, len(qpos) // 50)]:
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        low = np.minimum(low, (data.geom_xpos[solid] - size).min(0, initial=np.inf))
        high = np.maximum(high, (data.geom_xpos[solid] + size).max(0, initial=-np.inf))
    if not np.isfinite(low).all():
        return np.array(model.stat.center), float(model.stat.extent)
    return (low + high) / 2, float((high - low).max()) / 2


def check_trajectory(model: mujoco.MjModel, qpos: NDArray[np.floating[Any]]) -> None:
    """Refuse positions that are not (T, nq) of this model, or not finite."""
    if qpos.ndim != 2 or qpos.shape[1] != model.nq:
        raise RobodistillError(f"qpos: expected (T, {model.nq}) for this model, got {qpos.shape}")
    if not np.isfinite(qpos).all():
        raise RobodistillError(f"qpos: not finite in frame {int(np.argmin(np.isfinite(qpos).all(1)))}")


def frame_labels(labels: str | Sequence[str], count: int) -> list[str]:
    """Return one label per frame from one for all or one for each."""
    texts = [labels] * count if isinstance(labels, str) else list(labels)
    if len(texts) != count:
        raise RobodistillError(f"labels: {len(texts)} for {count} frames")
    return texts


def stick_figure_frames(
    model: mujoco.MjModel,
    qpos: NDArray[np.floating[Any]],
    *,
    size: tuple[int, int] = (480, 360),
    labels: str | Sequence[str] = "",
) -> Iterator[Frame]:
    """Yield one drawing per row of ``qpos`` (T, nq): side view above, top view below; ``size`` is (width, height)."""
    check_trajectory(model, qpos)
    texts = frame_labels(labels, len(qpos))
    skeleton = _Skeleton(model, qpos)
    drawing = _Drawing(skeleton, size)
    data = mujoco.MjData(model)
    for row, text in zip(qpos, texts, strict=True):
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        yield drawing.draw(data, text)


class _Skeleton:
    """Which lines stand for a model: parent to child, and the shapes that touch things."""

    def __init__(self, model: mujoco.MjModel, qpos: NDArray[np.floating[Any]]) -> None:
        self.root = root_body(model)
        self.extent = float(model.stat.extent)
        self.center, self.height = np.zeros(3), 0.5 * self.extent
        if self.root is None:
            self.center, radius = reach(model, qpos)
            self.height = 1.1 * radius
        self.links = [
            (int(model.body_parentid[b]), b) for b in range(1, model.nbody) if model.body_parentid[b]
        ]
        plane = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE.value
        touching = ((model.geom_contype | model.geom_conaffinity) != 0) & ~plane
        self._geoms = [int(g) for g in np.flatnonzero(touching if touching.any() else ~plane)]
        self._type, self._size, self._body = model.geom_type, model.geom_size, model.geom_bodyid
        # a fixed base is seen along the axis of its first hinge
        hinges = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE.value)
        sideways = self.root is None and len(hinges) > 0 and abs(model.jnt_axis[hinges[0]][0]) > 0.7
        self.fixed_heading = np.array([0.0, 1.0] if sideways else [1.0, 0.0])

    def segments(self, data: mujoco.MjData) -> Array:
        """Return (S, 2, 3): the two ends of each line in the world [m]."""
        lines = [(data.xpos[parent], data.xpos[child]) for parent, child in self.links]
        for g in self._geoms:
            lines += self._geom_lines(data, g)
        return np.array(lines, dtype=np.float64).reshape(-1, 2, 3)

    def _geom_lines(self, data: mujoco.MjData, g: int) -> list[tuple[Array, Array]]:
        kind, size, place = self._type[g], self._size[g], data.geom_xpos[g]
        turn = data.geom_xmat[g].reshape(3, 3)
        if kind == mujoco.mjtGeom.mjGEOM_BOX.value:
            longest = int(np.argmax(size))
            if np.delete(size, longest).max() < 0.2 * size[longest]:  # a rod
                along = turn[:, longest] * size[longest]
                return [(place - along, place + along)]
            corners = place + (_CORNERS * size) @ turn.T
            return [(corners[i], corners[j]) for i, j in _EDGES]
        if kind in (mujoco.mjtGeom.mjGEOM_CAPSULE.value, mujoco.mjtGeom.mjGEOM_CYLINDER.value):
            along = turn[:, 2] * size[1]
            return [(place - along, place + along)]
        return [(data.xpos[self._body[g]], place)]


_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
_EDGES = [(i, j) for i in range(8) for j in range(i + 1, 8) if np.abs(_CORNERS[i] - _CORNERS[j]).sum() == 2]


class _Drawing:
    """One matplotlib figure, changed from frame to frame."""

    def __init__(self, skeleton: _Skeleton, size: tuple[int, int]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure

        self._skeleton = skeleton
        figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(figure)
        self._half = np.array([size[0] / (0.5 * size[1]), 1.0]) * skeleton.height
        self._layers = []
        for bottom in (0.5, 0.0):
            axes = figure.add_axes((0.0, bottom, 1.0, 0.5))
            axes.set_axis_off()
            axes.set_xlim(-self._half[0], self._half[0])
            axes.set_ylim(-self._half[1], self._half[1])
            back = axes.add_collection(LineCollection([], colors=_FLOOR, linewidths=1.0))
            front = axes.add_collection(LineCollection([], linewidths=2.2, capstyle="round"))
            self._layers.append((back, front))
        self._text = figure.text(0.02, 0.97, "", va="top", fontsize=9)
        figure.text(0.02, 0.03, "from above", va="bottom", fontsize=7, color="#888888")
        self._path: list[Array] = []
        self._travelled = 0.0

    def draw(self, data: mujoco.MjData, text: str) -> Frame:
        """Return the robot of ``data`` as bones, and its path from above."""
        skeleton = self._skeleton
        base, heading = skeleton.center, skeleton.fixed_heading
        if skeleton.root is not None:
            base = data.xpos[skeleton.root].copy()
            forward = data.xmat[skeleton.root].reshape(3, 3)[:2, 0]
            heading = forward / max(float(np.linalg.norm(forward)), 1e-9)
        self._move(base, heading)
        lines = skeleton.segments(data)
        left = np.array([-heading[1], heading[0]])
        ahead, aside = (lines[..., :2] - base[:2]) @ heading, (lines[..., :2] - base[:2]) @ left
        middle = base[2] if skeleton.root is None else 0.4 * skeleton.extent  # a robot stands on the floor
        side = np.stack([ahead, lines[..., 2] - middle], -1)
        top = lines[..., :2] - base[:2]
        offset = aside.mean(1)
        edge = 0.03 * skeleton.extent
        colors = np.where(offset > edge, _LEFT, np.where(offset < -edge, _RIGHT, _BODY))
        order = np.argsort(-offset)  # what is nearer to the viewer, on the right, is drawn last
        for (back, front), view, ground in zip(
            self._layers, (side, top), (self._ground(middle), self._grid(base)), strict=True
        ):
            front.set_segments(view[order])
            front.set_color(colors[order].tolist())
            back.set_segments(ground)
        self._text.set_text(text)
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _move(self, base: Array, heading: Array) -> None:
        if self._path:
            step = base[:2] - self._path[-1]
            if np.linalg.norm(step) > 1.0:  # a new episode
                self._path.clear()
            self._travelled += float(step @ heading)
        self._path.append(base[:2].copy())

    def _ground(self, middle: float) -> list[Array]:
        """The floor from the side, with marks that pass by as the robot walks."""
        width, pitch = self._half[0], 0.25 * self._skeleton.extent
        if self._skeleton.root is None:
            return []
        first = -width - (self._travelled + width) % pitch + pitch
        marks = np.arange(first, width, pitch)
        floor = [np.array([[-width, -middle], [width, -middle]])]
        return floor + [np.array([[x, -middle], [x - 0.1 * pitch, -middle - 0.2 * pitch]]) for x in marks]

    def _grid(self, base: Array) -> list[Array]:
        """The floor from above: a grid fixed to the world, and the path walked."""
        pitch, half = 0.5 * self._skeleton.extent, self._half
        if self._skeleton.root is None:
            return []
        xs, ys = (
            np.arange(np.ceil((base[k] - half[k]) / pitch) * pitch, base[k] + half[k], pitch) for k in (0, 1)
        )
        lines = [np.array([[x - base[0], -half[1]], [x - base[0], half[1]]]) for x in xs]
        lines += [np.array([[-half[0], y - base[1]], [half[0], y - base[1]]]) for y in ys]
        return [*lines, np.array(self._path) - base[:2]]
