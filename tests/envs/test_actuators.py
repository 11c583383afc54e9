"""Motors that are not ideal: each option does to the physics what it says, and nothing where it is off."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from robodistill.config import groups
from robodistill_deploy.errors import RobodistillError, SpecError
from robodistill_envs.config import TaskConfig
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.model import build_model
from robodistill_envs.motor_config import MotorConfig
from robodistill_envs.robot_config import spread
from robodistill_envs.vector import VecEnv

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
MakeLever = Callable[..., MjbatchEngine]
TASKS = sorted(groups()["task"])
CORNER, NO_LOAD = 10.0, 30.0
"""[rad/s]"""
LIMIT, INERTIA = 20.0, 0.03
"""[N m], [kg m^2] of the lever: motor and link together"""
SLOPE = LIMIT / (NO_LOAD - CORNER)
LINE = MotorConfig(torque_speed=True, corner_speed=(CORNER,), no_load_speed=(NO_LOAD,))
GO2_ON = (
    "task.robot.motors.torque_speed=true",
    "task.robot.motors.friction=[0.3]",
    "task.robot.motors.damping=[0.2]",
    "task.robot.motors.friction_scale=[0.5,2.0]",
    "task.robot.motors.damping_scale=[0.5,2.0]",
    "task.robot.motors.backlash=[0.01]",
)


def limited(wanted: Tensor, speed: Tensor, slope: Tensor | float, limit: Tensor | float) -> Tensor:
    """Return the torque [N m] that a motor makes of a wanted one at a speed, case by case.

    Written by quadrant, not as the two clips of the engine: driving falls with speed, braking does not.
    """
    line = slope * (NO_LOAD - speed.abs())
    drives = torch.sign(wanted) == torch.sign(speed)
    free = torch.sign(wanted) * torch.minimum(wanted.abs(), torch.as_tensor(limit).expand_as(wanted))
    driven = torch.sign(speed) * torch.minimum(line.clamp(max=limit), wanted.abs())
    # beyond the no-load speed the supply cannot keep up: the motor brakes, whatever is wanted
    along = torch.minimum(line, torch.sign(speed) * wanted)
    overrun = torch.sign(speed) * torch.maximum(-torch.as_tensor(limit), along)
    return torch.where(speed.abs() > NO_LOAD, overrun, torch.where(drives, driven, free))


# -- torque and speed --------------------------------------------------------------------------


def grid() -> tuple[Tensor, Tensor]:
    wanted, speed = torch.meshgrid(torch.linspace(-30, 30, 25), torch.linspace(-45, 45, 37), indexing="ij")
    return wanted.flatten().double(), speed.flatten().double()


def torques(engine: MjbatchEngine, wanted: Tensor, speed: Tensor, target: Tensor) -> Tensor:
    """Return the torque at the joint, world by world, for a control ``target``."""
    data = mujoco.MjData(engine.model)
    found: list[float] = []
    for u, w in zip(target.tolist(), speed.tolist(), strict=True):
        data.ctrl[0], data.qvel[0] = u, w
        mujoco.mj_forward(engine.model, data)
        found.append(float(data.qfrc_actuator[0]))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["joint_effort", "joint_position"])
def test_torque_at_speed_in_all_four_quadrants(lever: MakeLever, kind: str) -> None:
    wanted, speed = grid()
    # torque = kp target - kd speed at q = 0
    target = wanted if kind == "joint_effort" else (wanted + speed) / 50.0
    expected = limited(wanted, speed, SLOPE, LIMIT)
    assert torch.allclose(torques(lever(LINE, kind), wanted, speed, target), expected, atol=1e-9)
    ideal = torques(lever(MotorConfig(), kind), wanted, speed, target)
    assert torch.allclose(ideal, wanted.clamp(-LIMIT, LIMIT), atol=1e-9)
    for drive, turn in ((1, 1), (1, -1), (-1, 1), (-1, -1)):  # each quadrant holds the difference it should
        here = (wanted * drive > 15.0) & (speed * turn > 15.0) & (speed.abs() <= NO_LOAD)
        lost = (ideal - expected)[here].abs()
        assert (lost > 1.0).all() if drive == turn else (lost < 1e-9).all()


def test_the_limit_acts_at_every_physics_step(lever: MakeLever) -> None:
    """One call of many steps from rest at full torque: constant acceleration, then an exponential."""
    seconds, dt = 0.06, 0.0005
    engine, ideal = lever(LINE, dt=dt), lever(MotorConfig(), dt=dt)
    for each in (engine, ideal):
        each.state("ctrl")[:] = LIMIT
        each.step(round(seconds / dt))
    bend = CORNER * INERTIA / LIMIT  # when the corner speed is reached
    exact = NO_LOAD - (NO_LOAD - CORNER) * math.exp(-SLOPE / INERTIA * (seconds - bend))
    assert float(engine.state("qvel")[0, 0]) == pytest.approx(exact, rel=0.01)
    assert float(ideal.state("qvel")[0, 0]) == pytest.approx(LIMIT / INERTIA * seconds, rel=1e-6)
    engine.step(2000)
    assert float(engine.state("qvel")[0, 0]) == pytest.approx(NO_LOAD, rel=1e-3)


@pytest.mark.parametrize("dt", [0.001, 0.02 / 3.0])
def test_a_saturated_motor_is_stable(lever: MakeLever, dt: float) -> None:
    """Also at the Go2's physics step: the speed settles at its limit, from below and from above, without ringing."""
    engine = lever(LINE, worlds=2, dt=dt)
    engine.state("ctrl")[:] = LIMIT
    engine.state("qvel")[1] = 45.0
    engine.step(round(0.4 / dt))
    assert torch.allclose(engine.state("qvel"), torch.full((2, 1), NO_LOAD, dtype=torch.float64), rtol=1e-3)


@pytest.mark.parametrize("only", [(), ("motor_strength", "kp_scale", "kd_scale"), ("joint_offset",)], ids=str)
def test_torques_follow_the_drawn_motor(load_task: LoadTask, make_env: MakeEnv, only: tuple[str, ...]) -> None:
    """The Go2's servos as drawn. With an encoder offset the sloping line alone moves, by what the effect says."""
    task = load_task("go2_flat", "task.robot.motors.torque_speed=true", "task.robot.motors.corner_speed=[1.0]",
                     f"task.robot.motors.no_load_speed=[{NO_LOAD}]")  # fmt: skip
    env = make_env(task, 3, quiet=True) if not only else make_env(task, 3, only=only)
    env.reset(3)
    world, action = env.world, env.task.robot.actions[0]
    kp, kd, limit, default, scale, low, high = (
        torch.tensor(spread(getattr(action, name), 12, name))
        for name in ("kp", "kd", "effort_limit", "default", "scale", "lower", "upper")
    )
    power = world.parameter("motor_strength")
    generator, lost = torch.Generator().manual_seed(0), 0
    for _ in range(6):
        raw = 8.0 * torch.randn(3, 12, generator=generator)
        env.step(raw)
        target = (default + scale * raw).clamp(low, high)
        pull = kp * world.parameter("kp_scale") * (target - world.signals["joint_pos"])
        pull = pull - kd * world.parameter("kd_scale") * world.signals["joint_vel"]
        speed = world.signals["joint_vel"]
        expected = power * limited(pull, speed, (limit / (NO_LOAD - 1.0)).expand_as(pull), limit.expand_as(pull))
        slack = 1e-3 + kp * world.parameter("joint_offset").abs()
        apart = (world.true("joint_torque") - expected).abs()
        line = limit / (NO_LOAD - 1.0) * (NO_LOAD - speed.abs())
        on_line = (pull * torch.sign(speed) > line - slack) & (line - slack < limit)
        assert (apart[on_line] <= slack[on_line]).all()
        assert (apart[~on_line] <= 1e-3).all()
        lost += int(on_line.sum())
    assert lost > 20


def test_a_drawn_motor_strength_scales_the_whole_line(load_task: LoadTask, make_env: MakeEnv) -> None:
    base = load_task("pendulum_swingup")
    motors = MotorConfig(torque_speed=True, corner_speed=(2.0,), no_load_speed=(6.0,))
    task = replace(base, robot=replace(base.robot, motors=motors))
    env = make_env(task, 6, only=("motor_strength",))
    env.reset(0)
    power = env.world.parameter("motor_strength")[:, 0].double()
    assert float(power.max() - power.min()) > 0.1
    engine = env.engine
    assert isinstance(engine, MjbatchEngine)
    for i, strength in enumerate(power.tolist()):
        model = env.engine.model
        data = mujoco.MjData(model)
        kept = {name: getattr(model, name).copy() for name in engine.expanded()}
        for name, values in engine.expanded().items():
            getattr(model, name)[:] = values[i].numpy().reshape(kept[name].shape)
        for u, w in ((0.5, 1.0), (9.0, 1.0), (9.0, 5.0), (-9.0, 5.0), (0.0, 5.0)):
            data.ctrl[0], data.qvel[0] = u, w
            mujoco.mj_forward(model, data)
            mujoco.mj_forward(model, data)
            line = 1.0 / 4.0 * (6.0 - abs(w))
            plain = max(min(u, 1.0, line), -1.0)
            assert float(data.qfrc_actuator[0]) == pytest.approx(strength * plain, abs=1e-6)
        for name, values in kept.items():
            getattr(model, name)[:] = values


# -- friction ----------------------------------------------------------------------------------


def test_static_friction_holds_and_lets_go(lever: MakeLever) -> None:
    rubbing = lever(MotorConfig(friction=(0.5,)), worlds=3)
    smooth = lever(MotorConfig(), worlds=3)
    torque = torch.tensor([[0.4], [-0.45], [0.8]], dtype=torch.float64)
    for engine in (rubbing, smooth):
        engine.state("ctrl")[:] = torque
        engine.step(1000)
    assert float(rubbing.state("qpos")[:2].abs().max()) < 2e-3  # it creeps; the smooth one turns by 7 rad
    assert float(rubbing.state("qvel")[2, 0]) == pytest.approx((0.8 - 0.5) / INERTIA, rel=0.01)
    assert torch.allclose(smooth.state("qvel"), torque / INERTIA, rtol=1e-6)  # the negative control


def test_viscous_friction_slows_down(lever: MakeLever) -> None:
    thick, thin = lever(MotorConfig(damping=(0.1,))), lever(MotorConfig())
    for engine in (thick, thin):
        engine.state("qvel")[:] = 5.0
        engine.step(300)
    assert float(thick.state("qvel")[0, 0]) == pytest.approx(5.0 * math.exp(-0.1 * 0.3 / INERTIA), rel=0.01)
    assert float(thin.state("qvel")[0, 0]) == pytest.approx(5.0)


def test_drawn_friction_decides_which_pendulum_swings(load_task: LoadTask, make_env: MakeEnv) -> None:
    """Held off the bottom by friction where it is more than the weight's torque, and nowhere else."""
    base = load_task("pendulum_swingup")
    motors = MotorConfig(friction=(0.2,), friction_scale=(0.5, 2.0))
    task = replace(base, robot=replace(base.robot, motors=motors))
    env = make_env(task, 48, only=("motor_friction",))
    env.reset(0)
    friction = 0.2 * env.world.parameter("motor_friction")[:, 0].double()
    assert float(friction.min()) < 0.12
    assert float(friction.max()) > 0.36
    tilt = math.asin(0.24 / (0.5 * 0.4 * 9.81))
    start = torch.full((48, 1), math.pi + tilt, dtype=torch.float64)
    ids = torch.arange(48)
    env.engine.reset(ids, start, torch.zeros_like(start), torch.zeros_like(start))
    env.engine.step(100)
    moved = (env.engine.state("qpos") - start)[:, 0].abs()
    assert (moved[friction > 0.26] < 2e-3).all()
    assert (moved[friction < 0.22] > 0.01).all()


def test_drawn_friction_and_damping_in_the_model(load_task: LoadTask, make_env: MakeEnv) -> None:
    """Motor by motor in the drawn range; without a range no such parameter exists."""
    env = make_env(load_task("go2_flat", *GO2_ON), 40)
    env.reset(0)
    for field, nominal in (("dof_frictionloss", 0.3), ("dof_damping", 0.2)):
        values = env.engine.field(field)[:, -12:]  # on the motors' side of the backlash
        assert (values >= 0.5 * nominal - 1e-6).all()
        assert (values <= 2.0 * nominal + 1e-6).all()
        assert float(values.std(dim=0).min()) > 0.1 * nominal
        assert not env.engine.field(field)[:, :-12].any()
    assert not {"motor_friction", "motor_damping"} & set(load_task("go2_flat").parameters)


# -- together ----------------------------------------------------------------------------------


def all_on(task: TaskConfig) -> TaskConfig:
    """Return ``task`` with every option, as far as it does not draw the damping itself."""
    draws = any(e.params.get("field") == "dof_damping" for e in task.effects)
    motors = MotorConfig(
        torque_speed=True, corner_speed=(0.4 * min(min(a.velocity_limit) for a in task.robot.actions),),
        friction=(0.1,), damping=(0.1,), armature=(0.01,), friction_scale=(0.5, 2.0),
        damping_scale=(1.0, 1.0) if draws else (0.5, 2.0), backlash=(0.01,),
    )  # fmt: skip
    return replace(task, robot=replace(task.robot, motors=motors))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_runs_with_every_option(name: str, load_task: LoadTask, make_env: MakeEnv) -> None:
    plain = load_task(name)
    task = all_on(plain)
    if plain.robot.own_actuators:  # the model file says what its motors are: what would do nothing is refused
        with pytest.raises(SpecError, match="leave motors out"):
            make_env(task, 4)
        return
    env = make_env(task, 4)
    model = env.engine.model
    assert model.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    assert (model.actuator_gaintype == mujoco.mjtGain.mjGAIN_DCMOTOR).all()
    assert model.ntendon == model.nu == build_model(plain).nu
    env.reset(0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(25):
        obs, reward, *_ = env.step(torch.randn(4, env.action_dim, generator=generator))
        assert all(torch.isfinite(value).all() for value in (*obs.values(), reward))
    assert not env.engine.unstable().any()
    seen, usual = env.observe(), make_env(plain, 4).reset(0)
    assert {g: o.shape for g, o in seen.items()} == {g: o.shape for g, o in usual.items()}


@pytest.mark.parametrize("name", TASKS)
def test_off_is_the_ideal_motor(name: str, load_task: LoadTask) -> None:
    """Off means no trace in the model: not a byte of it differs from a robot that never heard of motors."""
    task = load_task(name)
    bare = replace(task, robot=replace(task.robot, motors=MotorConfig()))
    sizes = [mujoco.mj_sizeModel(build_model(t)) for t in (task, bare)]
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer, t in zip(buffers, (task, bare), strict=True):
        mujoco.mj_saveModel(build_model(t), None, buffer)
    assert np.array_equal(buffers[0], buffers[1])
    if task.robot.own_actuators:  # no option can be on
        return
    assert not build_model(task).ntendon
    changed = np.empty(mujoco.mj_sizeModel(build_model(all_on(task))), np.uint8)
    assert changed.shape != buffers[0].shape


def test_what_does_not_fit_is_named(load_task: LoadTask) -> None:
    task = load_task("go2_flat")

    def motors(**values: object) -> TaskConfig:
        return replace(task, robot=replace(task.robot, motors=replace(task.robot.motors, **values)))

    with pytest.raises(SpecError, match=r"corner_speed 40\.0 is not below"):
        motors(torque_speed=True, corner_speed=(40.0,))
    lines = motors(torque_speed=True, corner_speed=()).robot.torque_speed_lines
    assert {corner for corner, _ in lines.values()} == {0.0}
    with pytest.raises(SpecError, match=r"motors\.backlash: expected 1 or 12 values, got 2"):
        motors(backlash=(0.1, 0.2))
    with pytest.raises(SpecError, match="negative"):
        motors(friction=(-1.0,))
    with pytest.raises(SpecError, match="no range of factors"):
        motors(friction_scale=(2.0, 0.5))
    with pytest.raises(SpecError, match="rotor behind a backlash needs an inertia"):
        build_model(motors(backlash=(0.01,), armature=(0.0,)))
    lab = load_task("pendulum_swingup")
    with pytest.raises(SpecError, match="draws dof_damping itself"):
        replace(lab, robot=replace(lab.robot, motors=MotorConfig(damping_scale=(0.5, 2.0))))


def test_resolution_of_a_sensor_that_is_not_there_is_refused(load_task: LoadTask) -> None:
    with pytest.raises(RobodistillError, match="unknown sensor 'joint_pso': did you mean 'joint_pos'"):
        load_task("go2_flat", "+task.signals.joint_pso.quantum=0.01")


def test_a_saved_task_draws_what_its_motors_say_now(load_task: LoadTask) -> None:
    """A run's configuration was saved with what the motors drew then."""
    drawn = load_task("go2_flat", "task.robot.motors.friction_scale=[0.5,2.0]")
    assert replace(drawn) == drawn  # once more, as when it is read back
    wider = replace(drawn, robot=replace(drawn.robot, motors=replace(drawn.robot.motors, friction_scale=(0.25, 4.0))))
    assert wider.parameters["motor_friction"].low == (0.25,) * 12
    assert wider.parameters["motor_friction"].high == (4.0,) * 12
    assert wider.effects == drawn.effects
    still = replace(drawn, robot=load_task("go2_flat").robot)
    assert still == load_task("go2_flat")
