"""The unitree driver against a robot that sends right and wrong things."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from robodistill_deploy.drivers.base import Command
from robodistill_deploy.errors import DriverError

pytest.importorskip("cyclonedds", reason="needs cyclonedds, which is installed with robodistill[dds]")

from robodistill_deploy.drivers.unitree.dds import configuration
from robodistill_deploy.drivers.unitree.go2 import JOINTS, LEGS, UnitreeDriver

POSITION = (np.arange(20) * 0.125 - 0.5).tolist()


def ticks(saw: dict[str, Any]) -> list[int]:
    return [entry[0] for entry in saw["seen"]]


@pytest.mark.slow
def test_what_the_robot_says_and_hears(network: Any) -> None:
    robot = network.script("toy_robot")
    robot.says("ready")
    saw = network.script("run_driver", readings=300, foot_force_scale=0.5).says("saw")
    robot.end()
    heard = robot.says("heard")
    assert saw["rejected"] == {}
    assert saw["received"] >= 100
    last = saw["last"]
    assert last["imu_quat_wxyz"] == [0.5, -0.5, 0.5, 0.5]
    assert last["imu_gyro"] == [1.0, 2.0, 3.0]
    assert last["joint_pos"] == POSITION[:12]
    assert last["joint_vel"] == [p + 1.0 for p in POSITION[:12]]
    assert last["joint_effort"] == [p + 2.0 for p in POSITION[:12]]
    assert last["foot_force"] == [5.0, 10.0, 15.0, 20.0]
    assert saw["remote"] == [[0.25, 0.5, -0.25, -0.5], ["A", "L2"]]
    assert heard["n"] >= 100
    assert heard["wrong"] == 0
    assert heard["head"] == [0xFE, 0xEF, 0xFF]
    assert heard["mode"] == ""  # the sport mode was released
    motors = heard["motors"]
    assert motors["mode"] == [1] * 20
    assert motors["q"][:12] == [299.0] * 12
    assert motors["q"][12:] == np.full(8, 2.146e9, np.float32).tolist()
    assert motors["dq"] == [1.0] * 12 + [16000.0] * 8
    assert motors["kp"] == [20.0] * 12 + [0.0] * 8
    assert motors["kd"] == [0.5] * 12 + [0.0] * 8
    assert motors["tau"] == [-2.0] * 12 + [0.0] * 8


@pytest.mark.slow
def test_damaged_states_are_counted_and_never_read(network: Any) -> None:
    robot = network.script("toy_robot", way="flipped")
    robot.says("ready")
    saw = network.script("run_driver", readings=300).says("saw")
    assert saw["rejected"]["check sum"] >= 100
    assert {tuple(entry[3]) for entry in saw["seen"]} == {tuple(POSITION[:12])}
    assert {tick % 3 for tick in ticks(saw)} == {0}


@pytest.mark.slow
@pytest.mark.parametrize(("way", "back"), [("", False), ("duplicated", False), ("reordered", True)])
def test_the_ticks_tell_of_order(network: Any, way: str, back: bool) -> None:
    robot = network.script("toy_robot", way=way)
    robot.says("ready")
    saw = network.script("run_driver", readings=200).says("saw")
    steps = np.diff(ticks(saw))
    assert bool((steps < 0).any()) == back
    assert saw["rejected"] == {}


@pytest.mark.slow
def test_a_slow_reader_gets_the_newest(network: Any) -> None:
    robot = network.script("toy_robot")
    robot.says("ready")
    saw = network.script("run_driver", readings=20, pause=0.05).says("saw")
    steps = np.diff(ticks(saw))
    assert np.median(steps) > 4.0  # of 25 states in 50 ms, on an idle machine, one is read
    assert saw["received"] <= 25


@pytest.mark.slow
def test_the_robot_may_start_later(network: Any) -> None:
    driver = network.script("run_driver", readings=20, timeout=20.0)
    time.sleep(1.5)
    network.script("toy_robot").says("ready")
    assert driver.says("open") > 1.0
    assert len(driver.says("saw")["seen"]) == 20


@pytest.mark.slow
def test_a_robot_that_dies_and_comes_back(network: Any) -> None:
    """Between its lives the last reading stays the last, and its stamp grows old."""
    first = network.script("toy_robot")
    first.says("ready")
    driver = network.script("run_driver", readings=50, pause=0.01, until_back=True)
    driver.says("open")
    time.sleep(0.5)
    first.kill()
    time.sleep(0.5)
    network.script("toy_robot").says("ready")
    saw = driver.says("saw")
    ages = np.array([now - stamp for _, stamp, now, _ in saw["seen"]])
    assert ages.max() > 0.3
    assert np.median(ages[-50:]) < 0.1
    assert (np.diff(ticks(saw)) < 0).sum() == 1


@pytest.mark.slow
def test_no_robot_is_an_error_that_says_where(network: Any) -> None:
    driver = network.script("run_driver", timeout=0.5)
    error = driver.says("error")
    assert f"no rt/lowstate on interface lo, domain {network.domain}" in error
    assert driver.ended() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("stubborn", "stays in mode 'normal'"),
        ("silent", "motion_switcher service does not answer"),
        ("damaged", "is damaged"),
    ],
)
def test_a_robot_that_cannot_be_had_is_an_error(network: Any, way: str, says: str) -> None:
    robot = network.script("toy_robot", way=way)
    robot.says("ready")
    assert says in network.script("run_driver", timeout=5.0).says("error")
    robot.end()
    assert robot.says("heard")["n"] == 0


@pytest.mark.slow
def test_a_robot_without_the_service_can_be_driven_on_request(network: Any) -> None:
    network.script("toy_robot", way="silent").says("ready")
    assert len(network.script("run_driver", readings=5, release_sport_mode=False).says("saw")["seen"]) == 5


GARBLED_CALL = """
import sys, time
from robodistill_deploy.drivers.unitree import api_types as api
from robodistill_deploy.drivers.unitree.dds import Participant, configuration
participant = Participant(int(sys.argv[1]), configuration("lo"))
writer = participant.writer("rt/api/motion_switcher/request", api.Request_)
header = api.RequestHeader_(api.RequestIdentity_(1, 1001), api.RequestLease_(0), api.RequestPolicy_(0, False))
call = api.Request_(header, "text", [])
wire = call.serialize().replace(b"text", b"\\xff\\xfe\\xff\\xfe")
assert wire != call.serialize()
call.serialize = lambda **_: wire
while not writer.get_matched_subscriptions():
    time.sleep(0.01)
writer.write(call)
time.sleep(0.3)
print('{"sent": true}', flush=True)
"""


@pytest.mark.slow
def test_a_call_that_is_no_text_does_not_stop_the_robot(network: Any) -> None:
    robot = network.script("toy_robot")
    robot.says("ready")
    network.start("-c", GARBLED_CALL, str(network.domain)).says("sent")
    assert len(network.script("run_driver", readings=5).says("saw")["seen"]) == 5


@pytest.mark.slow
def test_a_configuration_that_is_none_is_an_error(network: Any) -> None:
    error = network.script("run_driver", config="<CycloneDDS><Nothing/></CycloneDDS>").says("error")
    assert f"DDS domain {network.domain} cannot be joined" in error


def test_an_interface_that_is_none_lists_the_others() -> None:
    with pytest.raises(DriverError, match=r"unknown network interface 'eht0'.*legal: .*lo"):
        UnitreeDriver(interface="eht0").open()


def test_a_driver_that_is_not_open_says_so() -> None:
    zero = np.zeros(12)
    driver = UnitreeDriver()
    driver.close()
    with pytest.raises(DriverError, match="open"):
        driver.read()
    with pytest.raises(DriverError, match="open"):
        driver.write(Command(zero, zero, zero, zero, zero))


def test_the_loopback_configuration_stays_on_this_machine() -> None:
    local, wired = (ET.fromstring(configuration(name)) for name in ("lo", 'en<"&0'))
    adapter = local.find("Domain/General/Interfaces/NetworkInterface")
    assert adapter is not None
    assert adapter.attrib == {"name": "lo", "multicast": "false"}
    assert local.findtext("Domain/General/AllowMulticast") == "false"
    peer = local.find("Domain/Discovery/Peers/Peer")
    assert peer is not None
    assert peer.attrib == {"Address": "127.0.0.1"}
    adapter = wired.find("Domain/General/Interfaces/NetworkInterface")
    assert adapter is not None
    assert adapter.attrib == {"name": 'en<"&0'}
    assert wired.find("Domain/Discovery/Peers") is None


def test_joints_and_feet_are_named_in_the_order_of_the_slots() -> None:
    assert JOINTS[:4] == ("FR_hip_joint", "FR_thigh_joint", "FR_calf_joint", "FL_hip_joint")
    assert len(JOINTS) == 12
    assert UnitreeDriver.signals["foot_force"] == LEGS == ("FR", "FL", "RR", "RL")
