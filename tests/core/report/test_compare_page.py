"""The page of a comparison, made from run folders by the command that users type."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import yaml

from robodistill import cli
from robodistill.report.compare import compare_runs, render_comparison
from robodistill.report.compare.variants import find_runs


def edit(run: Path, *keys: str, value: Any) -> None:
    """Change one key of a run's configuration."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    node = config
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def shift(run: Path, lead: float) -> None:
    """Let the student of a run return ``lead`` more in every world."""
    data = dict(np.load(run / "evaluation/episodes.npz"))
    data["student.return"] = data["student.return"] + lead
    np.savez(run / "evaluation/episodes.npz", **data)
    path = run / "evaluation/evaluation.json"
    found = json.loads(path.read_text())
    value = found["policies"]["student"]["return"]
    value["mean"] += lead
    value["ci95"] = [end + lead for end in value["ci95"]]
    path.write_text(json.dumps(found))


@pytest.fixture
def runs(whole: Path, tmp_path: Path) -> Path:
    """Return a folder of four runs: seeds 0 and 1 of two methods, the second of which is ahead by 2."""
    folder = tmp_path / "runs"
    for kind, size in (("small", 64), ("large", 256)):
        for seed in (0, 1):
            run = Path(shutil.copytree(whole, folder / f"{kind}_{seed}"))
            edit(run, "seed", value=seed)
            edit(run, "teacher", "note", value=f"<b>{size}")
            shift(run, 0.5 * seed + 2.0 * (kind == "large"))
    return folder


def test_one_page_and_all_figures_beside_it(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs.parent)
    assert cli.main(["report", "compare", "small_*", "large_*", "reach=20.0"]) == 0
    shown = capsys.readouterr().out
    page = Path("compare.html").read_text()
    found = json.loads(Path("compare.json").read_text())
    shell = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)

    small, large = found["variants"]
    assert (small["name"], small["seeds"], large["seeds"]) == ("teacher.note=<b>64", [0, 1], [0, 1])
    assert large["policies"]["student"]["return"]["mean"] == pytest.approx(26.9 + 0.25 + 2.0)
    assert large["policies"]["student"]["return"]["over"] == "episodes"
    assert large["policies"]["student"]["metrics"]["velocity_rmse"]["unit"] == "m/s"
    assert small["training"]["wall_s"]["mean"] == 600.0
    assert small["training"]["env_steps"]["mean"] == 10_500_000
    assert small["reach"]["teacher"]["reached"] == 2
    # 27 (1 - exp(-5 x)) comes to 20 at x = -ln(1 - 20 / 27) / 5 = 0.27 of 300 s, within the noise
    assert small["reach"]["teacher"]["wall_s"]["mean"] == pytest.approx(81.0, abs=15.0)
    assert len(small["curves"]["student"]["wall_s"]["mean"]) == 200
    (pair,) = found["differences"]
    lead = next(q for q in pair["quantities"] if (q["policy"], q["name"]) == ("student", "return"))
    assert lead["episodes"]["mean"] == pytest.approx(2.0)
    assert not lead["episodes"]["zero_inside"]
    assert lead["seeds"] is None
    assert found["runs"]["small_0"]["provenance"]["git"]["commit"] == "0123abcd"

    assert "&lt;b&gt;64" in shell
    assert "<b>64" not in shell  # what stands in files cannot act
    assert "paired with A, which comes next, the difference is +2.00 (95 % interval 2.00 to 2.00 over epi" in shell
    assert "over episodes (bootstrap)" in shell
    assert "Cost of a fixed return: 20" in shell
    assert "29.1" in shown
    assert "teacher.note=<b>64" in shown
    assert not re.search(r"https?://|<(link|iframe|img)\b|\bnan\b", shell)
    figures = re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    assert len(figures) == 7
    for text in figures:
        go.Figure(json.loads(text))


def test_a_run_that_lacks_something_is_named_and_its_curves_stay(runs: Path) -> None:
    shutil.rmtree(runs / "small_1/evaluation")
    summary = json.loads((runs / "large_1/summary.json").read_text())
    del summary["stages"]["student"]
    (runs / "large_1/summary.json").write_text(json.dumps(summary))
    shutil.rmtree(runs / "large_1/evaluation")
    log = runs / "large_1/student/metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:10]))
    for seed in (2, 3):
        edit(Path(shutil.copytree(runs / "large_0", runs / f"large_{seed}")), "seed", value=seed)
    found = compare_runs(find_runs(["*"], runs))
    assert found.left_out == {"large_1": "partial, student is not finished", "small_1": "not evaluated"}
    large, small = found.variants
    assert large.score is not None
    assert list(large.score.values) == list(large.training["wall_s"].values) == ["large_0", "large_2", "large_3"]
    assert list(small.training["wall_s"].values) == ["small_0", "small_1"]
    assert (large.reach["teacher"].runs, large.reach["student"].runs) == (4, 3)
    alone = compare_runs(find_runs(["large_0", "small_0"], runs)).variants[0]
    np.testing.assert_allclose(large.bands["student"]["wall_s"].mean, alone.bands["student"]["wall_s"].mean)
    page = render_comparison(found)
    assert "large_1: partial, student is not finished; left out" in page
    drawn = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    names = [trace["name"] for figure in drawn for trace in figure["data"] if "name" in trace]
    assert names.count("large_1") == 2  # the student's, by steps and by time; the rest is in the bands
    assert names.count("large_0") == 0


def test_what_some_seed_never_reaches_has_no_mean_cost(runs: Path) -> None:
    log = runs / "small_1/teacher/metrics.jsonl"
    log.write_text(re.sub(r'"episode/return": [^,]*', '"episode/return": 1.0', log.read_text()))
    small = compare_runs(find_runs(["small_*"], runs), reach=20.0).variants[0]
    assert (small.reach["teacher"].reached, small.reach["teacher"].cost) == (1, {})
    assert set(small.reach["student"].cost) == {"env_steps", "wall_s"}


def test_runs_that_cannot_be_paired_say_why(runs: Path) -> None:
    edit(runs / "large_0", "task", "episode_s", value=9.0)
    page = render_comparison(compare_runs(find_runs(["large_0", "small_*"], runs)))
    assert "cannot be paired: the tasks differ (task.episode_s)." in page
    assert "the two are not paired" in page


def test_without_any_evaluation_there_are_curves(runs: Path) -> None:
    for run in runs.iterdir():
        shutil.rmtree(run / "evaluation")
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps({**summary, "policies": {}}))
    page = render_comparison(compare_runs(find_runs(["*"], runs)))
    assert "No run has been evaluated yet." in page
    assert len(re.findall(r'<script type="application/json">', page)) == 4


def test_one_variant_alone_says_what_it_returns(runs: Path) -> None:
    both = render_comparison(compare_runs(find_runs(["small_*"], runs)))
    assert re.search(r"One variant has an evaluated student: it returns -?\d[^<]* over 2 runs\.", both)
    for run in ("small_1", "large_0"):
        shutil.rmtree(runs / run / "evaluation")
    assert "over one run." in render_comparison(compare_runs(find_runs(["small_*", "large_0"], runs)))


def test_teachers_alone_say_that_there_is_no_student(runs: Path) -> None:
    for name in ("small_0", "large_1"):
        path = runs / name / "evaluation/evaluation.json"
        found = json.loads(path.read_text())
        found["policies"] = {"teacher": found["policies"]["teacher"]}
        path.write_text(json.dumps(found))
    page = render_comparison(compare_runs(find_runs(["small_0", "large_1"], runs)))
    assert "No run has an evaluated student yet" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "small_0", "larg_0"], "unknown run in {runs} 'larg_0': did you mean 'large_0'? legal: large_0"),
        (["compare", "medium_*", "small_0"], "unknown run in {runs} 'medium_*'"),
        (["compare", "small_0"], "report compare needs at least two runs, got small_0"),
        (["compare"], "report compare needs at least two runs, got none"),
        (["compare", "small_*", "other"], "report compare: small_1 is of go2_flat, other is of toy"),
        (["compare", "*_0", "reach=far"], "reach=far: give a return, such as reach=20.0"),
        (["compare", "*_0", "out=x.pdf"], "out=x.pdf: name a file that ends in .html"),
        (["compare", "*_0", "seed=1"], "report compare: unknown key 'seed'"),
        (["comprae", "*_0"], "unknown word 'comprae': did you mean 'compare'?"),
    ],
)
def test_errors_are_one_line(runs: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    shutil.copytree(runs / "small_0", runs / "other")
    edit(runs / "other", "task", "name", value="toy")
    assert cli.main(["report", *words, f"runs_dir={runs}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"robodistill: {said.format(runs=runs)}")
    assert error.count("\n") == 1


def test_runs_are_found_by_name_pattern_and_path(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(runs / "small_0", runs / "small_10")
    (runs / "small_notes").mkdir()  # no run: it has no configuration
    monkeypatch.chdir(runs.parent)
    names = [path.name for path in find_runs(["small_*", "small_0", "runs/large_1"], Path("runs"))]
    assert names == ["small_0", "small_1", "small_10", "large_1"]


def test_of_many_variants_each_meets_the_first_and_the_best_the_next(runs: Path) -> None:
    for number, lead in enumerate((3.0, 1.0, 4.0)):
        shutil.copytree(runs / "small_0", runs / f"more_{number}")
        edit(runs / f"more_{number}", "teacher", "note", value=str(number))
        shift(runs / f"more_{number}", lead)
    found = compare_runs(find_runs(["small_*", "large_*", "more_*"], runs))
    names = [each.variant.name.rpartition("=")[2] for each in found.variants]
    assert names == ["<b>64", "<b>256", "0", "1", "2"]
    index = {each.variant.name: i for i, each in enumerate(found.variants)}
    pairs = [(index[pair.base], index[pair.other]) for pair in found.pairs]
    assert pairs == [(0, 1), (0, 2), (0, 3), (0, 4), (2, 4)]
    assert "paired with C, which comes next, the difference is +1.00" in render_comparison(found)
