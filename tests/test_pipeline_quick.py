"""The whole path in one command, as a newcomer types it: teacher, student, policy.onnx, evaluation, check, report."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from robodistill_deploy import runtime

pytestmark = pytest.mark.slow
WORDS = ["-m", "robodistill", "pipeline", "task=pendulum_swingup", "run=quick"]


def call(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in an empty folder."""
    command = [sys.executable, *WORDS, f"runs_dir={folder}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def contents(folder: Path) -> dict[str, str]:
    """The digest of each file of the run."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def trained(folder: Path) -> dict[str, int]:
    """When each checkpoint and log was last written."""
    stages = [folder / "quick" / stage for stage in ("teacher", "student")]
    files = [p for stage in stages for p in stage.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in files}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the finished run."""
    folder = tmp_path_factory.mktemp("runs")
    call(folder)
    return folder


@pytest.fixture(scope="module")
def summary(runs: Path) -> dict[str, Any]:
    """What the run says about itself."""
    return json.loads((runs / "quick" / "summary.json").read_text())


def test_the_summary_has_the_keys_that_others_read(runs: Path, summary: dict[str, Any]) -> None:
    assert (summary["verb"], summary["task"], summary["seed"]) == ("pipeline", "pendulum_swingup", 0)
    assert summary["wall_s"] > 0.0
    assert summary["env_steps"] > 500_000
    assert summary["env_steps_per_s"] > 0.0
    assert summary["episodes"] == 512
    assert summary["policies"].keys() == {"teacher", "student", "onnx", "zero_action"}
    for name, policy in summary["policies"].items():
        low, high = policy["return"]["ci95"]
        assert low <= policy["return"]["mean"] <= high, name
        assert policy["metrics"]["upright_share"]["unit"] == "1"
    assert summary["score"].keys() == {"student", "onnx"}
    for file in summary["files"].values():
        assert (runs / "quick" / file).is_file(), file
    assert summary["files"].keys() >= {"policy", "report"}
    assert sorted(p.name for p in runs.iterdir()) == ["quick"]  # nothing is left elsewhere


def test_the_student_earns_its_score(summary: dict[str, Any]) -> None:
    policies, score = summary["policies"], summary["score"]
    returns = {name: policy["return"]["mean"] for name, policy in policies.items()}
    assert summary["valid"] == {"teacher_floor": 4.0, "teacher_reaches_floor": True, "zero_at_most_half": True}
    assert returns["zero_action"] <= 0.5 * returns["teacher"]
    assert score["student"]["ci95"][0] > 0.8
    assert score["student"]["mean"] < 1.1
    expected = (returns["student"] - returns["zero_action"]) / (returns["teacher"] - returns["zero_action"])
    assert score["student"]["mean"] == pytest.approx(expected)
    # the teacher earned the same in the student's environment as in the comparison, up to chance
    assert summary["teacher_replay_return"] == pytest.approx(returns["teacher"], rel=0.15)


def test_the_file_is_the_student(runs: Path, summary: dict[str, Any]) -> None:
    returns = {name: policy["return"]["mean"] for name, policy in summary["policies"].items()}
    assert returns["onnx"] == pytest.approx(returns["student"], rel=0.01)
    assert summary["onnx_max_abs_error"] <= 1e-5
    assert summary["check"]["passed"] is True
    policy = runtime.load_policy(runs / "quick" / "policy.onnx")
    assert policy.spec.interface.task == "pendulum_swingup"
    assert policy.spec.provenance.checkpoints.keys() == {"student", "teacher"}
    assert all(len(digest) == 64 for digest in policy.spec.provenance.checkpoints.values())


def test_the_report_stands_alone(runs: Path) -> None:
    page = (runs / "quick" / "report.html").read_text()
    assert "pendulum_swingup" in page
    assert 'src="http' not in page


def test_a_finished_run_is_reported_again_and_not_repeated(runs: Path) -> None:
    before, written = contents(runs), trained(runs)
    assert any("checkpoints/last" in name for name in written)
    said = call(runs).stdout
    assert contents(runs) == before
    assert trained(runs) == written
    assert "policy.onnx" in said
    assert "report.html" in said
