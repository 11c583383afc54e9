"""Play between motor and link, and what encoders make of the motor's position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from robodistill_envs.config import SignalConfig, TaskConfig
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.model import build_model
from robodistill_envs.motor_config import MotorConfig
from robodistill_envs.motors import robot_nq
from robodistill_envs.vector import Disturbances, VecEnv

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
MakeLever = Callable[..., MjbatchEngine]
GAP, INERTIA = 0.04, 0.03
"""[rad], [kg m^2] of the lever: motor and link together"""


def reading(engine: MjbatchEngine, name: str) -> Tensor:
    """Return (N,) of a sensor without delay."""
    adr = engine.model.sensor(f"true.{name}.lever").adr[0]
    return engine.sensordata[:, adr].double()


def test_the_link_moves_freely_within_the_gap(lever: MakeLever) -> None:
    """Pushed by hand: the encoder sees nothing until a flank is reached. Without a gap it sees all of it."""
    loose, tight = lever(MotorConfig(backlash=(GAP,)), "joint_position"), lever(MotorConfig(), "joint_position")
    for engine in (loose, tight):
        zero = torch.zeros(1, engine.model.nq, dtype=torch.float64)
        engine.reset(torch.tensor([0]), zero, zero.clone(), torch.zeros(1, 1, dtype=torch.float64))
        engine.state("qvel")[:, 0] = 0.5
        engine.step(30)  # 15 mrad of 20
    assert float(loose.state("qvel")[0, 0]) == pytest.approx(0.5, rel=1e-4)
    assert float(loose.state("qpos")[0, 0]) == pytest.approx(0.015, rel=1e-3)
    assert abs(float(reading(loose, "joint_pos"))) < 1e-6
    assert float(reading(tight, "joint_pos")) > 5e-3
    assert float(tight.state("qvel")[0, 0]) < 0.45
    loose.step(30)  # now the teeth have met
    assert float(loose.state("qvel")[0, 0]) < 0.45
    assert float(reading(loose, "joint_pos")) > 1e-4


def test_the_motor_crosses_the_gap_before_the_link_follows(lever: MakeLever) -> None:
    """A slow triangle of the motor: after each turn the link rests for the width of the gap."""
    loose, tight = lever(MotorConfig(backlash=(GAP,)), "joint_position"), lever(MotorConfig(), "joint_position")
    rest: dict[str, float] = {}
    for name, engine in (("loose", loose), ("tight", tight)):
        engine.field("dof_damping")[:, 0] = 3.0  # so that the link does not coast
        motor: list[float] = []
        link: list[float] = []
        for k in range(4000):
            engine.state("ctrl")[:] = 0.2 * (k if k < 2000 else 4000 - k) / 2000.0
            engine.step(1)
            motor.append(float(reading(engine, "joint_pos")))
            link.append(float(reading(engine, "link")))
        top = int(np.argmax(motor))
        leaves = next(i for i in range(int(np.argmax(link)), 4000) if link[i] < max(link) - 5e-4)
        rest[name] = motor[top] - motor[leaves]
        assert max(np.abs(np.subtract(motor, link))) < GAP / 2.0 + 1e-3
    assert rest["loose"] == pytest.approx(GAP, abs=3e-3)
    assert rest["tight"] < 2e-3


def test_teeth_that_have_met_carry_the_whole_torque(lever: MakeLever) -> None:
    """Motor and link accelerate as one inertia, half a gap apart, and the reflected inertia counts."""
    engine = lever(MotorConfig(backlash=(GAP,)))
    engine.state("ctrl")[:] = 3.0
    engine.step(100)
    before = engine.state("qvel").clone()
    engine.step(100)
    gained = (engine.state("qvel") - before)[0] / 0.1
    assert torch.allclose(gained, torch.full((2,), 3.0 / INERTIA, dtype=torch.float64), rtol=0.01)
    apart = engine.state("qpos")[0, 1] - engine.state("qpos")[0, 0]
    assert float(apart) == pytest.approx(GAP / 2.0, rel=0.02)


def test_the_layout_of_the_robot_stays(load_task: LoadTask, make_env: MakeEnv) -> None:
    plain = build_model(load_task("go2_flat"))
    env = make_env(load_task("go2_flat", "task.robot.motors.backlash=[0.01]"), 4)
    model = env.engine.model
    for i in range(plain.njnt):
        name = plain.joint(i).name
        assert model.joint(name).qposadr == plain.joint(name).qposadr
        assert model.joint(name).dofadr == plain.joint(name).dofadr
    assert robot_nq(model) == plain.nq == robot_nq(plain)
    assert [model.actuator(i).name for i in range(model.nu)] == [plain.actuator(i).name for i in range(plain.nu)]
    assert float(model.body_mass.sum()) == pytest.approx(float(plain.body_mass.sum()), rel=1e-6)
    env.reset(0)  # starts with the play in the middle, however the joints were drawn
    qpos, qvel = env.engine.state("qpos"), env.engine.state("qvel")
    assert torch.equal(qpos[:, 19:], qpos[:, 7:19])
    assert torch.equal(qvel[:, 18:], qvel[:, 6:18])
    assert float((qpos[:, 7:19] - qpos[0, 7:19])[1:].abs().max()) > 0.02


# -- encoders ----------------------------------------------------------------------------------


def test_encoders_count_the_biased_and_noisy_position(load_task: LoadTask, make_env: MakeEnv) -> None:
    """signal = round((true + bias + noise) / quantum) * quantum: counts, with the bias inside."""
    task, quantum = load_task("go2_flat"), 0.01
    coarse = SignalConfig(quantum=quantum, bias="joint_offset")
    env = make_env(replace(task, signals={**task.signals, "joint_pos": coarse}), 8)
    env.disturbances = Disturbances(pushes=False)
    env.reset(0)
    # delays aside: compare with the delayed truth, which is what noise and bias act on
    seen, exact = env.world.signals["joint_pos"], env.world.true("joint_pos")
    offset = env.world.parameter("joint_offset")
    counted = torch.round((exact + offset) / quantum) * quantum
    assert torch.allclose(seen, counted, atol=1e-6)
    other_way = torch.round(exact / quantum) * quantum + offset
    assert float((seen - other_way).abs().max()) > 0.4 * quantum
    assert not torch.allclose(seen, exact + offset, atol=0.3 * quantum)  # the negative control: no quantum


@pytest.mark.parametrize("quantum", [0.0, 0.002])
def test_a_slow_joint_steps_by_whole_quanta(load_task: LoadTask, make_env: MakeEnv, quantum: float) -> None:
    task = load_task("go2_flat")
    signals = {"joint_pos": SignalConfig(quantum=quantum), "joint_vel": SignalConfig(quantum=100.0 * quantum)}
    env = make_env(replace(task, signals=signals), 1, disturbances=Disturbances(False, pushes=False, reset=False))
    env.reset(0)
    positions: list[Tensor] = []
    for k in range(40):
        env.step(torch.full((1, 12), 0.005 * k))
        positions.append(env.world.signals["joint_pos"][0, :1].clone())
    steps = torch.stack(positions).diff(dim=0).flatten()
    if not quantum:
        assert (steps != 0.0).float().mean() > 0.9
        return
    assert torch.allclose(steps / quantum, (steps / quantum).round(), atol=2e-3)
    assert (steps.abs() < quantum / 2.0).any()  # less than a quantum is not seen at all
    speed = env.world.signals["joint_vel"] / (100.0 * quantum)
    assert torch.allclose(speed, speed.round(), atol=1e-3)
