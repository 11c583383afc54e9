"""A MuJoCo model as triangles: the shapes of each body once, then only where the bodies are.

A viewer puts a shape at its place in its body's frame, and the body where ``body_poses`` says. Positions are (x, y, z)
[m], orientations quaternions (w, x, y, z), colours (r, g, b, alpha) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodistill.play.session import View

Floats = NDArray[np.float64]
Faces = NDArray[np.int32]
Mesh = tuple[Floats, Faces]

_AROUND, _ALONG = 24, 8
"""Facets of a round shape, around its axis and over a quarter of its outline."""
_COLLISION_GROUP = 3
"""Groups from here on are shapes to collide with, drawn when a model has no others."""
_NEWTON_LENGTH, _SPEED_LENGTH = 0.0015, 0.4
"""[m] drawn for 1 N and for 1 m/s"""
_ABOVE = 0.25
"""[m] above the base where the arrows of its velocity begin."""
_SHORTEST = 0.02
"""[m] below which an arrow is left out"""
ARROWS = {"asked": (38, 166, 64), "true": (41, 107, 219), "push": (224, 46, 56), "force": (240, 160, 30)}
"""Colours of arrows by the letters that their names begin with."""


@dataclass(frozen=True)
class Shape:
    """One geom as triangles."""

    name: str
    body: int
    position: Floats
    """(3,) in the frame of the body"""
    wxyz: Floats
    """(4,) in the frame of the body"""
    vertices: Floats
    """(V, 3) in the frame of the shape"""
    faces: Faces
    """(F, 3), outward when counter-clockwise"""
    rgba: Floats
    """(4,)"""
    edged: bool
    """Whether its facets are its true form rather than that of something round."""


@dataclass(frozen=True)
class Arrow:
    """What acts on a robot, or what it does, as an arrow in the world."""

    start: Floats
    """(3,)"""
    along: Floats
    """(3,) tip minus start"""

    @property
    def length(self) -> float:
        """Return the distance [m] from start to tip."""
        return float(np.linalg.norm(self.along))

    @property
    def wxyz(self) -> Floats:
        """Return the orientation (4,) that turns +z into the arrow's direction."""
        turn = np.zeros(4)
        mujoco.mju_quatZ2Vec(turn, self.along)
        return turn


def shapes(model: mujoco.MjModel) -> list[Shape]:
    """Return what there is to draw, without floors (planes, height fields): those a viewer draws in its own way."""
    made = [(i, _mesh(model, i)) for i in range(model.ngeom)]
    solid = [(i, mesh) for i, mesh in made if mesh is not None]
    seen = [(i, mesh) for i, mesh in solid if model.geom_group[i] < _COLLISION_GROUP] or solid
    found: list[Shape] = []
    for i, (vertices, faces) in seen:
        kind = model.geom_type[i]
        edged = kind in (mujoco.mjtGeom.mjGEOM_BOX.value, mujoco.mjtGeom.mjGEOM_MESH.value)
        material = int(model.geom_matid[i])
        rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[i]
        position, wxyz = model.geom_pos[i].copy(), model.geom_quat[i].copy()
        body = int(model.geom_bodyid[i])
        found.append(
            Shape(f"geom{i}", body, position, wxyz, vertices, faces, rgba.astype(np.float64), edged)
        )
    return found


def body_poses(model: mujoco.MjModel, data: mujoco.MjData, qpos: Floats) -> tuple[Floats, Floats]:
    """Return position (nbody, 3) and orientation (nbody, 4) of every body, the world first, for ``qpos`` (nq,)."""
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    return data.xpos.copy(), data.xquat.copy()


def sweep(model: mujoco.MjModel, count: int = 24) -> Floats:
    """Return positions (count, nq) in which every hinge has gone once around: the room that a fixed base needs."""
    rows = np.tile(model.qpos0, (count, 1))
    hinges = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE.value
    rows[:, model.jnt_qposadr[hinges]] = np.linspace(-np.pi, np.pi, count)[:, None]
    return rows


def arrows(view: View) -> dict[str, Arrow]:
    """Return, by name, what there is to see on a robot with a floating base; the names are those of ``ARROWS``.

    Forces on its feet, the velocity asked for and the one it has above it, a push from where it came.
    """
    found: dict[str, Arrow] = {}
    if view.feet is not None:
        for i, (place, force) in enumerate(zip(*view.feet, strict=True)):
            if force > 1.0:
                found[f"force{i}"] = _arrow(place, (0.0, 0.0, _NEWTON_LENGTH * float(force)))
    if len(view.command) < 2 or len(view.qpos) < 7:
        return found
    base, (c, s) = view.qpos[:3], _heading(view.qpos[3:7])
    for name, flat, lift in (("asked", view.command, _ABOVE + 0.04), ("true", view.truth, _ABOVE)):
        x, y = (_SPEED_LENGTH * float(v) for v in flat[:2])
        if np.hypot(x, y) > _SHORTEST:
            found[name] = _arrow(np.add(base, (0.0, 0.0, lift)), (c * x - s * y, s * x + c * y, 0.0))
    x, y = (_SPEED_LENGTH * float(v) for v in view.push)
    if np.hypot(x, y) > _SHORTEST:
        found["push"] = _arrow(base - (x, y, 0.0), (x, y, 0.0))
    return found


def arrow_mesh() -> Mesh:
    """Return an arrow from the origin to (0, 0, 1), to be stretched along its axis to its length."""
    shaft, head, neck = 0.008, 0.02, 0.8
    outline = [(0.0, 0.0), (shaft, 0.0), (shaft, 0.0), (shaft, neck), (shaft, neck), (head, neck), (head, neck), (0, 1)]
    return _turned(np.array(outline, np.float64))


def _arrow(start: NDArray[np.floating], along: tuple[float, float, float]) -> Arrow:
    return Arrow(np.asarray(start, np.float64), np.array(along))


def _heading(quat: Floats) -> tuple[float, float]:
    """Return cos and sin of the heading of a quaternion (w, x, y, z)."""
    w, x, y, z = (float(v) for v in quat)
    angle = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return float(np.cos(angle)), float(np.sin(angle))


def _mesh(model: mujoco.MjModel, geom: int) -> Mesh | None:
    size = model.geom_size[geom]
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH.value:
        return _stored_mesh(model, int(model.geom_dataid[geom]))
    make = _ROUND_OR_BOX.get(int(model.geom_type[geom]))
    return None if make is None else make(size)


def _stored_mesh(model: mujoco.MjModel, mesh: int) -> Mesh:
    first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    face, faces = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
    vertices = model.mesh_vert[first : first + count].astype(np.float64)
    return vertices, model.mesh_face[face : face + faces].astype(np.int32)


def _box(size: Floats) -> Mesh:
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64) * size
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))]
    return corners, np.array(faces, np.int32)


def _turned(outline: Floats) -> Mesh:
    """Turn an outline (P, 2) of radius and height, from the bottom up, about the z axis."""
    angle = np.linspace(0.0, 2.0 * np.pi, _AROUND, endpoint=False)
    rings = [np.stack((r * np.cos(angle), r * np.sin(angle), np.full(_AROUND, z)), axis=1) for r, z in outline]
    faces: list[tuple[int, int, int]] = []
    for ring, (low, high) in enumerate(pairwise(outline)):
        for j in range(_AROUND if (low != high).any() else 0):  # a doubled point makes an edge, not a face
            a, b = ring * _AROUND + j, ring * _AROUND + (j + 1) % _AROUND
            faces += [(a, b, b + _AROUND)] if low[0] > 0 else []
            faces += [(a, b + _AROUND, a + _AROUND)] if high[0] > 0 else []
    return np.concatenate(rings), np.array(faces, np.int32)


def _quarter() -> tuple[Floats, Floats]:
    angle = np.linspace(0.0, 0.5 * np.pi, _ALONG + 1)
    cosine = np.cos(angle)
    cosine[-1] = 0.0
    return cosine, np.sin(angle)


def _capsule(size: Floats) -> Mesh:
    radius, half = float(size[0]), float(size[1])
    cosine, sine = _quarter()
    top = np.stack((radius * cosine, half + radius * sine), axis=1)
    middle = top if half > 0 else top[1:]
    return _turned(np.concatenate((top[::-1] * (1.0, -1.0), middle)))


def _cylinder(size: Floats) -> Mesh:
    r, h = float(size[0]), float(size[1])
    return _turned(np.array([(0, -h), (r, -h), (r, -h), (r, h), (r, h), (0, h)], np.float64))


def _ellipsoid(size: Floats) -> Mesh:
    vertices, faces = _capsule(np.array([1.0, 0.0, 0.0]))
    return vertices * size, faces


def _sphere(size: Floats) -> Mesh:
    return _ellipsoid(np.full(3, float(size[0])))


_ROUND_OR_BOX: dict[int, Callable[[Floats], Mesh]] = {
    mujoco.mjtGeom.mjGEOM_BOX.value: _box,
    mujoco.mjtGeom.mjGEOM_SPHERE.value: _sphere,
    mujoco.mjtGeom.mjGEOM_CAPSULE.value: _capsule,
    mujoco.mjtGeom.mjGEOM_CYLINDER.value: _cylinder,
    mujoco.mjtGeom.mjGEOM_ELLIPSOID.value: _ellipsoid,
}
