"""What a viewer is given is where MuJoCo has it, and every shape is closed and faces outward."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from robodistill.config import compose, decode, groups
from robodistill.play import scene
from robodistill.play.session import View
from robodistill_envs.config import TaskConfig
from robodistill_envs.model import mjcf_path
from robodistill_envs.scene import load_scene
from robodistill_envs.stick_figure import reach

TASKS = sorted(groups()["task"])
Floats = NDArray[np.float64]
KINDS = """<mujoco><asset><mesh name="m" vertex="0 0 0  1 0 0  0 2 0  0 0 3"/></asset><worldbody>
<geom type="plane" size="1 1 1"/>
<body pos="1 2 3" euler="20 40 60"><freejoint/>
<geom name="box" type="box" size=".1 .2 .3" pos=".1 0 0" euler="10 0 0"/>
<geom name="sphere" type="sphere" size=".2"/>
<geom name="capsule" type="capsule" size=".1 .3"/>
<geom name="cylinder" type="cylinder" size=".1 .3"/>
<geom name="ellipsoid" type="ellipsoid" size=".1 .2 .3"/>
<geom name="mesh" type="mesh" mesh="m" pos="0 0 1"/>
</body></worldbody></mujoco>"""
VOLUME = {
    "box": 8 * 0.1 * 0.2 * 0.3,
    "sphere": 4 / 3 * np.pi * 0.2**3,
    "capsule": np.pi * 0.1**2 * 0.6 + 4 / 3 * np.pi * 0.1**3,
    "cylinder": np.pi * 0.1**2 * 0.6,
    "ellipsoid": 4 / 3 * np.pi * 0.1 * 0.2 * 0.3,
    "mesh": 1.0,
}


def visual(task: str) -> mujoco.MjModel:
    config = decode(TaskConfig, compose([f"task={task}"])["task"])
    return load_scene(mjcf_path(config.robot.mjcf), floor=config.robot.floor)


def matrix(wxyz: Floats) -> Floats:
    result = np.zeros(9)
    mujoco.mju_quat2Mat(result, wxyz)
    return result.reshape(3, 3)


def errors(model: mujoco.MjModel, qpos: Floats) -> Floats:
    """Return how far the shapes, put together as a viewer does, are from MuJoCo's own geoms (S, 2): [m] and 1."""
    data = mujoco.MjData(model)
    position, wxyz = scene.body_poses(model, mujoco.MjData(model), qpos)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    found = []
    for shape in scene.shapes(model):
        geom = int(shape.name.removeprefix("geom"))
        turn = matrix(wxyz[shape.body])
        place = position[shape.body] + turn @ shape.position
        off = np.abs(place - data.geom_xpos[geom]).max()
        turned = np.abs(turn @ matrix(shape.wxyz) - data.geom_xmat[geom].reshape(3, 3)).max()
        found.append((off, turned))
    return np.array(found)


@pytest.mark.parametrize("task", TASKS)
def test_shapes_stand_where_mujoco_has_them(task: str) -> None:
    model = visual(task)
    rng = np.random.default_rng(0)
    for _ in range(5):
        qpos = model.qpos0 + rng.normal(0.0, 0.5, model.nq)
        data = mujoco.MjData(model)
        data.qpos[:] = qpos
        mujoco.mj_normalizeQuat(model, data.qpos)
        assert errors(model, data.qpos).max() < 1e-9


def test_a_wrong_pose_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = visual("go2_flat")
    right = scene.body_poses
    conjugate = np.array([1.0, -1.0, -1.0, -1.0])

    def wrong(model: mujoco.MjModel, data: mujoco.MjData, qpos: Floats) -> tuple[Floats, Floats]:
        position, wxyz = right(model, data, qpos)
        return position, wxyz * conjugate

    monkeypatch.setattr(scene, "body_poses", wrong)
    qpos = model.qpos0.copy()
    qpos[7:] += 0.3
    assert errors(model, qpos).max() > 0.05


@pytest.mark.parametrize("task", TASKS)
def test_a_robot_is_drawn_by_its_visual_shapes(task: str) -> None:
    model = visual(task)
    drawn = scene.shapes(model)
    assert drawn
    for shape in drawn:
        geom = int(shape.name.removeprefix("geom"))
        assert model.geom_group[geom] < 3
        assert model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE.value
        assert 0 <= shape.faces.min() <= shape.faces.max() < len(shape.vertices)
        assert ((shape.rgba >= 0) & (shape.rgba <= 1)).all()


def volume(shape: scene.Shape) -> float:
    """Return the enclosed volume, negative where faces look inward."""
    a, b, c = (shape.vertices[shape.faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def test_every_kind_of_shape_is_closed_and_faces_outward() -> None:
    model = mujoco.MjModel.from_xml_string(KINDS)
    named = {model.geom(int(s.name.removeprefix("geom"))).name: s for s in scene.shapes(model)}
    assert set(named) == set(VOLUME)  # the plane is the viewer's
    for name, shape in named.items():
        assert volume(shape) == pytest.approx(VOLUME[name], rel=0.05), name
        corners = shape.vertices[shape.faces]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        assert area.min() > 1e-9, name
    assert errors(model, model.qpos0).max() < 1e-9


def test_collision_shapes_serve_where_there_are_no_others() -> None:
    hidden = KINDS.replace("<geom name", '<geom group="3" name')
    assert len(scene.shapes(mujoco.MjModel.from_xml_string(hidden))) == len(VOLUME)
    mixed = hidden.replace('<geom group="3" name="box"', '<geom group="2" name="box"')
    assert len(scene.shapes(mujoco.MjModel.from_xml_string(mixed))) == 1


def view(**changed: object) -> View:
    values: dict[str, object] = {
        "time_s": 0.0, "qpos": np.array([1.0, 2.0, 0.3, np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]),
        "command": np.array([1.0, 0.0, 0.0], np.float32), "truth": np.zeros(3, np.float32),
        "push": np.zeros(2, np.float32), "feet": None, "policy": "student", "falls": 0, "since_fall_s": 0.0,
        "reward_rate": 0.0,
    }  # fmt: skip
    return View(**{**values, **changed})  # pyright: ignore[reportArgumentType]


def test_arrows_point_where_things_act() -> None:
    found = scene.arrows(view())
    assert set(found) == {"asked"}  # standing still, there is no true velocity to draw
    along = found["asked"].along
    assert np.allclose(along / np.linalg.norm(along), (0.0, 1.0, 0.0), atol=1e-9)  # it heads along +y
    push = scene.arrows(view(push=np.array([0.0, -0.5], np.float32)))["push"]
    assert np.allclose(push.start + push.along, (1.0, 2.0, 0.3))  # its tip is at the base
    assert push.along[1] < 0
    feet = (np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]], np.float32), np.array([0.0, 50.0], np.float32))
    pressed = scene.arrows(view(feet=feet))
    assert {name for name in pressed if name.startswith("force")} == {"force1"}
    assert pressed["force1"].along[2] > 0
    assert {name.rstrip("0123456789") for name in {*found, *pressed, "push"}} <= set(scene.ARROWS)
    assert scene.arrows(view(command=np.zeros(0, np.float32))) == {}


def test_a_sweep_shows_the_room_that_a_pendulum_needs() -> None:
    model = visual("pendulum_swingup")
    middle, radius = reach(model, scene.sweep(model))
    _, hanging = reach(model, scene.sweep(model)[:1])
    assert radius > 1.5 * hanging  # all around its hinge, not only where it hangs
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert abs(middle[2] - data.xanchor[0, 2]) < 0.3 * radius


@pytest.mark.parametrize("along", [(0.0, 0.0, 2.0), (0.0, 0.0, -2.0), (0.3, -0.4, 0.0), (1.0, 1.0, 1.0)])
def test_an_arrow_is_turned_and_stretched_to_its_tip(along: tuple[float, float, float]) -> None:
    arrow = scene.Arrow(np.array([1.0, 2.0, 3.0]), np.array(along))
    vertices, _ = scene.arrow_mesh()
    tip = vertices[np.argmax(vertices[:, 2])]
    assert np.allclose(tip, (0.0, 0.0, 1.0), atol=1e-9)
    assert np.allclose(arrow.start + matrix(arrow.wxyz) @ (tip * (1.0, 1.0, arrow.length)), arrow.start + along)
