"""Every randomised quantity of the Go2 does to the physics what its name says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from robodistill_envs.config import PushConfig, TaskConfig
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.model import build_model
from robodistill_envs.robot_config import ActionConfig, RobotConfig, spread
from robodistill_envs.terms import effects
from robodistill_envs.vector import Disturbances, VecEnv
from robodistill_envs.world import World

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
G = 9.81
BLOCK = """<mujoco><worldbody><body name="block" pos="0 0 0.05"><freejoint/>
<geom type="box" size=".1 .1 .05" friction="2"/></body></worldbody></mujoco>"""


def stand(env: VecEnv, seconds: float = 1.2) -> World:
    """Let the robots settle on their feet."""
    env.reset(3)
    for _ in range(round(seconds / env.task.control_dt)):
        _, _, terminated, truncated, _ = env.step(torch.zeros(env.num_envs, env.action_dim))
        assert not (terminated | truncated).any()
    return env.world


def column(values: tuple[float, ...], action: ActionConfig) -> Tensor:
    return torch.tensor(spread(values, len(action.names), "test"))


# -- friction ----------------------------------------------------------------------------------


def slide(task: TaskConfig, folder: Path, friction: Tensor, slope: float, priority: int | None) -> Tensor:
    """Return the speeds [m/s] after 1 s of blocks on slopes of angle atan(``slope``)."""
    (folder / "block.xml").write_text(BLOCK)
    robot = RobotConfig("block", str(folder / "block.xml"), True, (), (), ())
    block = replace(task, robot=robot, signals={})
    model = build_model(block)
    if priority is not None:
        model.geom_priority[model.geom("floor").id] = priority
    angle = np.arctan(slope)
    model.opt.gravity[:] = [G * np.sin(angle), 0.0, -G * np.cos(angle)]
    engine = MjbatchEngine(model, len(friction), 1)
    world, ids = World(block, engine), torch.arange(len(friction))
    world.parameters["friction"][:] = friction.view(-1, 1)
    effects.geom_friction(engine, world, ids, geom="floor", parameter="friction")
    engine.update_constants(ids)
    engine.step(round(1.0 / model.opt.timestep))
    return engine.state("qvel")[:, 0]


def test_a_block_slides_at_the_friction_angle(load_task: LoadTask, tmp_path: Path) -> None:
    slope = 0.6
    friction = torch.tensor([0.3, 0.45, 0.57, 0.63, 0.8, 1.25])
    speed = slide(load_task("go2_flat"), tmp_path, friction, slope, None)
    pull = G * np.cos(np.arctan(slope)) * (slope - friction)
    assert (speed[friction > slope].abs() < 0.02).all()
    slides = friction < slope
    # a soft contact gives way a little more than Coulomb's law
    assert torch.allclose(speed[slides].float(), pull[slides], rtol=0.08, atol=0.08)


def test_without_priority_the_floor_would_not_decide(load_task: LoadTask, tmp_path: Path) -> None:
    """The negative control: MuJoCo takes the larger friction of the two, here the block's 2."""
    friction = torch.tensor([0.3, 0.57])
    speed = slide(load_task("go2_flat"), tmp_path, friction, 0.6, priority=0)
    assert (speed.abs() < 0.02).all()


def test_the_feet_feel_the_drawn_friction(make_env: MakeEnv) -> None:
    env = make_env("go2_flat", 4, only=("friction",))
    world = stand(env, 0.3)
    engine = env.engine
    assert isinstance(engine, MjbatchEngine)
    for i in range(env.num_envs):
        model, data = engine.model, mujoco.MjData(engine.model)
        floor = model.geom("floor").id
        kept = model.geom_friction[floor].copy()
        model.geom_friction[floor] = engine.field("geom_friction")[i, floor].numpy()
        mujoco.mj_setState(model, data, engine.row(i), mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(model, data)
        model.geom_friction[floor] = kept
        assert data.ncon >= 4
        drawn = float(world.parameter("friction")[i, 0])
        assert data.contact.friction[:, 0] == pytest.approx(np.full(data.ncon, drawn))


# -- mass --------------------------------------------------------------------------------------


def test_the_feet_carry_robot_and_payload(make_env: MakeEnv) -> None:
    env = make_env("go2_flat", 6, only=("payload",))
    world = stand(env)
    payload = world.parameter("payload")[:, 0]
    assert float(payload.max() - payload.min()) > 1.0
    weight = (float(env.engine.model.body_mass.sum()) + payload) * G
    assert torch.allclose(world.true("foot_force").sum(dim=1), weight, rtol=0.01)
    # the payload is spread as the trunk's own mass is
    model, trunk = env.engine.model, env.engine.model.body("base_link").id
    share = 1.0 + payload.double() / model.body_mass[trunk]
    inertia = env.engine.field("body_inertia")[:, trunk]
    assert torch.allclose(inertia, torch.tensor(model.body_inertia[trunk]) * share.view(-1, 1), rtol=1e-6)


def test_a_shifted_centre_of_mass_shifts_the_load(make_env: MakeEnv) -> None:
    """The feet's centre of pressure moves with the whole robot's centre of mass, ahead and sideways."""
    env = make_env("go2_flat", 12, only=("com_offset",))
    world = stand(env)
    force, feet = world.true("foot_force"), world.true("foot_position_w").view(-1, 4, 3)
    pressure = (force.unsqueeze(2) * feet).sum(dim=1) / force.sum(dim=1, keepdim=True)
    at = (pressure - world.true("base_position_w"))[:, :2]
    mass = env.engine.model.body_mass
    shift = world.parameter("com_offset")[:, :2] * float(mass[1] / mass.sum())
    assert (shift.amax(dim=0) - shift.amin(dim=0) > 0.02).all()
    rest = at - shift
    assert (rest - rest.mean(dim=0)).abs().max() < 0.0015
    heavy_front, heavy_left = int(shift[:, 0].argmax()), int(shift[:, 1].argmax())
    front = force[:, :2].sum(dim=1) - force[:, 2:].sum(dim=1)
    left = force[:, [0, 2]].sum(dim=1) - force[:, [1, 3]].sum(dim=1)
    assert int(front.argmax()) == heavy_front
    assert int(left.argmax()) == heavy_left


# -- motors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "only",
    [("motor_strength",), ("kp_scale",), ("kd_scale",), ("joint_offset",), ("all",)],
    ids=lambda o: o[0],
)
def test_torques_follow_the_drawn_servo(make_env: MakeEnv, only: tuple[str, ...]) -> None:
    """torque = strength * clip(kp (target - measured position) - kd velocity): with the encoder's own error."""
    servo = ("motor_strength", "kp_scale", "kd_scale", "joint_offset")
    env = make_env("go2_flat", 3, only=servo if only == ("all",) else only)
    env.reset(3)
    world, action = env.world, env.task.robot.actions[0]
    limit = column(action.effort_limit, action)
    saturated: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)
    for size in (0.3, 1.0, 12.0):
        raw = size * torch.randn(3, 12, generator=generator)
        env.step(raw)
        wanted = column(action.default, action) + column(action.scale, action) * raw
        target = wanted.clamp(column(action.lower, action), column(action.upper, action))
        kp = column(action.kp, action) * world.parameter("kp_scale")
        kd = column(action.kd, action) * world.parameter("kd_scale")
        pull = kp * (target - world.signals["joint_pos"]) - kd * world.signals["joint_vel"]
        expected = world.parameter("motor_strength") * pull.clamp(-limit, limit)
        assert torch.allclose(world.true("joint_torque"), expected, atol=2e-4)
        saturated.append(pull.abs() > limit)
    share = torch.stack(saturated).float().mean()
    assert 0.02 < float(share) < 0.98
    for name in servo:  # what was drawn differs between worlds, what was not does not
        spread_of = (world.parameter(name)[0] - world.parameter(name)[1]).abs().amin()
        assert (float(spread_of) > 0.0) is (name in only or only == ("all",))


def test_encoder_offset_moves_the_joint_and_hides_it(make_env: MakeEnv) -> None:
    """A robot with wrong encoders stands wrong by as much, and does not see it."""
    shifted, straight = make_env("go2_flat", 2, only=("joint_offset",)), make_env("go2_flat", 2, quiet=True)
    a, b = stand(shifted), stand(straight)
    offset = a.parameter("joint_offset")
    assert torch.allclose(a.signals["joint_pos"] - a.true("joint_pos"), offset, atol=1e-6)
    assert torch.equal(b.signals["joint_pos"], b.true("joint_pos"))
    hips = [0, 3, 6, 9]  # thighs and calves carry load, which the offset redistributes
    moved = (a.true("joint_pos") - b.true("joint_pos"))[:, hips]
    correlation = torch.corrcoef(torch.stack((moved.flatten(), -offset[:, hips].flatten())))[0, 1]
    assert float(correlation) > 0.8


# -- pushes ------------------------------------------------------------------------------------


def push_often(task: TaskConfig) -> TaskConfig:
    return replace(task, push=PushConfig(max_speed=0.8, interval_s=(0.3, 0.6)))


PUSHES = Disturbances(parameters=False, noise=False, reset=False)


def test_a_push_changes_the_velocity_by_what_it_says(load_task: LoadTask, make_env: MakeEnv) -> None:
    task = push_often(load_task("go2_flat"))
    pushed, calm = make_env(task, 6, disturbances=PUSHES), make_env(task, 6, quiet=True)
    pushed.reset(0)
    calm.reset(0)
    seen = torch.zeros(6, dtype=torch.bool)
    for _ in range(30):
        for env in (pushed, calm):
            env.step(torch.zeros(6, 12))
        now = (pushed.world.push.norm(dim=1) > 0.05) & ~seen
        gained = (pushed.world.true("base_velocity_w") - calm.world.true("base_velocity_w"))[:, :2]
        # feet on the ground take up some of it within the step
        assert (
            (gained - pushed.world.push)[now].norm(dim=1) < 0.35 * pushed.world.push[now].norm(dim=1)
        ).all()
        seen |= now
    assert int(seen.sum()) >= 4


def test_pushes_in_size_direction_and_time(
    load_task: LoadTask, make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the physics stopped, a push is all that changes the velocity."""
    task = replace(push_often(load_task("go2_flat")), terminations=(), episode_s=100.0)
    env = make_env(task, 32, disturbances=PUSHES)
    env.reset(0)
    monkeypatch.setattr(env.engine, "step", lambda nstep: None)
    velocity = env.engine.state("qvel")
    kicks: list[Tensor] = []
    times: list[list[int]] = [[] for _ in range(32)]
    for step in range(150):
        velocity[:] = 0.0
        env.step(torch.zeros(32, 12))
        kicked = velocity.abs().amax(dim=1) > 0.0
        assert not velocity[:, 2:].any()
        assert torch.equal(velocity[kicked, :2].float(), env.world.push[kicked])
        kicks.append(env.world.push[kicked])
        for world in kicked.nonzero()[:, 0].tolist():
            times[world].append(step)
    every = torch.cat(kicks)
    assert len(every) > 150
    speed = every.norm(dim=1)
    assert float(speed.max()) <= 0.8
    assert abs(float(speed.mean()) - 0.4) < 0.1
    assert (every.mean(dim=0).abs() < 0.12).all()  # no direction is preferred
    gaps = [b - a for world in times for a, b in pairwise(world)]
    assert min(gaps) in (15, 16)  # 0.3 s
    assert max(gaps) in (28, 29, 30)  # 0.6 s
