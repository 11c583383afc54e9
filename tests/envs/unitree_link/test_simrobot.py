"""The unitree driver and the simulated robot, on Unitree's topics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cyclonedds", reason="needs cyclonedds, which is installed with robodistill[dds]")

from robodistill.config import compose
from robodistill_deploy.drivers.base import Command
from robodistill_deploy.drivers.unitree.go2 import JOINTS
from robodistill_deploy.errors import RobodistillError


def test_the_slots_are_those_of_the_robots_configuration() -> None:
    order = compose(["task=go2_flat"])["task"]["robot"]["sdk_motor_order"]
    assert tuple(f"{name}_joint" for name in order) == JOINTS


def stand(network: Any, task_file: Path, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a driver saw that stood the robot up, and what the robot reports."""
    robot = network.start(
        "-m", "robodistill_envs.simrobot", f"task={task_file}", "link=unitree", "lying=true", "control=true",
        "speed=0.5", "watchdog=0.3",  # so that a busy machine keeps up
        f"link.domain={network.domain}", *words,
    )  # fmt: skip
    client = robot.says("ready")["client"]
    saw = network.script("stand_up", **client).says("saw")
    robot.end()
    return saw, robot.says("excursions")


@pytest.mark.slow
def test_the_driver_stands_the_robot_up(network: Any, task_file: Path) -> None:
    saw, report = stand(network, task_file)
    assert saw["before"] > 0.5
    assert saw["error"] < 0.12
    assert saw["tilt"] < 0.1
    assert saw["weight"] > 80.0  # [N] on four feet: 15 kg
    assert saw["rejected"] == {}
    assert report["rejected"] == {}
    assert report["commands"] > 50
    assert report["damped"]  # the driver has gone, and the robot has seen to itself


@pytest.mark.slow
def test_before_the_release_commands_do_not_count(network: Any, task_file: Path) -> None:
    robot = network.start(
        "-m", "robodistill_envs.simrobot", f"task={task_file}", "link=unitree", "lying=true", "control=true",
        "speed=0.5", "watchdog=0.3",  # so that a busy machine keeps up
        f"link.domain={network.domain}",
    )  # fmt: skip
    client = robot.says("ready")["client"]
    saw = network.script("stand_up", release_sport_mode=False, **client).says("saw")
    robot.end()
    report = robot.says("excursions")
    assert report["rejected"]["sport mode"] > 50
    assert report["commands"] == 0
    assert saw["error"] > 0.5


@pytest.mark.slow
def test_a_robot_with_other_joints_has_no_such_link(network: Any, tmp_path: Path) -> None:
    from robodistill_envs.simrobot.links import Face, open_link

    face = Face(robot=None, joints=("hinge",), signals={})  # type: ignore[arg-type]
    with pytest.raises(RobodistillError, match="FR_hip_joint"):
        open_link("unitree", face, {"domain": str(network.domain)})


def test_stop_values_and_motors_that_are_off_take_no_part() -> None:
    import numpy as np

    from robodistill_deploy.drivers.unitree.go2 import fill, low_level_command
    from robodistill_envs.simrobot.links.unitree import commanded

    slots = np.arange(12)
    record = low_level_command()
    idle = commanded(record, slots)
    assert not idle.kp.any()
    assert not idle.position.any()
    assert not idle.velocity.any()
    one = np.ones(12)
    fill(record, Command(0.5 * one, 0.25 * one, 20.0 * one, 0.5 * one, 2.0 * one))
    record["motor_cmd"]["mode"][3] = 0
    record["motor_cmd"]["q"][4] = 2.146e9
    record["motor_cmd"]["dq"][5] = 16000.0
    made = commanded(record, slots)
    assert made.kp.tolist() == [20.0] * 3 + [0.0] * 2 + [20.0] * 7
    assert made.kd.tolist() == [0.5] * 3 + [0.0, 0.5, 0.0] + [0.5] * 6
    assert made.effort.tolist() == [2.0] * 3 + [0.0] + [2.0] * 8
    assert made.position.tolist() == [0.5] * 3 + [0.0] * 2 + [0.5] * 7
    assert commanded(record, slots[::-1]).kp.tolist() == made.kp.tolist()[::-1]
