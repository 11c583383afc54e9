"""The scripts that walk over DDS and break the link, in short: they find what is there, and what is not right."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from robodistill.export import Origin, export_policy
from robodistill_deploy.runtime import load_policy

pytest.importorskip("cyclonedds", reason="needs cyclonedds, which is installed with robodistill[dds]")
pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Maker = Callable[[str, str], Any]


def still(student: Any, path: Path) -> Path:
    """Export a student that holds the default pose, which stands without having been trained."""
    policy = copy.deepcopy(student.policy)
    last = [module for module in policy.actor if isinstance(module, torch.nn.Linear)][-1]
    last.weight.data.zero_()
    last.bias.data.zero_()
    export_policy(policy, student.task, student.spec, Origin("dagger", 0, {}), path)
    return path


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("walk_over_dds")


def test_rewards_on_the_robots_side_are_those_of_training(scripts: Any, student: Maker, tmp_path: Path) -> None:
    made = student("go2_flat", "mlp")
    policy = load_policy(still(made, tmp_path / "policy.onnx"))
    done, track, summary, _ = scripts.walk(policy, made.task, 4.0, 0, 71, lockstep=True)
    assert summary.trip is None
    robot = sum(scripts.return_on_robot(done, track, made.task).values())
    training = sum(scripts.return_in_training(policy, made.task, done.commands, made.task.physics.timestep).values())
    # training begins with a drop from the reset's height; all rewards together can be 3.5 a second
    near = pytest.approx(training, abs=0.05 * 3.5 * 4.0)
    assert robot == near
    wrong = dataclasses.replace(done, commands=[0.0 * command for command in done.commands])
    assert sum(scripts.return_on_robot(wrong, track, made.task).values()) != near, "standing is no error then"


@pytest.mark.long
def test_two_faults_of_each_kind(student: Maker, tmp_path: Path) -> None:
    path = still(student("go2_flat", "mlp"), tmp_path / "policy.onnx")
    words = [str(path), "--trials", "2", "--speed", "0.25", "--out", str(tmp_path / "out"), "--domain", "83"]
    ended = subprocess.run(
        [sys.executable, str(BENCHMARKS / "faults.py"), *words], capture_output=True, text=True, timeout=1800,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    trials = json.loads((tmp_path / "out/faults.json").read_text())["trials"]
    assert len(trials) == 16
    assert {trial["outcome"] for trial in trials} == {"recovered", "damped"}
    assert all(trial["touched"] for trial in trials if trial["kind"] not in ("kill", "late"))


def test_a_command_beyond_its_limits_is_found(scripts: Any, student: Maker, tmp_path: Path) -> None:
    fault_trial = importlib.import_module("fault_trial")
    made = student("go2_flat", "mlp")
    policy = load_policy(still(made, tmp_path / "policy.onnx"))
    part = policy.spec.interface.actions[0]
    rows = {name: np.zeros((3, 12)) for name in ("position", "velocity", "kp", "kd", "effort")}
    rows |= {"damped": np.zeros(3)}
    rows["kp"][:], rows["kd"][:] = part.kp[0], part.kd[0]
    order = [part.names.index(name) for name in fault_trial.robot_order(made.task)]
    rows["position"][:] = np.array(part.default)[order]
    assert fault_trial._outside(policy, made.task, rows) == []
    for name, value in (("position", 9.0), ("kp", 40.0), ("kd", 50.0), ("velocity", 0.1), ("effort", np.nan)):
        bad = {key: column.copy() for key, column in rows.items()}
        bad[name][1, 4] = value
        assert fault_trial._outside(policy, made.task, bad) != [], name
