"""A model to look at: a robot's MJCF with sky, floor and light around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np

from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_envs.model import load_spec

FLOOR = "scene_floor"
"""Name of the floor's geom, texture and material."""
SUN = np.array([-0.35, 0.3, -1.0])
"""Direction of the light, and so of the shadows on the floor."""


def load_scene(
    mjcf: Path, floor: bool = True, payload: tuple[str, float] | None = None, antialias: bool = False,
    remove: Sequence[str] = (),
) -> mujoco.MjModel:
    """Return a model to look at: ``mjcf`` with sky, light and, if asked for, a floor at z = 0.

    ``payload`` = (body, mass [kg]) draws a box of that mass (at 2000 kg/m3) on top of the body. Nothing added has mass
    or contact, and no joint is added: ``qpos`` means what it means in the model that was simulated. ``antialias`` is
    for stills: with software OpenGL it takes three times as long. ``remove`` is the robot's.
    """
    spec = load_spec(mjcf, remove)
    world = spec.worldbody
    spec.add_texture(
        name="scene_sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.62, 0.76, 0.90], rgb2=[0.93, 0.96, 0.98], width=64, height=384,
    )  # fmt: skip
    if floor:
        _add_floor(spec)
    if payload is not None and payload[1] > 0:
        _add_payload(spec, *payload)
    world.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0, 0, 4], dir=SUN, castshadow=False, diffuse=[0.55] * 3,
        specular=[0.25] * 3,
    )  # fmt: skip
    spec.visual.headlight.ambient = [0.38] * 3
    spec.visual.headlight.diffuse = [0.32] * 3
    spec.visual.headlight.specular = [0.1] * 3
    spec.visual.rgba.haze = [0.93, 0.96, 0.98, 1.0]
    # fewer facets: with software OpenGL the vertices cost as much as the pixels
    spec.visual.quality.numslices, spec.visual.quality.numstacks = 16, 8
    spec.visual.quality.offsamples = 4 if antialias else 0
    return spec.compile()


def _add_floor(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name=FLOOR, type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.60, 0.66, 0.72], rgb2=[0.69, 0.74, 0.79], mark=mujoco.mjtMark.mjMARK_EDGE, markrgb=[0.80, 0.84, 0.88],
        width=256, height=256,
    )  # fmt: skip
    material = spec.add_material(name=FLOOR, texrepeat=[1, 1], texuniform=True, specular=0.0, shininess=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = FLOOR
    spec.worldbody.add_geom(
        name=FLOOR,
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0, 0, 0.1],
        material=FLOOR,
        contype=0,
        conaffinity=0,
    )


def _add_payload(spec: mujoco.MjSpec, name: str, mass: float) -> None:
    bodies = {body.name: body for body in spec.bodies}
    if name not in bodies:
        raise RobodistillError(unknown("body", name, bodies))
    half = 0.5 * (mass / 2000.0 / 2.0) ** (1.0 / 3.0)  # a box twice as long as wide
    own = [g for g in bodies[name].geoms if g.group == 3] or bodies[name].geoms
    top = max((float(g.pos[2] + g.size[2]) for g in own if g.type == mujoco.mjtGeom.mjGEOM_BOX), default=0.0)
    bodies[name].add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=[2 * half, half, half], pos=[0, 0, top + half + 0.01], group=2, mass=0,
        rgba=[0.85, 0.45, 0.12, 1.0], contype=0, conaffinity=0,
    )  # fmt: skip
