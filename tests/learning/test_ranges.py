"""Evaluation under other ranges: paired as always, in the same files, also for a run that was evaluated before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robodistill import cli
from robodistill.config import compose
from robodistill.decode import decode
from robodistill.report.inputs import load_inputs
from robodistill.report.sections.ranges import by_range
from robodistill.runs import RunFolder
from robodistill.settings import RunConfig
from robodistill.stages import evaluate_policies
from robodistill_deploy.errors import SpecError

WORDS = [
    "task=cartpole_balance", "task.episode_s=0.8", "pipeline=measure", "threads=1", "quiet=true",
    "task.ranges.heavy={parameters: {pole_mass: {low: [4.0], high: [6.0]}}}",
    "task.ranges.light={parameters: {pole_mass: {low: [0.1], high: [0.2]}}}",
    "evaluate.episodes=12", "evaluate.bootstrap=30", "student.copy_head=false", "teacher.critic_hidden=[8]",
    *(f"{who}.{key}" for who in ("teacher", "student") for key in ("total_steps=256", "policy.actor_hidden=[8]")),
    *(f"{who}.method.collect.{key}" for who in ("teacher", "student") for key in ("num_envs=16", "steps=8")),
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    where = [f"runs_dir={folder}", *WORDS]
    assert cli.main(["pipeline", "run=all", "evaluate.ranges=[train,heavy]", *where]) == 0
    assert cli.main(["pipeline", "run=later", "pipeline.reuse=all", *where]) == 0
    assert cli.main(["evaluate", "run=later", f"runs_dir={folder}", "range=heavy", "quiet=true"]) == 0
    assert cli.main(["evaluate", "run=later", f"runs_dir={folder}", "range=light", "quiet=true"]) == 0
    return folder


@pytest.mark.slow
def test_ranges_are_in_the_evaluation_and_the_summary(runs: Path) -> None:
    found = json.loads((runs / "all/evaluation/evaluation.json").read_text())
    assert set(found["ranges"]) == {"heavy"}
    assert set(found["ranges"]["heavy"]["policies"]) == {"teacher", "student", "zero_action"}
    assert found["ranges"]["heavy"]["policies"] != found["policies"]  # other worlds, not the same ones again
    assert json.loads((runs / "all/summary.json").read_text())["ranges"] == found["ranges"]


@pytest.mark.slow
def test_a_range_asked_for_later_gives_the_same_figures(runs: Path) -> None:
    first = json.loads((runs / "all/evaluation/evaluation.json").read_text())
    later = json.loads((runs / "later/evaluation/ranges.json").read_text())
    assert later["heavy"] == first["ranges"]["heavy"]
    assert set(later) == {"heavy", "light"}  # the second did not take the place of the first
    assert later["light"] != later["heavy"]
    assert "ranges" not in json.loads((runs / "later/evaluation/evaluation.json").read_text())


@pytest.mark.slow
def test_the_report_has_a_row_for_each_range(runs: Path) -> None:
    text = by_range(load_inputs(runs / "later"))
    assert all(f"<strong>{name}</strong>" in text for name in ("train", "heavy", "light"))
    assert "light" not in by_range(load_inputs(runs / "all"))
    plain = load_inputs(runs / "later")
    plain.evaluation.pop("ranges")
    assert by_range(plain) == ""


@pytest.mark.slow
def test_an_unknown_range_is_refused_before_the_first_step(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "run=later", f"runs_dir={runs}", "range=heavi", "quiet=true"]) == 2
    assert "did you mean 'heavy'" in capsys.readouterr().err
    config = decode(RunConfig, compose([*WORDS, "evaluate.ranges=[lite]"], RunConfig))
    with pytest.raises(SpecError, match="range 'lite'"):
        evaluate_policies(config, RunFolder(runs / "nowhere"), {})
