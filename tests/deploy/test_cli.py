"""``robodistill-run``: what a person sees."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from robodistill_deploy.cli import main
from robodistill_deploy.policy_spec import PolicySpec


def test_inspect_shows_what_the_data_sheet_has(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    for words in (
        "toy_task",
        "50 Hz (20 ms)",
        "hip, thigh, calf, wheel",
        "ACTION 'legs': joint_position [rad]",
        "yaw_rate",
        "last_action",
        "payload",
        "noise of imu_gyro",
        "Apache-2.0",
        "ab" * 32,
    ):
        assert words in text, words
    assert any(line.split()[:1] == ["digest"] for line in text.splitlines())  # of the file with its digits as zeros
    row = next(line for line in text.splitlines() if line.split()[:1] == ["calf"])
    assert row.split() == ["calf", "-1.5", "0.5", "-2.7", "-0.8", "22", "0.7", "23.7", "30"]
    assert max(map(len, text.splitlines())) <= 120


def test_inspect_json_is_the_spec(path: Path, spec: PolicySpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", str(path)]) == 0
    text = capsys.readouterr().out
    assert PolicySpec.from_json(text).interface == spec.interface
    assert json.loads(text)["digest"] != "0" * 64


def test_inspect_leaves_out_what_a_policy_has_not(
    stateless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(stateless)]) == 0
    text = capsys.readouterr().out
    assert "STATE" not in text
    assert "COMMANDS" not in text


def test_inspect_shows_robot_commands_and_safety(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["calf", "1", "0.02", "0.2", "0.1"] in lines  # vendor's index, armature, friction, damping
    assert ["command", "yaw_rate", "-1.2", "1.2", "0.1", "4", "m/s,", "rad/s"] in lines
    assert ["h", "hidden", "1x1", "0.5"] in lines
    assert ["max", "tilt", "1", "rad"] in lines
    assert any(line[:4] == ["resolution", "of", "joint_pos", "step"] for line in lines)


def test_diff_names_every_difference(
    write: Callable[..., Path], spec: PolicySpec, model: onnx.ModelProto, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write()
    first = first.rename(first.with_name("first.onnx"))
    legs = dataclasses.replace(spec.interface.actions[0], kp=(20.0, 21.0, 23.0))
    face = dataclasses.replace(spec.interface, actions=(legs, *spec.interface.actions[1:]))
    safety = dataclasses.replace(spec.safety, max_tilt=0.9)
    for tensor in model.graph.initializer:
        if tensor.name == "b":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.25), "b"))
    second = write(spec=dataclasses.replace(spec, interface=face, safety=safety), model=model)
    assert main(["inspect", "--diff", str(first), str(second)]) == 0
    _, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["interface.actions.legs.kp.calf", "22.0", "23.0"],
        ["safety.max_tilt", "1.0", "0.9"],
        ["weights:", "b", "1x4", "differs", "by", "up", "to", "0.25"],
    ]
    assert main(["inspect", "--diff", str(first), str(first)]) == 0
    assert capsys.readouterr().out.startswith("no difference")


def test_diff_takes_a_policy_of_the_zoo(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--diff", "zoo:unitree_go2_flat", str(path)]) == 0
    said = capsys.readouterr().out
    assert "weights: " in said
    parts = [re.split(r"[.:\[]", line.split()[0])[0] for line in said.splitlines()[1:]]
    assert set(parts) > {"interface", "safety", "weights", "envelope", "provenance"}
    late = [part in ("envelope", "provenance") for part in parts]
    assert late == sorted(late), "what a robot would notice comes first"


def test_diff_tells_items_apart_by_name(
    write: Callable[..., Path], stateless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "--diff", str(write()), str(stateless)]) == 0
    text = capsys.readouterr().out
    for words in ("interface.signals.joint_pos", "states.last_action", "commands.command", "graph: operators"):
        assert words in text, words
    assert "interface.signals.imu_gyro" not in text  # the same in both
    assert "self_test.sequence" in text


def test_selftest_runs_on_numpy_too(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--backend", "numpy", str(path)]) == 0
    assert "numpy" in capsys.readouterr().out


def test_selftest_says_how_close(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", str(path)]) == 0
    assert capsys.readouterr().out.startswith("ok: 28 ticks as recorded, largest difference ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inspekt", "x"], "unknown verb 'inspekt': did you mean 'inspect'"),
        (["inspect"], "the following arguments are required: policy"),
        (["inspect", "a.onnx", "b.onnx"], "2 files; name one, or two with --diff"),
        (["inspect", "--diff", "a.onnx"], "1 files; name one, or two with --diff"),
        (["selftest", "--backend", "torch", "a.onnx"], "no such file 'a.onnx'"),
        (["inspect", "--jason", "x"], "--jason"),
        (["inspect", "nowhere.onnx"], "no such file 'nowhere.onnx'"),
        (["inspect", "zoo"], "are written zoo:NAME: unitree_go2_flat"),
        (["inspect", "--json", "--diff", "a.onnx", "b.onnx"], "--diff prints a table, not JSON"),
        (["selftest", "."], "cannot be read"),
    ],
)
def test_an_error_is_one_line_and_code_2(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_a_damaged_file_is_code_2(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    for verb in ("inspect", "selftest"):
        assert main([verb, str(path)]) == 2
        assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["inspect", "--help"], ["selftest", "-h"]])
def test_help_teaches(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "policy.onnx" in capsys.readouterr().out


PROBE = """
import importlib, pkgutil, sys
for name in ("torch", "mujoco", "onnx", "gymnasium", "hydra", "omegaconf", "rich", "scipy"):
    sys.modules[name] = None
import robodistill_deploy
names = [m.name for m in pkgutil.walk_packages(robodistill_deploy.__path__, "robodistill_deploy.")]
assert "robodistill_deploy.runtime" in names
for name in names:
    importlib.import_module(name)
from robodistill_deploy.cli import main
sys.exit(main(["selftest", sys.argv[1]]))
"""


def test_a_robot_needs_neither_torch_nor_mujoco_nor_onnx(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok: ")
