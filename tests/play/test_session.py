"""A session does what its operator asks: command, push, physics, exchange of policies; on every task; repeatably."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robodistill.config import groups
from robodistill.evaluation.drivers import Driver, OnnxDriver, TorchDriver, ZeroDriver
from robodistill.export import Origin, export_policy
from robodistill.play.session import FOOT_FORCE, Session
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv

MakeSession = Callable[..., Session]
TASKS = sorted(groups()["task"])
G = 9.81


def ticks(session: Session, seconds: float) -> Session:
    for _ in range(round(seconds / session.task.control_dt)):
        session.tick()
    return session


@pytest.fixture
def standing(make_session: MakeSession) -> Session:
    """Return a Go2 that has settled in its default pose."""
    session = ticks(make_session(policy="zero_action"), 1.5)
    assert session.falls == 0
    return session


class Watcher(Driver):
    """Keeps what it was shown."""

    def start(self, env: VecEnv) -> None:
        self.seen: list[torch.Tensor] = []
        self.starts = getattr(self, "starts", 0) + 1

    def act(self, env: VecEnv, obs: dict[str, torch.Tensor]) -> torch.Tensor:
        self.seen.append(obs["sensors"].clone())
        return torch.zeros(env.num_envs, env.action_dim)


def test_the_command_reaches_the_policy(make_session: MakeSession) -> None:
    session = make_session()
    session.put("watcher", Watcher())
    session.select("watcher")
    watcher = session.drivers["watcher"]
    assert isinstance(watcher, Watcher)
    wanted = [0.5, -0.25, 1.0]
    session.tick()
    session.set_command(wanted)
    session.tick()
    terms = session.env.spec.groups["sensors"]
    start = sum(t.dim for t in terms[: [t.name for t in terms].index("command")])
    assert watcher.seen[0][0, start : start + 3].tolist() == [0.0, 0.0, 0.0]
    assert watcher.seen[1][0, start : start + 3].tolist() == wanted
    assert session.env.world.signals["command"][0].tolist() == wanted  # what the exported file reads
    assert session.traces.term("sensors.command").values[-1].tolist() == wanted


def test_the_command_is_held_and_clipped(make_session: MakeSession) -> None:
    session = make_session(policy="zero_action")
    session.set_command([0.3, 0.0, 0.0])
    ticks(session, 6.0)  # the task itself would draw another one after 5 s, and end after 10 s
    assert session.view().command.tolist() == [pytest.approx(0.3), 0.0, 0.0]
    session.set_command([99.0, -99.0, 0.0])
    assert session.view().command.tolist() == [pytest.approx(1.5), pytest.approx(-0.6), 0.0]
    with pytest.raises(RobodistillError, match="takes 3 numbers, got 1"):
        session.set_command([1.0])


@pytest.mark.parametrize("angle", [0.0, 0.5 * math.pi, math.pi])
def test_a_push_changes_the_velocity_where_it_points(standing: Session, angle: float) -> None:
    qvel = standing.env.engine.state("qvel")
    before = qvel[0, :2].clone()
    standing.push(0.7, angle)
    change = (qvel[0, :2] - before).numpy()  # the robot heads along x
    assert np.allclose(change, 0.7 * np.array([math.cos(angle), math.sin(angle)]), atol=0.05)
    assert np.linalg.norm(standing.view().push) == pytest.approx(0.7, abs=1e-5)
    place = standing.view().qpos[:2]
    ticks(standing, 0.1)
    moved = standing.view().qpos[:2] - place
    assert float(moved @ change) > 0.01
    ticks(standing, 1.0)
    assert np.linalg.norm(standing.view().push) < 0.01  # it fades, as in training


def test_nobody_else_pushes(standing: Session) -> None:
    ticks(standing, 9.0)  # the task itself pushes every four to eight seconds
    assert np.linalg.norm(standing.view().push) == 0.0


def weight_on_feet(session: Session) -> float:
    """Return the mean force [N] on all feet over a second, two seconds after a change."""
    ticks(session, 2.0)
    forces = []
    for _ in range(50):
        session.tick()
        forces.append(float(session.env.world.true(FOOT_FORCE).sum()))
    return float(np.mean(forces))


def test_payload_weighs_on_the_feet(standing: Session) -> None:
    light = weight_on_feet(standing)
    standing.set_parameter("payload", 2.0)
    heavy = weight_on_feet(standing)
    assert standing.falls == 0
    assert heavy - light == pytest.approx(2.0 * G, rel=0.1)
    standing.set_parameter("payload", 0.0)
    assert weight_on_feet(standing) == pytest.approx(light, abs=1.0)


def test_friction_decides_how_far_a_pushed_robot_slides(make_session: MakeSession) -> None:
    slid = []
    for friction in (0.3, 1.25):
        session = ticks(make_session(policy="zero_action"), 1.5)
        session.set_parameter("friction", friction)
        start = session.view().qpos[1]
        session.push(1.0, 0.5 * math.pi)
        ticks(session, 0.6)
        slid.append(session.view().qpos[1] - start)
    assert slid[0] > slid[1] + 0.02


def test_writing_physics_leaves_the_state_alone(standing: Session) -> None:
    engine = standing.env.engine
    kept = {k: v.clone() for k, v in engine.state_dict().items() if isinstance(v, torch.Tensor)}
    standing.set_parameter("payload", 3.0)
    standing.set_parameter("friction", 0.4)
    assert set(kept) == {"rows", "warnings", "sensordata"}
    for name, value in kept.items():
        assert torch.equal(engine.state_dict()[name], value), name
    assert float(engine.field("body_mass")[0, 1]) - engine.model.body_mass[1] == pytest.approx(3.0)


def test_physics_survives_a_fall_and_a_reset(make_session: MakeSession) -> None:
    session = make_session()
    session.set_parameter("payload", 2.5)
    session.set_command([0.5, 0.0, 0.0])
    for act in (session.reset, lambda: fall(session)):
        act()
        assert float(session.env.world.parameter("payload")[0, 0]) == 2.5
        added = float(session.env.engine.field("body_mass")[0, 1]) - session.env.engine.model.body_mass[1]
        assert added == pytest.approx(2.5)
        assert session.env.world.command[0].tolist() == [0.5, 0.0, 0.0]
    with pytest.raises(RobodistillError, match="unknown parameter 'payloda': did you mean 'payload'"):
        session.set_parameter("payloda", 1.0)


def fall(session: Session) -> None:
    """Turn the robot over."""
    falls = session.falls
    session.env.engine.state("qpos")[0, 3:7] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    ticks(session, 0.1)
    assert session.falls == falls + 1


def test_a_fall_is_counted_and_begins_anew(make_session: MakeSession) -> None:
    session = ticks(make_session(policy="zero_action"), 1.0)
    session.put("watcher", Watcher())
    session.select("watcher")
    assert session.view().since_fall_s == pytest.approx(1.0)
    fall(session)
    watcher = session.drivers["watcher"]
    assert isinstance(watcher, Watcher)
    assert watcher.starts == 2  # no memory of the life before
    view = session.view()
    assert view.falls == 1
    assert view.since_fall_s < 0.1
    assert view.qpos[2] > 0.25


def test_switching_policies_keeps_the_robot_going(make_session: MakeSession) -> None:
    session = make_session()
    for policy in ("teacher", "zero_action", "student"):
        before = session.view()
        session.select(policy)
        assert np.array_equal(session.view().qpos, before.qpos)
        ticks(session, 0.2)
        assert session.view().policy == policy
        assert session.view().time_s == pytest.approx(before.time_s + 0.2)
    with pytest.raises(RobodistillError, match="unknown policy 'studnet': did you mean 'student'"):
        session.select("studnet")


@pytest.mark.slow
def test_the_exported_file_drives_like_the_student(make_session: MakeSession, tmp_path: Path) -> None:
    ends = []
    for name in ("student", "onnx"):
        session = make_session("pendulum_swingup")
        student = session.drivers["student"]
        assert isinstance(student, TorchDriver)
        exported = tmp_path / "policy.onnx"
        if not exported.exists():
            export_policy(student.policy, session.task, session.env.spec, Origin("none", 0, {}), exported)
        session.put("onnx", OnnxDriver(exported))
        session.select("zero_action")
        ticks(session, 0.4)
        session.select(name)
        ends.append(ticks(session, 0.4).view())
    assert [view.policy for view in ends] == ["student", "onnx"]
    assert np.allclose(ends[0].qpos, ends[1].qpos, atol=1e-4)


def test_policies_differ(make_session: MakeSession) -> None:
    ends = {policy: ticks(make_session(policy=policy), 0.2).view().qpos for policy in ("teacher", "student")}
    assert not np.array_equal(ends["teacher"], ends["student"])


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_and_repeats(make_session: MakeSession, task: str) -> None:
    def run(seed: int) -> Session:
        session = make_session(task, seed=seed)
        for name, config in session.parameters.items():
            session.set_parameter(name, config.high[0])
        for _ in range(20):
            session.tick()
        return session

    first, second, other = run(0), run(0), run(1)
    assert np.array_equal(first.view().qpos, second.view().qpos)
    assert not np.array_equal(first.view().qpos, other.view().qpos)
    assert np.isfinite(first.view().qpos).all()
    for name in first.traces.names:
        trace, again = first.traces.term(name), second.traces.term(name)
        assert trace.values.shape == (21, len(trace.labels))
        assert np.array_equal(trace.values, again.values)
    latent = first.drivers["student"].latent
    assert latent is not None
    assert first.traces.vector("latent").values.shape == (20, latent.shape[1])
    assert first.can_push == (first.task.push is not None)
    if not first.can_push:
        with pytest.raises(RobodistillError, match="has nothing to push"):
            first.push(1.0)


def test_terms_are_shown_in_their_units(standing: Session) -> None:
    world, traces = standing.env.world, standing.traces
    gyro = traces.term("privileged.angular_velocity")
    assert gyro.unit == "rad/s"
    assert gyro.labels == ("x", "y", "z")
    assert np.allclose(gyro.values[-1], world.true("imu_gyro")[0].numpy(), atol=1e-6)
    standing.set_parameter("payload", 2.0)
    standing.tick()
    payload = traces.term("privileged.payload")
    assert (payload.unit, payload.labels) == ("kg", ("payload",))
    assert payload.values[-1].tolist() == [2.0]  # not what the network reads, which lies in [-1, 1]
    assert standing.observation["privileged"].abs().max() > 0
    assert traces.term("sensors.joint_pos").labels == standing.task.robot.actions[0].names
    assert np.allclose(np.diff(gyro.time_s), standing.task.control_dt)
    with pytest.raises(RobodistillError, match="unknown term"):
        traces.term("privileged.nothing")


def test_a_latent_of_another_width_starts_a_new_trace(make_session: MakeSession) -> None:
    session = ticks(make_session("pendulum_swingup"), 0.4)
    assert len(session.traces.vector("latent").values) == 10
    session.select("zero_action")
    session.tick()
    assert len(session.traces.vector("latent").values) == 0
    session.select("student")
    session.tick()
    assert len(session.traces.vector("latent").values) == 1


def test_the_look_back_is_bounded(make_session: MakeSession) -> None:
    session = ticks(make_session("pendulum_swingup", policy="zero_action"), 12.0)
    times = session.traces.vector("reward").time_s
    assert len(times) == round(10.0 / session.task.control_dt)
    assert times[-1] == pytest.approx(12.0)


def test_a_thinned_trace_keeps_its_points_as_time_goes_on(make_session: MakeSession) -> None:
    session = ticks(make_session("pendulum_swingup", policy="zero_action"), 8.0)
    trace = session.traces.vector("reward")
    few = trace.thinned(80)
    assert trace.thinned(len(trace.time_s)) is trace
    assert len(few.time_s) in (67, 68)  # each third of 201
    assert set(few.time_s) <= set(trace.time_s)
    session.tick()
    later = session.traces.vector("reward").thinned(80)
    assert set(few.time_s) <= set(later.time_s)  # else the line would flicker
    assert np.array_equal(later.values[: len(few.values)], few.values)


def test_reward_rate_is_per_second(make_session: MakeSession) -> None:
    session = make_session("pendulum_swingup", policy="zero_action")
    rates = []
    for _ in range(400):
        session.tick()
        rates.append(session.reward_rate)
    # upright earns at most 1 a second, hanging down nothing: the pendulum comes to rest hanging
    assert abs(rates[-1]) < 0.05
    assert max(rates) <= 1.0


def test_a_robot_with_backlash_is_drawn_without_its_rotors(make_session: Callable[..., Session]) -> None:
    plain = make_session(policy="zero_action")
    motors = replace(plain.task.robot.motors, backlash=(0.01,))
    loose = replace(plain.task, robot=replace(plain.task.robot, motors=motors))
    session = ticks(Session(loose, {"zero_action": ZeroDriver()}), 0.1)
    whole = session.env.engine.state("qpos")[0].numpy()
    assert len(whole) > plain.env.engine.model.nq
    assert np.array_equal(session.view().qpos, whole[: plain.env.engine.model.nq])
