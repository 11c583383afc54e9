"""The published tables: each says what its records say, and what has no record is called experimental."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from robodistill.cells.records import read_records
from robodistill.cells.variants import read_variants
from robodistill.config import groups

DOCS = Path(__file__).resolve().parents[2] / "docs"
ABLATIONS = DOCS.parent / "benchmarks/ablations"
RECORDS = read_records(DOCS / "benchmarks/records.json")
TABLES = sorted((DOCS / "benchmarks").glob("*/methods.csv"))
assert TABLES, "no published table was found"


def test_methods_without_a_record_are_called_experimental() -> None:
    measured = {name.split("-")[1] for name in RECORDS}
    (said,) = re.findall(r"are experimental: (.*)\.\n", (DOCS / "methods.md").read_text())
    # `ppo` trains the teacher of every cell
    assert set(re.findall(r"`(\w+)`", said)) == set(groups()["method"]) - measured - {"ppo"}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.parent.name)
def test_a_table_says_what_the_records_say(path: Path) -> None:
    """Each figure of one seed is some record's own; with more seeds it lies between those of its method."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert rows
    # the rows of an ablation have names of their own
    ablation = ABLATIONS / f"{path.parent.name}.yaml"
    variants = read_variants(ablation) if ablation.exists() else {}
    for row in rows:
        method = variants[row["method"]].method if variants else row["method"]
        prefix = f"{row['task']}-{method}-"
        assert not row["failures"]
        found = [
            figures[row["range"]]["score"] for name, record in RECORDS.items()
            if name.startswith(prefix) and row["range"] in (figures := record.figures)
        ]  # fmt: skip
        scores = [score for score in found if score is not None]
        assert min(scores) - 1e-4 <= float(row["score"]) <= max(scores) + 1e-4, row
