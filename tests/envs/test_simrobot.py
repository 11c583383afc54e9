"""The simulated machine: its PD law at every physics step, its watchdog, and that each option does what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodistill_deploy.drivers.base import Command
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.config import TaskConfig
from robodistill_envs.simrobot.options import Process, Robot, parse
from robodistill_envs.simrobot.robot import SimRobot, robot_order

LoadTask = Callable[..., TaskConfig]
Array = NDArray[np.float64]
INERTIA, DAMPING = 0.088, 0.01
"""[kg m^2], [N m s/rad] of the pendulum's hinge"""


def servo(position: float, kp: float = 0.0, kd: float = 0.0, velocity: float = 0.0, effort: float = 0.0) -> Command:
    return Command(*(np.array([v]) for v in (position, velocity, kp, kd, effort)))


def weightless(task: TaskConfig, **options: Any) -> SimRobot:
    robot = SimRobot(task, Robot(**options))
    robot.model.opt.gravity[:] = 0.0
    return robot


def stand(robot: SimRobot, task: TaskConfig) -> Command:
    part = task.robot.actions[0]
    place = [part.names.index(name) for name in robot.joints]
    n, zero = len(place), np.zeros(len(place))
    return Command(np.array(part.default)[place], zero, np.full(n, part.kp[0]), np.full(n, part.kd[0]), zero)


def keep(robot: SimRobot, command: Command, seconds: float, every: int = 10) -> None:
    for i in range(round(seconds / 0.002)):
        if i % every == 0:
            robot.take(command)
        robot.step()


def test_one_command_is_a_pd_law_at_every_physics_step(load_task: LoadTask) -> None:
    robot = weightless(load_task("pendulum_swingup"), watchdog=1.0)
    kp, kd, target, feed, effort = 2.0, 0.05, 0.2, 0.3, 0.04
    robot.take(servo(target, kp, kd, feed, effort))
    q = v = frozen_q = frozen_v = 0.0
    first = kp * target + kd * feed + effort
    for _ in range(200):
        robot.step()
        torque = kp * (target - q) + kd * (feed - v) + effort
        assert robot.torque[0] == pytest.approx(torque, abs=1e-9)
        v += 0.002 * (torque - DAMPING * v) / (INERTIA + 0.002 * DAMPING)
        q += 0.002 * v
        frozen_v += 0.002 * (first - DAMPING * frozen_v) / (INERTIA + 0.002 * DAMPING)
        frozen_q += 0.002 * frozen_v
    assert robot.data.qpos[0] == pytest.approx(q, abs=1e-9)
    assert abs(frozen_q - q) > 0.1, "a torque that is computed once per command would go elsewhere"


def test_the_torque_is_clipped_to_the_effort_limit(load_task: LoadTask) -> None:
    robot = weightless(load_task("pendulum_swingup"))
    robot.take(servo(1.0, kp=1000.0))
    robot.step()
    assert robot.torque[0] == 1.0
    assert robot.data.qvel[0] == pytest.approx(0.002 * 1.0 / (INERTIA + 0.002 * DAMPING), rel=1e-9)
    assert robot.report()["torque_peak_share"] == 1.0


def test_the_watchdog_damps_after_its_time_and_lets_go_on_a_command(load_task: LoadTask) -> None:
    robot = weightless(load_task("pendulum_swingup"), watchdog=0.1, watchdog_kd=0.5)
    command = servo(0.3, kp=2.0)
    robot.take(command)
    for _ in range(50):
        assert not robot.damped
        robot.step()
    speed = robot.data.qvel[0]
    robot.step()
    assert robot.damped
    assert robot.torque[0] == pytest.approx(-0.5 * speed)
    assert speed > 0.1
    for _ in range(1500):
        robot.step()
    assert abs(robot.data.qvel[0]) < 0.01 * speed
    robot.take(command)
    robot.step()
    assert not robot.damped
    assert robot.report()["watchdog_trips"] == 1
    for _ in range(49):
        robot.take(command)
        robot.step()
    assert robot.report()["watchdog_trips"] == 1, "commands keep it away"


def test_before_the_first_command_it_holds_its_pose_and_no_watchdog_acts(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    robot = SimRobot(task, Robot())
    for _ in range(250):
        robot.step()
    report = robot.report()
    assert report["watchdog_trips"] == 0
    assert report["min_height_m"] > 0.25


def test_it_lies_when_told_to_and_can_stand_up(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    robot = SimRobot(task, Robot(lying=True))
    assert robot.data.qpos[2] < 0.12
    robot.step()
    assert robot.report()["was_up"] is False
    goal = stand(robot, task)
    measured = robot.read().signals["joint_pos"]
    for i in range(100):  # a ramp of 2 s, as a runner makes it
        share = (i + 1) / 100
        keep(robot, dataclasses.replace(goal, position=measured + share * (goal.position - measured)), 0.02)
    keep(robot, goal, 0.5)
    report = robot.report()
    assert report["was_up"] is True
    assert report["fell"] is False
    assert robot.data.qpos[2] > 0.25


def test_without_commands_a_standing_robot_sinks_and_that_is_no_fall(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    robot = SimRobot(task, Robot())
    keep(robot, stand(robot, task), 0.2)
    for _ in range(1000):
        robot.step()
    report = robot.report()
    assert report["damped"] is True
    assert report["min_height_m"] < 0.12
    assert report["fell"] is False
    assert np.abs(robot.data.qvel).max() < 0.1


def test_a_robot_pushed_over_has_fallen(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    reports = {}
    for push in (0.2, 6.0):
        robot = SimRobot(task, Robot(push=push, push_every=0.5))
        keep(robot, stand(robot, task), 1.4)
        reports[push] = robot.report()
    assert reports[0.2]["fell"] is False
    assert reports[6.0]["fell"] is True
    assert 0.5 < reports[6.0]["fell_at_s"] < 1.4
    assert reports[6.0]["max_tilt_rad"] > reports[0.2]["max_tilt_rad"]


def test_signals_come_in_the_robots_order(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    policy_order = task.robot.actions[0].names
    assert robot_order(task)[:3] == ("FR_hip_joint", "FR_thigh_joint", "FR_calf_joint")
    assert robot_order(task) != policy_order
    robot = SimRobot(task, Robot())
    by_name = dict(zip(robot.elements["joint_pos"], robot.read().signals["joint_pos"], strict=True))
    for name in policy_order:
        assert by_name[name] == pytest.approx(robot.data.joint(name).qpos[0])
    bad = dataclasses.replace(task.robot, sdk_motor_order=("FL_hip", "FL_thigh"))
    with pytest.raises(RobodistillError, match="sdk_motor_order"):
        robot_order(dataclasses.replace(task, robot=bad))


def test_it_delivers_what_the_interface_promises(load_task: LoadTask) -> None:
    for name in ("go2_flat", "pendulum_swingup", "cartpole_balance"):
        task = load_task(name)
        robot = SimRobot(task, Robot())
        signals = robot.read().signals
        assert {sensor.name for sensor in task.robot.sensors} <= set(signals)
        assert {k: len(v) for k, v in signals.items()} == {k: len(v) for k, v in robot.elements.items()}
    assert robot.elements["joint_torque"] == ("slider",)


def test_feet_carry_the_weight_and_a_payload_adds_to_it(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    weight = {}
    for payload in (0.0, 3.0):
        robot = SimRobot(task, Robot(payload=payload))
        keep(robot, stand(robot, task), 1.0)
        weight[payload] = robot.read().signals["foot_force"].sum()
    assert weight[3.0] - weight[0.0] == pytest.approx(3.0 * 9.81, rel=0.03)


def test_friction_decides_whether_it_slides(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    speed = {}
    for friction in (0.05, 1.0):
        robot = SimRobot(task, Robot(friction=friction))
        robot.model.opt.gravity[0] = 2.0  # a slope of 12 degrees
        keep(robot, stand(robot, task), 0.5)
        speed[friction] = float(robot.data.qvel[0])
    assert speed[0.05] > 0.5
    assert speed[1.0] < 0.2
    with pytest.raises(RobodistillError, match="no floor"):
        SimRobot(load_task("pendulum_swingup"), Robot(friction=0.5))


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_a_delay_shifts_when_a_command_acts(load_task: LoadTask, steps: int) -> None:
    robot = weightless(load_task("pendulum_swingup"), delay=steps * 0.002)
    robot.take(servo(0.2, kp=2.0))
    torques = []
    for _ in range(steps + 2):
        robot.step()
        torques.append(robot.torque[0])
    assert all(torque == 0.0 for torque in torques[:steps])
    assert torques[steps] == pytest.approx(0.4)


def test_a_signal_delay_shows_the_past(load_task: LoadTask) -> None:
    task = load_task("pendulum_swingup")
    now, late = (weightless(task, signal_delay=delay) for delay in (0.0, 0.02))
    seen: dict[str, list[float]] = {"now": [], "late": []}
    for _ in range(60):
        for name, robot in (("now", now), ("late", late)):
            robot.take(servo(0.2, kp=2.0))
            robot.step()
            seen[name].append(float(robot.read().signals["joint_pos"][0]))
    assert seen["late"][10:] == seen["now"][:-10]
    assert seen["late"] != seen["now"]


def test_noise_has_the_tasks_deviation_and_its_seed(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    robot = SimRobot(task, Robot(noise=2.0, seed=4))
    again, other = SimRobot(task, Robot(noise=2.0, seed=4)), SimRobot(task, Robot(noise=2.0, seed=5))
    read = [robot.read().signals for _ in range(800)]
    for name, sigma in (("imu_gyro", 0.1), ("joint_pos", 0.01), ("joint_vel", 0.5)):
        assert np.std([r[name] for r in read], axis=0) == pytest.approx(2.0 * sigma, rel=0.15), name
    quat = np.array([r["imu_quat_wxyz"] for r in read])
    assert np.linalg.norm(quat, axis=1) == pytest.approx(1.0)
    # a small rotation is twice the vector part
    assert 2.0 * np.std(quat[:, 1:], axis=0) == pytest.approx(0.02, rel=0.15)
    np.testing.assert_array_equal(read[0]["joint_vel"], again.read().signals["joint_vel"])
    assert (read[0]["joint_vel"] != other.read().signals["joint_vel"]).all()
    clean = SimRobot(task, Robot()).read().signals
    assert np.allclose(clean["joint_pos"], np.mean([r["joint_pos"] for r in read], axis=0), atol=0.005)


def test_a_bias_is_in_the_reading_and_in_the_servo(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    robot = SimRobot(task, Robot(bias=1.0, seed=3))
    true = np.array([robot.data.joint(name).qpos[0] for name in robot.joints])
    bias = robot.read().signals["joint_pos"] - true
    assert 0.002 < np.abs(bias).max() <= 0.02
    command = dataclasses.replace(stand(robot, task), position=robot.read().signals["joint_pos"].copy())
    robot.data.qvel[:] = 0.0
    robot.take(command)
    robot.step()
    assert np.abs(robot.torque).max() < 1e-9, "it is where it believes it should be"


def test_a_gain_scales_the_torque(load_task: LoadTask) -> None:
    task = load_task("pendulum_swingup")
    for gain in (0.5, 1.0, 1.5):
        robot = weightless(task, gain=gain)
        robot.take(servo(0.2, kp=2.0, effort=0.1))
        robot.step()
        assert robot.torque[0] == pytest.approx(gain * 0.4 + 0.1)


def test_scatter_stays_within_the_tasks_range(load_task: LoadTask) -> None:
    task = load_task("go2_flat")
    still, moved = SimRobot(task, Robot()), SimRobot(task, Robot(scatter=1.0, seed=2))
    away = np.abs(moved.read().signals["joint_pos"] - still.read().signals["joint_pos"])
    assert 0.05 < away.max() <= 0.1


def test_options_are_strict() -> None:
    robot, process, link = parse({"payload": "2", "lockstep": "true", "link.port": "0", "noise": "0.5"})
    assert (robot.payload, robot.noise, process.lockstep, link) == (2.0, 0.5, True, {"port": "0"})
    for words, message in (
        ({"paylod": "2"}, "did you mean 'payload'"),
        ({"payload": "heavy"}, "payload: expected float, got 'heavy'"),
        ({"lockstep": "1"}, "lockstep: write true or false"),
        ({"timestep": "0.005"}, "at most 0.002"),
        ({"gain": "-1"}, "gain=-1.0: must be 0 or more"),
        ({"delay": "nan"}, "delay=nan: must be 0 or more"),
        ({"speed": "0"}, "speed=0.0: must be above 0"),
    ):
        with pytest.raises(RobodistillError, match=message):
            parse(words)
    assert Process().link == "udp"
