"""The wheel: what is in it, and a robot's environment made from it alone, without torch."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "robodistill": ROOT / "robodistill",
    "robodistill_envs": ROOT / "envs",
    "robodistill_policies": ROOT / "policies",
    "robodistill_deploy": ROOT / "deploy",
    "robodistill_configs": ROOT / "configs",
}

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel built from this tree, the way pip does it."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(folder), str(ROOT), cwd=folder)
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def robot_venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of a new environment with the base install only."""
    folder = tmp_path_factory.mktemp("robot")
    made = run(sys.executable, "-m", "venv", "venv", cwd=folder)
    assert made.returncode == 0, made.stderr
    python = folder / "venv/bin/python"
    installed = run(str(python), "-m", "pip", "install", "-q", str(wheel), cwd=folder)
    assert installed.returncode == 0, installed.stderr
    return python.parent


def test_wheel_holds_the_five_packages_with_their_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    assert {n.split("/")[0] for n in names} == {*PACKAGES, info}
    for package, root in PACKAGES.items():
        files = {str(f.relative_to(root)) for f in (root / package).rglob("*") if f.is_file()}
        wanted = {f for f in files if "__pycache__" not in f}
        assert wanted - names == set(), package
        if package != "robodistill_configs":
            assert f"{package}/py.typed" in names
    assert any(n.endswith(".yaml") for n in names)
    assert any(n.endswith(".xml") for n in names)
    assert f"{info}/licenses/LICENSE" in names


def test_robot_environment_has_no_torch_and_imports_the_runtime(robot_venv: Path, tmp_path: Path) -> None:
    code = (
        "import importlib, pkgutil, sys, robodistill_deploy as d\n"
        "names = [m.name for m in pkgutil.walk_packages(d.__path__, 'robodistill_deploy.')]\n"
        "for name in names:\n"
        "    if '.drivers.unitree' not in name: importlib.import_module(name)\n"  # that one has an extra of its own
        "bad = {'torch', 'mujoco', 'hydra', 'omegaconf', 'yaml'} & set(sys.modules)\n"
        "print(len(names), sorted(bad), importlib.util.find_spec('torch'))\n"
    )
    result = run(str(robot_venv / "python"), "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    count, bad, torch = result.stdout.split()
    assert int(count) > 3
    assert (bad, torch) == ("[]", "None")


def test_robot_command_line_shows_its_help(robot_venv: Path, tmp_path: Path) -> None:
    result = run(str(robot_venv / "robodistill-run"), "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for verb in ("inspect", "selftest"):
        assert verb in result.stdout


@pytest.mark.parametrize("arguments", [["list"], ["train", "task=pendulum_swingup"]])
def test_training_verbs_name_the_missing_extra(robot_venv: Path, tmp_path: Path, arguments: list[str]) -> None:
    result = run(str(robot_venv / "robodistill"), *arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "robodistill[train]" in result.stderr
