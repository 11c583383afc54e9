"""Every method goes the whole path on the pendulum: train, evaluate, export, check. Exact resume: test_methods.py."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from robodistill import cli
from robodistill.config import compose, groups
from robodistill.settings import RunConfig
from robodistill_deploy.runtime import load_policy

METHODS = sorted(groups()["method"])
IN_CI = {"ppo_asym", "bc", "rma", "hib", "gpo", "pmoe", "dagger_finetune", "rnd"}
"""One of each family; the others take their turn where time is no matter."""
assert set(METHODS) >= IN_CI, "a method of CI was renamed"
STEPS = 1024
WORDS = [
    "task=pendulum_swingup", "task.episode_s=1.0", "threads=1", "quiet=true",
    "evaluate.episodes=16", "evaluate.bootstrap=30",
    *(
        f"{who}.{key}" for who in ("teacher", "student")
        for key in (f"total_steps={STEPS}", "method.collect.num_envs=16", "method.collect.steps=16")
    ),
]  # fmt: skip


def role_of(method: str) -> str:
    """Return who is trained by ``method``."""
    composed = compose([*WORDS, f"method@student.method={method}"], RunConfig)
    return "student" if "student" in composed["student"]["method"]["networks"] else "teacher"


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=[] if m in IN_CI else pytest.mark.long) for m in METHODS]
)
def test_a_method_goes_the_whole_path(method: str, tmp_path: Path) -> None:
    role = role_of(method)
    words = [*WORDS, f"method@{role}.method={method}", f"runs_dir={tmp_path}"]
    assert cli.main(["pipeline", "run=whole", *words]) == 0
    run = tmp_path / "whole"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "complete"
    assert summary["training"][role]["env_steps"] == STEPS
    made = json.loads((run / role / "metrics.jsonl").read_text().splitlines()[-1])
    assert all(math.isfinite(value) for value in made.values())
    assert json.loads((run / "check/check.json").read_text())["passed"] is True
    policy = load_policy(run / "policy.onnx")  # its self-test runs here
    assert role == "teacher" or policy.spec.provenance.method == method
    returns = {name: found["return"]["mean"] for name, found in summary["policies"].items()}
    assert returns["onnx"] == pytest.approx(returns["student"], abs=1e-3)
    assert (run / "report.html").stat().st_size > 10_000
