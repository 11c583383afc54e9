"""The report's diagnostics: every figure is told, every plot says how to read it, and verdicts follow the figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from robodistill.report.inputs import load_inputs
from robodistill.report.sections.diagnostics import diagnostics, gap_verdict, history_verdict
from robodistill.report.verdicts import Estimate, collapse_verdict, hacking_verdict


def rendered(run: Path) -> str:
    return diagnostics(load_inputs(run))


def change(run: Path, **figures: Any) -> None:
    path = run / "evaluation/evaluation.json"
    data = json.loads(path.read_text())
    data["diagnostics"] |= figures
    path.write_text(json.dumps(data))


def test_each_plot_says_how_to_read_it(whole: Path) -> None:
    page = rendered(whole)
    plots = re.findall(r'<figure class="plot.*?</figure>', page, flags=re.DOTALL)
    assert len(plots) == 8
    for plot in plots:
        caption = re.search(r"<figcaption>(.+?)</figcaption>", plot, flags=re.DOTALL)
        assert caption is not None
        assert len(caption.group(1)) > 40
    assert "&amp;amp;" not in page
    assert 'class="note"' not in page


def test_figures_are_told(whole: Path) -> None:
    page = rendered(whole)
    for told in ("6.90", "60% (31% to 83%)", "1% (0% to 6%)", "at most 0.0300", "0.310", "24 of 96 worlds",
                 "Student: 2.50 1/s"):  # fmt: skip
        assert told.replace("Student", "student") in page or told in page, told


def test_hacking_is_shown_and_judged(run: Path) -> None:
    assert "no teacher hacking" in rendered(run)
    path = run / "student/metrics.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    verdict = hacking_verdict(load_inputs(run))
    assert verdict is not None
    assert verdict.state == "holds"
    for i, line in enumerate(lines):
        line["episode/return_student"] = 20.0 + (i if i < 15 else 30.0 - i) + 0.01 * (i % 3)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    verdict = hacking_verdict(load_inputs(run))
    assert verdict is not None
    assert verdict.state == "fails"
    assert '"shapes":[{"type":"rect"' in rendered(run)
    path.unlink()
    assert hacking_verdict(load_inputs(run)) is None


@pytest.mark.parametrize(
    ("figure", "values", "state", "told"),
    [
        ("policy/target_collapsed", [1.0] * 18 + [0.0] * 2, "holds", "at most 3 nat"),
        ("policy/target_collapsed", [0.0] * 18 + [1.0] * 2, "fails", "100% of the end"),
        ("loss/compression", [0.0] * 18 + [0.2] * 2, "holds", "at most 0.2 nat"),
        ("loss/compression", [3.0] * 18 + [0.01] * 2, "fails", "at most 0.01 nat"),
    ],
)
def test_a_collapsed_latent_is_judged(run: Path, figure: str, values: list[float], state: str, told: str) -> None:
    assert collapse_verdict(load_inputs(run)) is None  # the method has no bottleneck
    own = [{"loss/compression": 3.0, figure: value} for value in values]
    lines = [{"iteration": i + 1, "env_steps": i, "wall_s": i, **line} for i, line in enumerate(own)]
    (run / "student/metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    verdict = collapse_verdict(load_inputs(run))
    assert verdict is not None
    assert verdict.state == state
    assert told in verdict.found


def test_a_student_that_never_imitated_is_said_to(run: Path) -> None:
    told = "never imitated that teacher"
    assert told not in rendered(run)
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["student"] = {"method": {"needs_teacher": False}}
    path.write_text(yaml.safe_dump(config))
    assert told in rendered(run)


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"history": {"memory": False}}, "no memory"),
        ({"failures": {"both": 0, "student_only": 0}}, "failed in no episode"),
        ({"gap": {}}, "Too few worlds"),
        ({"growth": {"teacher": {}, "student": {}}}, "No growth of differences"),
        ({"agreement": {}, "sensitivity": {}}, "No actions to compare"),
    ],
)
def test_what_is_missing_is_said(run: Path, figures: dict[str, Any], told: str) -> None:
    assert told not in rendered(run)
    change(run, **figures)
    assert told in rendered(run)


def test_an_evaluation_without_diagnostics_is_one_line(run: Path) -> None:
    path = run / "evaluation/evaluation.json"
    data = json.loads(path.read_text())
    del data["diagnostics"]
    path.write_text(json.dumps(data))
    assert "No diagnostics in the evaluation" in rendered(run)


def test_verdicts_follow_the_intervals() -> None:
    def lost(low: float, high: float) -> Any:
        verdict = history_verdict({"reset": {"return_lost": {"mean": (low + high) / 2, "ci95": [low, high]}}})
        assert verdict is not None
        return verdict.state

    assert [lost(1.0, 2.0), lost(-1.0, 2.0), lost(0.0, 0.0), lost(-2.0, -1.0)] == ["holds", "open", "fails", "fails"]
    assert history_verdict({}) is None
    assert gap_verdict(Estimate(0.05, 0.04, 0.06)).state == "holds"
    # an upper bound that is too high proves nothing: better regressions may exist
    assert gap_verdict(Estimate(0.5, 0.4, 0.6)).state == "open"
