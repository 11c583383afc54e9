"""The published tables: each says what its records say, and what has no record is called experimental."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from robodistill import cli
from robodistill.bench import methods
from robodistill.cells.records import FIGURES, read_records
from robodistill.config import groups
from robodistill.evaluation.statistics import over_seeds

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECORDS = read_records(DOCS / "benchmarks/records.json")
TABLES = sorted(path.parent for path in (DOCS / "benchmarks").glob("*/methods.json"))
assert TABLES, "no published table was found"


def published() -> list[list[str]]:
    """Return the words of the commands that the docs print the tables with."""
    text = (DOCS / "benchmark-methods.md").read_text().replace("\\\n", " ")
    (names,) = re.findall(r"^for name in (.*); do$", text, flags=re.MULTILINE)
    lines = re.findall(r"^ *(robodistill bench methods .* records=.*)$", text, flags=re.MULTILINE)
    each = [line.replace("$name", name) for line in lines for name in (names.split() if "$name" in line else [""])]
    return [shlex.split(line)[1:] for line in each]


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "methods.json").read_text())["rows"]


def test_methods_without_a_row_are_called_experimental() -> None:
    variants = " ".join(str(json.loads((folder / "methods.json").read_text())["about"]) for folder in TABLES)
    teachers = set(re.findall(r"method@teacher\.method=(\w+)", variants))
    measured = {row["label"] for folder in TABLES for row in rows_in(folder)} | teachers
    (said,) = re.findall(r"are experimental: (.*)\.\n", (DOCS / "methods.md").read_text())
    experimental = set(re.findall(r"`(\w+)`", said))
    # `ppo` trains the teacher of every cell
    assert experimental == set(groups()["method"]) - measured - {"ppo"}
    heads = {name: path.read_text().splitlines()[0] for name, path in groups()["method"].items()}
    assert {name for name, head in heads.items() if "Experimental" in head} == experimental


@pytest.mark.parametrize("folder", TABLES, ids=lambda folder: folder.name)
def test_a_table_says_what_the_records_say(folder: Path) -> None:
    """Every figure of a row is that of the cells that it names, or their mean."""
    rows = rows_in(folder)
    assert rows
    for row in rows:
        assert not row["failures"]
        own = {seed: RECORDS[name] for seed, name in row["cells"].items()}
        assert len(own) == row["seeds"] > 0
        assert row["wall_s"] == pytest.approx(sum(record.wall_s for record in own.values()) / len(own))
        assert row["env_steps"] == sum(record.env_steps for record in own.values()) / len(own)
        for name, figures in row["figures"].items():
            for figure in FIGURES:
                each = {seed: record.figures[name][figure] for seed, record in own.items()}
                assert figures[figure]["each"] == each
                mean = over_seeds([math.nan if value is None else value for value in each.values()])["mean"]
                assert figures[figure]["mean"] == pytest.approx(mean, nan_ok=True)


def test_the_table_to_choose_by_says_what_was_measured() -> None:
    measured = {
        task: {row["label"]: row["figures"] for row in rows_in(DOCS / "benchmarks" / task)}
        for task in ("dmc_pendulum", "dmc_finger", "go2_flat")
    }
    section = (DOCS / "methods.md").read_text().partition("## Which one?")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, flags=re.MULTILINE)
    assert len(lines) >= 9
    for method, told in lines:
        for task, cell in zip(measured, told.split("|"), strict=False):
            figures = measured[task].get(method)
            if figures is None:
                assert cell.strip() == "–"
                continue
            scores = {name: found["score"]["mean"] for name, found in figures.items() if name != "far"}
            train = scores.pop("train")
            assert cell.strip() == f"{train:.2f}, {sum(scores.values()) / len(scores):.2f}", (method, task)


def test_no_record_is_left_over() -> None:
    assert {name for folder in TABLES for row in rows_in(folder) for name in row["cells"].values()} == set(RECORDS)


def test_every_table_has_its_command() -> None:
    made = sorted(word.partition("=")[2] for words in published() for word in words if word.startswith("out="))
    assert made == sorted(f"docs/benchmarks/{folder.name}" for folder in TABLES)


@pytest.mark.long
@pytest.mark.parametrize("words", published(), ids=lambda words: words[-1])
def test_the_published_command_prints_the_published_page(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And trains nothing: a preset that changed since is a cell without a record."""
    monkeypatch.chdir(DOCS.parent)
    monkeypatch.setattr(methods, "perform", lambda jobs, at_once, say: pytest.fail(f"{jobs}") if jobs else [])
    records = tmp_path / "records.json"
    shutil.copy(DOCS / "benchmarks/records.json", records)
    (out,) = (DOCS.parent / word.partition("=")[2] for word in words if word.startswith("out="))
    kept = [word for word in words if word.partition("=")[0] not in ("out", "records")]
    assert cli.main([*kept, f"records={records}", f"out={tmp_path / 'out'}", f"folder={tmp_path / 'cells'}"]) == 0
    for name in ("methods.md", "methods.csv", "methods.json"):
        assert (tmp_path / "out" / name).read_text() == (out / name).read_text()


@pytest.mark.parametrize("folder", TABLES, ids=lambda folder: folder.name)
def test_page_and_csv_are_of_the_same_rows(folder: Path) -> None:
    rows = rows_in(folder)
    page = (folder / "methods.md").read_text().splitlines()
    found = {(row["task"], row["method"], row["range"]): row for row in csv.DictReader((folder / "methods.csv").open())}
    for row in rows:
        for name, figures in row["figures"].items():
            score = figures["score"]["mean"]
            assert float(found.pop((row["task"], row["label"], name))["score"]) == pytest.approx(score, rel=1e-5)
            own = [line for line in page if line.startswith("|") and f"| `{row['label']}` |" in line]
            assert any(f"| {score:.3f}" in line for line in own)
    assert not found
