"""The facts about the CPU engine that everything above it relies on: views, time, delays."""

from __future__ import annotations

import copy
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from mjbatch import Batch
from torch import Tensor

from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.model import MEASURED, sensor_slice

SLIDER = """<mujoco><worldbody><body><joint type="slide" axis="1 0 0"/><geom size=".1"/></body></worldbody></mujoco>"""
LANDED = """<mujoco><worldbody><geom type="plane" size="0 0 1"/><body pos="0 0 .1"><freejoint/>
<geom size=".1" mass="1"/>
<site name="s" size=".2"/></body></worldbody><sensor><{kind} site="s"/></sensor></mujoco>"""
HILLS = """<mujoco><asset><hfield name="h" nrow="2" ncol="2" size="1 1 1 .1" elevation="0 0 0 0"/></asset><worldbody>
<geom type="hfield" hfield="h"/><body pos="0 0 1"><freejoint/><geom size=".1"/></body></worldbody></mujoco>"""
N = 3


# -- views -------------------------------------------------------------------------------------


def test_state_is_float64_and_writes_count(rig: Any) -> None:
    engine = rig.fresh()
    assert {engine.state(n).dtype for n in ("qpos", "qvel", "ctrl")} == {torch.float64}
    value = 1.0 + 2.0**-40  # float32 could not hold it
    engine.state("qpos")[1, 0] = value
    assert value in engine.row(1)
    engine.step(1)
    assert rig.sensor(engine, "base_position_w")[:, 0].tolist() == [0.0, 1.0, 0.0]
    assert engine.state("qpos")[1, 0] != engine.state("qpos")[0, 0]


def test_control_writes_count_world_by_world(rig: Any) -> None:
    pushed, idle = rig.fresh(), rig.fresh()
    pushed.state("ctrl")[0, 2] += 0.4
    for engine in (pushed, idle):
        engine.step(2)
    same = [a == b for a, b in zip(rig.rows(pushed), rig.rows(idle), strict=True)]
    assert same == [False, True, True]


@pytest.mark.parametrize(("dtype", "kept"), [(np.float32, False), (None, True)])
def test_float32_state_loses_writes(dtype: type[np.float32] | None, kept: bool) -> None:
    """Why state binds as float64: a float32 binding is a copy, and a write that leaves it unchanged is none."""
    batch = Batch(mujoco.MjModel.from_xml_string(SLIDER), 1, 1)
    state, qpos = batch.bind("state"), batch.bind("qpos", dtype)
    qpos[0, 0] = 3.0
    assert bool(state[0, 1] == 3.0) is kept  # a snapshot taken now would miss it
    batch.step()
    state[0, 1] = 5.0  # such as a restored state
    qpos[0, 0] = 3.0
    batch.step()
    assert bool(state[0, 1] == 3.0) is kept


def test_a_field_binds_in_one_dtype() -> None:
    batch = Batch(mujoco.MjModel.from_xml_string(SLIDER), 1, 1)
    batch.bind("qpos", np.float32)
    with pytest.raises(ValueError, match="another dtype"):
        batch.bind("qpos")


def test_fields_are_live_and_start_at_the_template(rig: Any) -> None:
    model: mujoco.MjModel = rig.model
    engine = MjbatchEngine(model, 2, 1)
    gain = engine.field("actuator_gainprm")
    assert gain.shape == (2, model.nu, model.actuator_gainprm.shape[1])
    assert torch.equal(gain[1], torch.tensor(model.actuator_gainprm))
    gain[0, 0, 0] = 7.0
    assert engine.field("actuator_gainprm")[0, 0, 0] == 7.0
    assert model.actuator_gainprm[0, 0] != 7.0


def test_terrain_is_one_for_all_worlds() -> None:
    """Why terrain is a shared map on which worlds begin at different places."""
    batch = Batch(mujoco.MjModel.from_xml_string(HILLS), 2, 1)
    assert batch.expand("geom_friction").shape[0] == 2
    with pytest.raises(ValueError, match="hfield_data"):
        batch.expand("hfield_data")


@pytest.mark.parametrize(("kind", "computed"), [("touch", False), ("accelerometer", True)])
def test_external_forces_are_zero_without_an_acceleration_sensor(kind: str, computed: bool) -> None:
    """Why contact forces are read from touch and contact sensors, never from ``cfrc_ext``."""
    batch = Batch(mujoco.MjModel.from_xml_string(LANDED.format(kind=kind)), 1, 1)
    forces, sensors = batch.bind("cfrc_ext"), batch.bind("sensordata")
    batch.step(nstep=50)
    assert float(np.abs(sensors).max()) == pytest.approx(9.81, abs=0.1)  # it lies on the floor
    assert bool(forces.any()) is computed


def test_a_restored_state_alone_shows_sensors_of_zero(rig: Any) -> None:
    """Why a snapshot holds the derived buffers too."""
    used, fresh = rig.fresh(), MjbatchEngine(rig.model, N, 1)
    rig.drive(used, rig.controls(2))
    alone = Batch(rig.model, N, 1)
    rows, sensors = alone.bind("state"), alone.bind("sensordata", np.float32)
    rows[:] = used.state_dict()["rows"].numpy()
    assert not sensors.any()
    fresh.load_state_dict(used.state_dict())
    assert torch.equal(fresh.sensordata, used.sensordata)
    assert used.sensordata.any()


# -- time --------------------------------------------------------------------------------------


def test_sensors_are_one_substep_behind_the_state(rig: Any) -> None:
    engine = rig.fresh()
    engine.step(3)
    before, velocity = engine.state("qpos")[:, 7:].float(), engine.state("qvel")[:, 6:].float()
    engine.step(1)
    assert torch.equal(rig.sensor(engine, "joint_pos"), before)
    assert torch.equal(rig.sensor(engine, "joint_vel"), velocity)
    assert not torch.equal(engine.state("qpos")[:, 7:].float(), before)


def test_worlds_step_as_a_plain_loop_does(rig: Any) -> None:
    """Every world, with its own fields, is bit for bit ``mj_step`` on one MjData, sensors and delays included."""
    engine = rig.fresh()
    plain: list[tuple[mujoco.MjModel, mujoco.MjData]] = []
    for world in range(N):
        own = copy.copy(engine.model)
        for name, values in engine.expanded().items():
            getattr(own, name)[:] = values[world].numpy()
        mujoco.mj_setConst(own, mujoco.MjData(own))
        data = mujoco.MjData(own)
        mujoco.mj_setState(own, data, engine.row(world), mujoco.mjtState.mjSTATE_INTEGRATION)
        plain.append((own, data))
    for target in rig.controls(15):
        engine.state("ctrl").copy_(target)
        engine.step(rig.task.decimation)
        for world, (own, data) in enumerate(plain):
            data.ctrl[:] = target[world]
            mujoco.mj_step(own, data, rig.task.decimation)
            state = np.empty(len(engine.row(0)))
            mujoco.mj_getState(own, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
            assert state.tobytes() == engine.row(world).tobytes()
            assert np.array_equal(data.sensordata.astype(np.float32), engine.sensordata[world].numpy())


# -- delays ------------------------------------------------------------------------------------


def test_after_a_reset_delayed_signals_equal_undelayed_ones(rig: Any) -> None:
    engine = rig.fresh()
    rig.drive(engine, rig.controls(5))
    rig.begin(engine, [0, 1, 2], seed=5)
    for sensor in rig.task.robot.sensors:
        measured = rig.sensor(engine, sensor.name, MEASURED)
        assert torch.equal(measured, rig.sensor(engine, sensor.name))
        assert measured.abs().amax(dim=1).gt(0.05).all()  # zeros would be equal too


def test_without_filling_the_buffers_would_say_zero(rig: Any) -> None:
    """The negative control of the test above: what MuJoCo itself leaves after a reset."""
    engine = rig.fresh()
    batch = Batch(engine.model, 1, 1)
    sensors = batch.bind("sensordata")
    batch.expand("sensor_delay")[:] = 0.01 * (engine.model.sensor_history[:, 0] > 0)
    batch.reset()
    where = sensor_slice(engine.model, rig.task.robot.sensors[0], MEASURED)
    assert rig.task.robot.sensors[0].name == "imu_quat_wxyz"
    assert not sensors[0, where].any()


def test_signals_arrive_after_their_delay(rig: Any) -> None:
    engine = rig.fresh()  # world i: i physics steps
    joints: list[Tensor] = []
    measured: list[Tensor] = []
    for target in rig.controls(12):
        engine.state("ctrl").copy_(target)
        engine.step(1)
        joints.append(rig.sensor(engine, "joint_pos").clone())
        measured.append(rig.sensor(engine, "joint_pos", MEASURED).clone())
    for world in range(N):
        for k in range(12):
            assert torch.equal(measured[k][world], joints[max(k - world, 0)][world])


def test_actions_act_after_their_delay(rig: Any) -> None:
    kicked, still = rig.fresh(), rig.fresh()
    kicked.state("ctrl")[:] += 0.3
    for k in range(1, N + 1):
        kicked.step(1)
        still.step(1)
        # ctrl itself is part of the row, so compare what moves
        moved = (kicked.state("qvel") != still.state("qvel")).any(dim=1)
        assert moved.tolist() == [k > world for world in range(N)]


def test_until_the_first_action_arrives_the_default_pose_is_held(rig: Any) -> None:
    """With targets that do not change, a delay changes nothing: an empty buffer would let the legs go to zero."""
    delayed, prompt = rig.fresh(), rig.fresh()
    prompt.field("actuator_delay")[:] = 0.0
    for engine in (delayed, prompt):
        rig.begin(engine, [0, 1, 2], seed=2)
        engine.step(6)
    assert torch.equal(delayed.state("qpos"), prompt.state("qpos"))
    assert torch.equal(delayed.state("qvel"), prompt.state("qvel"))
