"""The vendor's own SDK against this project's robot and driver: it checks every check sum it receives.

It joins domain 0 only; the port base keeps each test apart from everything else in that domain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cyclonedds", reason="needs cyclonedds, which is installed with robodistill[dds]")
pytest.importorskip("unitree_interface", reason="needs far-unitree-sdk, which has wheels for Python 3.11 on x86-64")

from robodistill_deploy.drivers.unitree.dds import configuration
from robodistill_deploy.drivers.unitree.go2 import JOINTS

pytestmark = pytest.mark.slow


def options(network: Any) -> dict[str, Any]:
    return {"domain": 0, "config": configuration("lo", network.port_base)}


def test_the_sdk_reads_our_states(network: Any) -> None:
    network.script("toy_robot", **options(network)).says("ready")
    state = network.script("vendor", port_base=network.port_base).says("state")
    assert state["q"] == [slot * 0.125 - 0.5 for slot in range(12)]
    assert state["dq"] == [slot * 0.125 + 0.5 for slot in range(12)]
    assert state["quat"] == [0.5, -0.5, 0.5, 0.5]
    assert state["gyro"] == [1.0, 2.0, 3.0]


def test_the_sdk_refuses_states_with_a_wrong_sum(network: Any) -> None:
    """What the test above would not notice if the SDK did not look at the sum."""
    robot = network.script("toy_robot", way="damaged", **options(network))
    robot.says("ready")
    client = network.script("vendor", port_base=network.port_base)
    with pytest.raises(AssertionError):
        client.says("state", within=3.0)


def test_our_robot_finds_the_sums_of_the_sdk_right(network: Any) -> None:
    robot = network.script("toy_robot", **options(network))
    robot.says("ready")
    network.script("vendor", port_base=network.port_base).says("stood")
    robot.end()
    heard = robot.says("heard")
    assert heard["n"] > 100
    assert heard["wrong"] == 0
    assert np.allclose(heard["motors"]["kp"][:12], 60.0)


def test_our_driver_drives_a_robot_made_of_the_sdk(network: Any) -> None:
    robot = network.script("vendor", port_base=network.port_base, robot=True)
    robot.says("ready")
    saw = network.script("run_driver", readings=200, **options(network)).says("saw")
    assert saw["rejected"] == {}
    assert np.allclose(saw["last"]["joint_pos"], [0.1 * (slot + 1) for slot in range(12)])
    assert saw["last"]["imu_quat_wxyz"] == [0.5, 0.5, -0.5, 0.5]
    robot.end()
    heard = robot.says("heard")
    # a writer that closes at once may take its last words along
    assert heard["q"] in ([198.0] * 12, [199.0] * 12)
    assert heard["dq"] == [1.0] * 12
    assert heard["kp"] == [20.0] * 12
    assert heard["kd"] == [0.5] * 12
    assert heard["tau"] == [-2.0] * 12


def test_the_sdk_stands_the_simulated_robot_up(network: Any, task_file: Path) -> None:
    where = options(network)
    robot = network.start(
        "-m", "robodistill_envs.simrobot", f"task={task_file}", "link=unitree", "lying=true", "control=true",
        "speed=0.5", "watchdog=0.3",  # so that a busy machine keeps up
        "link.domain=0", f"link.config={where['config']}", "link.sport_mode=",
    )  # fmt: skip
    robot.says("ready")
    client = network.script("vendor", port_base=network.port_base)
    lying, stood = client.says("state"), client.says("stood")
    assert client.ended() == 0
    goal = [-0.1, 0.8, -1.5, 0.1, 0.8, -1.5, -0.1, 1.0, -1.5, 0.1, 1.0, -1.5]
    assert np.abs(np.subtract(lying["q"], goal)).max() > 0.5
    assert np.abs(np.subtract(stood["q"], goal)).max() < 0.12
    assert abs(stood["rpy"][0]) < 0.1
    assert abs(stood["rpy"][1]) < 0.1
    robot.end()
    report = robot.says("excursions")
    assert report["rejected"] == {}
    assert sorted(report["joints"]) == sorted(JOINTS)
    assert report["commands"] > 50
