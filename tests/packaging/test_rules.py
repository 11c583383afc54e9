"""The rules of layers, names and types can fail: each is shown a planted violation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOTS = ("robodistill", "envs", "policies", "deploy", "configs")
BIN = Path(sys.executable).parent

# package folder -> a module it must not import
VIOLATIONS = {
    "deploy/robodistill_deploy": "torch",
    "envs/robodistill_envs": "robodistill_policies",
    "policies/robodistill_policies": "robodistill.planted",
    "configs/robodistill_configs": "robodistill_deploy",
}


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(tree / r) for r in ROOTS)}
    command = [str(BIN / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    """Return a copy of the five source roots and the rules."""
    for root in ROOTS:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_layers_hold_and_planted_imports_break_them(copied_tree: Path) -> None:
    clean = lint_imports(copied_tree)
    assert clean.returncode == 0, clean.stdout
    (copied_tree / "robodistill/robodistill/planted.py").write_text("X = 1\n")
    for package, forbidden in VIOLATIONS.items():
        (copied_tree / package / "planted.py").write_text(f"import {forbidden}\n")
    (copied_tree / "envs/robodistill_envs/planted_dds.py").write_text("import cyclonedds\n")
    broken = lint_imports(copied_tree)
    assert broken.returncode == 1
    assert "robodistill_envs.planted_dds -> cyclonedds" in broken.stdout
    for package, forbidden in VIOLATIONS.items():
        assert f"{Path(package).name}.planted -> {forbidden}" in broken.stdout


def ruff_codes(source: str) -> set[str]:
    """Return the rule codes that ruff reports on a library module with ``source``."""
    command = [str(BIN / "ruff"), "check", "--no-cache", "--output-format", "concise"]
    command += ["--stdin-filename", str(ROOT / "envs/robodistill_envs/planted.py"), "-"]
    result = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, check=False)
    return {line.split(": ")[1].split()[0] for line in result.stdout.splitlines() if ": " in line}


DOC = '"""A module."""\n\n'


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("import envs\n\n__all__ = ['envs']\n", "TID251"),
        ("from policies import robodistill_policies\n\n__all__ = ['robodistill_policies']\n", "TID251"),
        ("import pickle\n\n__all__ = ['pickle']\n", "TID251"),
        ("from . import model\n\n__all__ = ['model']\n", "TID252"),
        ("print('hello')\n", "T201"),
        ("try:\n    x = 1\nexcept Exception:\n    x = 2\n", "BLE001"),
        ("def _f(x) -> None:\n    del x\n", "ANN001"),
        ("def f(x: int) -> int:\n    return x\n", "D103"),
    ],
)
def test_ruff_refuses(source: str, code: str) -> None:
    assert ruff_codes(DOC + source) == {code}


def test_ruff_passes_what_is_clean() -> None:
    assert ruff_codes(DOC + "X = 1\n") == set()


@pytest.mark.slow
def test_pyright_sees_through_the_hand_stub(tmp_path: Path) -> None:
    """A swapped argument of mj_step, a str as a step count and a private name are errors; the rest is not."""
    code = (
        "import mujoco\n"
        "from robodistill_deploy import codec\n"
        "model = mujoco.MjModel.from_xml_string('<mujoco/>')\n"
        "data = mujoco.MjData(model)\n"
        "mujoco.mj_step(model, data)\n"
        "mujoco.mju_rotVecQuat(data.qpos, data.qpos, data.qpos)\n"
        "mujoco.mj_step(data, model)  # wrong\n"
        "count: str = model.nq  # wrong\n"
        "codec._decode(int, 1, 'x')  # wrong\n"
    )
    config = tmp_path / "pyrightconfig.json"
    planted = tmp_path / "planted_types.py"
    planted.write_text(code)
    settings = {"include": ["."], "stubPath": str(ROOT / "typings"), "extraPaths": [str(ROOT / "deploy")]}
    config.write_text(json.dumps({**settings, "reportPrivateUsage": "error"}))
    command = [str(BIN / "pyright"), "--pythonpath", sys.executable, "--project", str(config)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    wrong = {i for i, line in enumerate(code.splitlines(), 1) if line.endswith("# wrong")}
    reported = {int(line.split(":")[1]) for line in result.stdout.splitlines() if " - error: " in line}
    assert reported == wrong, result.stdout
