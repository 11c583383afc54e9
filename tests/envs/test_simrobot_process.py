"""The simulated robot as a process: what it says, what becomes of it without its client, and lockstep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodistill_deploy.codec import to_plain
from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.drivers.sim import SimDriver
from robodistill_deploy.drivers.udp import UdpDriver
from robodistill_deploy.errors import DriverError
from robodistill_envs.config import TaskConfig
from robodistill_envs.simrobot.__main__ import load_task as load_file
from robodistill_envs.simrobot.options import Robot
from robodistill_envs.simrobot.robot import SimRobot

pytestmark = pytest.mark.slow
LoadTask = Callable[..., TaskConfig]
Array = NDArray[np.float64]

CLIENT = """
import sys, time
import numpy as np
from robodistill_deploy.drivers.base import Command
from robodistill_deploy.drivers.udp import UdpDriver

driver = UdpDriver(port=int(sys.argv[1]))
driver.open()
while (reading := driver.read()) is None:
    time.sleep(0.002)
n = len(driver.joints)
hold = Command(reading.signals["joint_pos"], np.zeros(n), np.full(n, 35.0), np.full(n, 0.8), np.zeros(n))
while True:
    driver.write(hold)
    time.sleep(0.005)
"""


@pytest.fixture(scope="module")
def go2_file(load_task: LoadTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("task") / "go2.json"
    path.write_text(json.dumps({"task": to_plain(load_task("go2_flat"))}))
    return path


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "robodistill_envs.simrobot", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def robot(go2_file: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A robot in real time, and the port it listens on."""
    process = start(f"task={go2_file}", "link.port=0")
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["ready"]["client"]["port"]
    yield process, port
    process.kill()
    process.communicate()


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])["excursions"]


def test_a_task_survives_its_file(load_task: LoadTask, go2_file: Path) -> None:
    assert load_file(go2_file) == load_task("go2_flat")


def test_killing_its_client_leaves_a_damped_robot_that_another_may_take_over(
    robot: tuple[subprocess.Popen[str], int],
) -> None:
    process, port = robot
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(port)])
    other = UdpDriver(port=port, timeout=0.3)
    time.sleep(2.0)
    with pytest.raises(DriverError, match="free of another client"):
        other.open()
    client.kill()
    client.wait()
    time.sleep(0.7)
    other.open()
    time.sleep(1.5)
    reading = fresh(other)
    assert np.abs(reading.signals["joint_vel"]).max() < 0.2, "it lies still"
    assert np.abs(reading.signals["joint_torque"]).max() < 0.5
    report = end(process)
    assert report["commands"] > 50
    assert report["rejected"]["stranger"] >= 1
    assert (report["damped"], report["watchdog_trips"], report["fell"]) == (True, 1, False)
    assert report["min_height_m"] < 0.12


def fresh(driver: UdpDriver) -> Reading:
    """Read often enough that nothing queues up."""
    reading, end = None, time.monotonic() + 0.2
    while time.monotonic() < end or reading is None:
        reading = driver.read()
        time.sleep(0.005)
    return reading


def test_real_time_is_real(robot: tuple[subprocess.Popen[str], int]) -> None:
    process, port = robot
    driver = UdpDriver(port=port)
    driver.open()
    first = fresh(driver)
    time.sleep(2.0)
    stale = driver.read()
    last = fresh(driver)
    driver.close()
    assert stale is first, "what queued up meanwhile is of unknown age: the old reading, with its old stamp"
    assert driver.rejected["stalled"] > 20
    wall, simulated = last.stamp - first.stamp, (last.tick - first.tick) * 0.002
    late = end(process)["late_s"]
    assert simulated + late == pytest.approx(wall, abs=0.15)
    assert simulated > 1.0


def test_it_refuses_what_it_does_not_know(go2_file: Path, tmp_path: Path) -> None:
    (tmp_path / "not_a_task.yaml").write_text("name: x\n")
    for words, message in (
        (["link.port=0"], "add task=<file>"),
        ([f"task={go2_file}", "paylod=3"], "did you mean 'payload'"),
        ([f"task={go2_file}", "link=upd"], "did you mean 'udp'"),
        ([f"task={go2_file}", "link.prot=1"], "did you mean 'port'"),
        (["task=go2_flat"], "robodistill sim task=<name>"),
        ([f"task={tmp_path / 'not_a_task.yaml'}"], "missing field"),
        ([f"task={go2_file}", "lockstep=true", "command_dt=0.003", "link.port=0"], "no multiple of timestep"),
    ):
        process = start(*words)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2, words
        assert message in errors
        assert len(errors.splitlines()) == 1


def wave(driver: SimDriver | SimRobot, ticks: int, run: Callable[[Command], Any]) -> list[bytes]:
    """Move every joint sinusoidally around where it is; return all readings as bytes."""
    reading = driver.read()
    assert reading is not None
    start, n = reading.signals["joint_pos"], len(driver.joints)
    seen = []
    for i in range(ticks):
        target = start + 0.1 * np.sin(0.2 * i + np.arange(n))
        run(Command(target, np.zeros(n), np.full(n, 35.0), np.full(n, 0.8), np.zeros(n)))
        reading = driver.read()
        assert reading is not None
        seen.append(b"".join(value.tobytes() for value in reading.signals.values()))
    return seen


def test_lockstep_repeats_itself_and_is_the_machine_itself(go2_file: Path, load_task: LoadTask) -> None:
    driver = SimDriver(task=str(go2_file), lockstep=True, noise=1.0, seed=7)
    driver.open()
    first = wave(driver, 60, driver.write)
    report = driver.restart()
    assert report["simulated_s"] == pytest.approx(60 * 0.02)
    second = wave(driver, 60, driver.write)
    driver.restart(seed=8)
    other = wave(driver, 60, driver.write)
    driver.close()
    assert driver.excursions["options"]["seed"] == 8
    assert first == second
    assert first != other

    machine = SimRobot(load_task("go2_flat"), Robot(noise=1.0, seed=7))

    def run(command: Command) -> None:
        machine.take(command)
        for _ in range(10):
            machine.step()

    # nothing is lost, rounded or reordered on the way through the link
    assert wave(machine, 60, run) == first


def test_a_robot_does_not_outlive_who_started_it(go2_file: Path) -> None:
    code = (
        "import sys, time; from robodistill_deploy.drivers.sim import SimDriver\n"
        "driver = SimDriver(task=sys.argv[1]); driver.open(); print(driver._child._process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(go2_file)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 60.0
    while _is_alive(child):
        assert time.monotonic() < deadline, "the robot goes on without anybody"
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_driver_composes_a_task_by_its_name_and_says_what_is_wrong() -> None:
    driver = SimDriver(task="pendulum_swingup", lockstep=True, scatter=1.0)
    assert driver.joints == ("hinge",)
    torque = np.array([0.5])
    zero = np.zeros(1)
    driver.write(Command(zero, zero, zero, zero, torque))
    reading = driver.read()
    assert reading is not None
    assert reading.signals["joint_torque"] == pytest.approx(0.5)
    driver.close()
    for wrong, message in ((SimDriver(task="go2_flta"), "go2_flat"), (SimDriver(task="go2_flat", noise="x"), "noise")):
        with pytest.raises(DriverError, match=message):
            wrong.open()
    with pytest.raises(DriverError, match=r"unknown link 'upd'.*udp"):
        SimDriver(task="go2_flat", link="upd")
    with pytest.raises(DriverError, match="call open"):
        SimDriver(task="go2_flat").write(Command(*(np.zeros(1) for _ in range(5))))


@pytest.mark.parametrize("number", ["1e-05", "1E5", "-2.5e-3", "7", ".5"])
def test_numbers_in_yaml_are_those_of_json(number: str, load_task: LoadTask, tmp_path: Path) -> None:
    plain = to_plain(load_task("go2_flat"))
    plain["physics"]["tolerance"] = "NUMBER"
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"task": plain}).replace('"NUMBER"', number))
    assert load_file(path).physics.tolerance == float(number)


def test_a_robot_with_a_joint_that_nothing_drives_is_driven() -> None:
    driver = SimDriver(task="cartpole_balance", lockstep=True)
    driver.open()
    assert driver.joints == ("slider",)
    assert driver.signals["joint_pos"] == ("slider", "hinge")
    one = np.ones(1)
    for _ in range(5):
        driver.write(Command(0 * one, 0 * one, 0 * one, 0 * one, one))
        driver.read()
    reading = driver.read()
    assert reading is not None
    assert reading.signals["joint_pos"][0] > 0.0
    driver.close()
