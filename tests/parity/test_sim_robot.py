"""The exported file on the simulated robot: over the link as on the machine itself, and under the real runtime."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from robodistill.export import Origin, export_policy
from robodistill.verbs.check import run_words
from robodistill_deploy.codec import to_plain
from robodistill_deploy.drivers.base import Command
from robodistill_deploy.drivers.sim import SimDriver
from robodistill_deploy.policy_file import verify
from robodistill_deploy.runtime import load_policy
from robodistill_deploy.zoo import locate
from robodistill_envs.simrobot.options import Robot
from robodistill_envs.simrobot.robot import SimRobot

pytestmark = pytest.mark.slow
Maker = Callable[[str, str], Any]
Array = NDArray[np.float64]


def drive(path: Path, robot: SimDriver | SimRobot, run: Callable[[Command], Any], ticks: int) -> list[bytes]:
    """Close the loop with the file for ``ticks``; return every reading as bytes."""
    policy = load_policy(path)
    policy.bind_joints(robot.joints)
    part = policy.actions[0]
    kp, kd, zero = np.array(part.kp), np.array(part.kd), np.zeros(part.dim)
    seen = []
    for _ in range(ticks):
        reading = robot.read()
        assert reading is not None
        signals: Mapping[str, Array] = {**reading.signals, "command": np.array([0.5, 0.0, 0.2])}
        seen.append(b"".join(value.tobytes() for value in reading.signals.values()))
        target = policy.tick(signals)[part.name].astype(np.float64)
        run(Command(target, zero, kp, kd, zero))
    return seen


def test_a_student_over_udp_sees_and_does_what_it_does_on_the_machine_itself(exported: Maker, tmp_path: Path) -> None:
    made = exported("go2_flat", "gru")
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"task": to_plain(made.task)}))
    driver = SimDriver(task=str(task), lockstep=True)
    assert driver.joints != made.spec.actions[0].names, "the orders differ, or this shows nothing about them"
    over_udp = drive(made.path, driver, driver.write, 80)
    driver.close()
    machine = SimRobot(made.task, Robot())

    def run(command: Command) -> None:
        machine.take(command)
        for _ in range(10):
            machine.step()

    assert drive(made.path, machine, run, 80) == over_udp
    assert len(set(over_udp)) == 80


def still(student: Any, path: Path, wild: bool = False) -> Path:
    """Export a student that holds the default pose, or one that wants far too much."""
    policy = copy.deepcopy(student.policy)
    last = [module for module in policy.actor if isinstance(module, torch.nn.Linear)][-1]
    last.weight.data.zero_()
    last.bias.data.fill_(8.0 if wild else 0.0)  # 2 rad away from the default pose, at every joint
    export_policy(policy, student.task, student.spec, Origin("dagger", 0, {}), path)
    return path


def test_check_finds_the_margin_of_a_robot_that_just_stands(student: Maker, tmp_path: Path) -> None:
    path = still(student("go2_flat", "mlp"), tmp_path / "policy.onnx")
    words = ["driver=sim", "only=payload", "payload=1,60", "seconds=1", "bisect=0", "task=go2_flat", "tracking=100"]
    assert run_words([str(path), *words]) == 0
    data = json.loads((tmp_path / "check/margins.json").read_text())
    assert data["nominal"]["stood"] is True
    assert data["digest"] == verify(path)
    assert data["nominal"]["excursions"]["was_up"] is True, "it began lying"
    payload = data["margins"]["payload"]
    assert (payload["survives"], payload["fails"]) == (1.0, 60.0)
    assert payload["why"] != ""
    assert (tmp_path / "check/margins.png").is_file()


def test_check_takes_a_policy_of_the_zoo_and_writes_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    beside = sorted(locate("zoo:unitree_go2_flat").parent.iterdir())
    words = ["driver=sim", "only=payload", "payload=1", "seconds=2", "bisect=0", "tracking=3"]
    assert run_words(["zoo:unitree_go2_flat", *words]) == 0
    assert json.loads((tmp_path / "check/margins.json").read_text())["digest"] == verify(locate("zoo:unitree_go2_flat"))
    assert sorted(locate("zoo:unitree_go2_flat").parent.iterdir()) == beside


def test_check_fails_a_policy_that_stands_where_it_should_walk(student: Maker, tmp_path: Path) -> None:
    path = still(student("go2_flat", "mlp"), tmp_path / "policy.onnx")
    assert run_words([str(path), "driver=sim", "seconds=2", "task=go2_flat"]) == 1
    nominal = json.loads((tmp_path / "check/margins.json").read_text())["nominal"]
    assert nominal["why"].startswith("does not follow: RMSE of the velocity")
    assert nominal["excursions"]["driven"]["mean_command"][0] == pytest.approx(1.05, abs=0.01)
    assert abs(nominal["excursions"]["driven"]["mean_twist"][0]) < 0.1


def test_check_fails_a_policy_that_does_not_stand_at_all(student: Maker, tmp_path: Path) -> None:
    path = still(student("go2_flat", "mlp"), tmp_path / "policy.onnx", wild=True)
    assert run_words([str(path), "driver=sim", "seconds=3", "task=go2_flat", f"out={tmp_path / 'out'}"]) == 1
    data = json.loads((tmp_path / "out/margins.json").read_text())
    assert data["passed"] is False
    assert data["margins"] == {}
    assert "fell" in data["nominal"]["why"] or "safety" in data["nominal"]["why"]
