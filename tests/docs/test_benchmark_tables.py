"""The published tables: each says what its records say, and what has no record is called experimental."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from robodistill.cells.records import FIGURES, read_records
from robodistill.config import groups
from robodistill.evaluation.statistics import over_seeds

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECORDS = read_records(DOCS / "benchmarks/records.json")
TABLES = sorted(path.parent for path in (DOCS / "benchmarks").glob("*/methods.json"))
assert TABLES, "no published table was found"


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "methods.json").read_text())["rows"]


def test_methods_without_a_record_are_called_experimental() -> None:
    measured = {name.split("-")[1] for name in RECORDS}
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
            scores = {name: found["score"]["mean"] for name, found in figures.items()}
            train = scores.pop("train")
            assert cell.strip() == f"{train:.2f}, {sum(scores.values()) / len(scores):.2f}", (method, task)


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
