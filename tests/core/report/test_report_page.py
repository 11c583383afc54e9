"""The report: one file that needs no network, whatever a run has or lacks, with the right numbers in it."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from robodistill.report import write_report
from robodistill.report.inputs import load_inputs
from robodistill.report.page import render_page
from robodistill_deploy.errors import RobodistillError


def render(run: Path) -> str:
    """Return the page without a video, as text."""
    return render_page(load_inputs(run), None, "no video here")


def without_scripts(page: str) -> str:
    return re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)


def figures(page: str) -> list[dict[str, Any]]:
    """Return the plots of a page; JSON that a browser would refuse is an error."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    texts = re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    return [json.loads(text, parse_constant=refuse) for text in texts]


@pytest.fixture(scope="module")
def page(whole: Path) -> str:
    return render(whole)


@pytest.mark.slow
def test_one_file_holds_everything_and_asks_nobody(run: Path, small_videos: None) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    page = path.read_text()
    assert path.stat().st_size < 12e6
    shell = without_scripts(page)
    assert "http://" not in shell
    assert "https://" not in shell
    sources = re.findall(r"""<[^>]*?\b(?:src|href|poster|action)\s*=\s*["']([^"']*)""", shell)
    embedded = [source for source in sources if source.startswith("data:")]
    assert [source[:14] for source in embedded] == ["data:video/mp4"]
    links = [source for source in sources if not source.startswith("data:")]
    assert links
    for link in links:  # an anchor of this page, or a file that lies beside it
        assert f'id="{link[1:]}"' in shell if link.startswith("#") else (run / link).is_file(), link
    assert not re.search(r"<(link|iframe|object|embed|img)\b|@import|url\(", shell)
    assert not re.search(r"<script[^>]+src", page)
    # the browser refuses what the test above may have overlooked, and plotly's button that uploads the data is off
    assert "default-src 'none'" in shell
    assert "showSendToCloud: false" in page
    assert 'plotlyServerURL: ""' in page
    assert page.count("</script>") == len(figures(page)) + 2  # plotly's own text ends no element early


def test_the_page_says_what_came_out(page: str) -> None:
    page = without_scripts(page)
    assert "<strong>96.8%</strong>" in page
    assert "96.2% to 97.4%" in page
    assert "9 of 9 claims hold" in page
    assert "11 min 42 s" in page
    assert "10.50 million environment steps" in page
    assert "0123abcd</code> with uncommitted changes" in page
    assert "3.1e-06" in page
    assert 'class="note"' not in page.replace('<p class="note">no video here</p>', "")
    for policy in ("Teacher", "Student", "ONNX", "Zero action"):
        assert f"<th>{policy}</th>" in page


def test_what_is_in_files_cannot_act(page: str) -> None:
    page = without_scripts(page)
    assert "alert(1)" in page
    assert "&lt;script&gt;alert(1)" in page


def test_every_plot_is_one_that_plotly_accepts(page: str) -> None:
    found = figures(page)
    assert len(found) > 30
    for figure in found:
        go.Figure(figure)  # a property that does not exist is a ValueError
        assert figure["data"]
    with pytest.raises(ValueError, match="thickness"):
        go.Figure({"data": [{"type": "scatter", "thickness": 1}]})


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (["summary.json"], "No summary yet"),
        (["config.yaml"], "No config.yaml in the run."),
        (["teacher", "student"], "nothing was trained"),
        (["check"], "No check yet"),
        (["evaluation/trajectories.npz"], "No trajectories.npz"),
        (["evaluation/episodes.npz"], "No episodes.npz with returns"),
        (["evaluation/episodes.npz"], "No episodes.npz with falls"),
        (["evaluation/episodes.npz"], "No errors per command"),
        (["evaluation/evaluation.json"], "No R² in the evaluation"),
        (["evaluation", "summary.json"], "run robodistill evaluate"),
    ],
)
def test_a_section_without_its_input_is_one_line(run: Path, page: str, missing: list[str], told: str) -> None:
    assert told not in page
    for name in missing:
        if (run / name).is_dir():
            shutil.rmtree(run / name)
        else:
            (run / name).unlink()
    degraded = render(run)
    assert told in degraded
    figures(degraded)


def test_an_empty_run_has_a_report(tmp_path: Path) -> None:
    page = write_report(tmp_path).read_text()
    assert not figures(page)
    assert "No video: evaluate records the trajectories" in page
    assert without_scripts(page).count('class="note"') >= 10


def test_where_nobody_falls_returns_are_shown_by_parameter(run: Path, page: str) -> None:
    assert "Falls by randomised parameter" in page
    data: dict[str, Any] = dict(np.load(run / "evaluation/episodes.npz"))
    np.savez(
        run / "evaluation/episodes.npz",
        **{k: v & False if k.endswith(".fell") else v for k, v in data.items()},
    )
    safe = render(run)
    assert "Return by randomised parameter" in safe
    assert len(figures(safe)) == len(figures(page))


def test_the_folder_of_a_single_training_is_a_run_too(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "only_teacher"
    shutil.copytree(run / "teacher", alone)
    assert "Only teacher" in render(alone)
    assert len(figures(render(alone))) >= 8


def test_nan_and_infinity_leave_gaps(run: Path) -> None:
    lines = (run / "teacher/metrics.jsonl").read_text().splitlines()
    broken = [{**json.loads(line), "loss/value": math.nan, "reward/torque": math.inf} for line in lines]
    broken[5]["env_steps"] = math.nan
    (run / "teacher/metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in broken))
    data = dict(np.load(run / "evaluation/episodes.npz"))
    data["student.return"][3] = np.nan
    np.savez(run / "evaluation/episodes.npz", **data)
    evaluation = json.loads((run / "evaluation/evaluation.json").read_text())
    evaluation["policies"]["student"]["metrics"]["velocity_rmse"] = {"mean": None, "ci95": [None, None]}
    evaluation["score"]["student"]["ci95"] = [None, None]
    evaluation["r2"]["friction"] = None
    (run / "evaluation/evaluation.json").write_text(json.dumps(evaluation))
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "policies": {}}))
    page = render(run)
    assert figures(page)  # which refuses nan
    assert not re.search(r"\bnan\b", without_scripts(page))
    assert "of 8 claims hold" in page  # no claim on a figure that is not known


@pytest.mark.parametrize(
    "name", ["summary.json", "check/check.json", "evaluation/episodes.npz", "config.yaml"]
)
def test_a_damaged_file_is_named(run: Path, name: str) -> None:
    (run / name).write_bytes(b"{not: [")
    with pytest.raises(RobodistillError, match=re.escape(str(run / name))):
        load_inputs(run)


def test_no_run_no_report(tmp_path: Path) -> None:
    with pytest.raises(RobodistillError, match="name a run folder"):
        write_report(tmp_path / "nothing")
