"""Returns and scores by range: in training's conditions and outside of them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from robodistill.report.html import section, table
from robodistill.report.inputs import Inputs, mapping
from robodistill.report.plots.base import label_of, words
from robodistill.report.verdicts import estimate, policies_in

TRAIN = "train"


def by_range(inputs: Inputs) -> str:
    """Return a table with a row for each range that was evaluated; nothing when only the task's own was."""
    ranges = mapping(inputs.evaluation, "ranges")
    if not ranges:
        return ""
    policies = policies_in(inputs)
    rows = [_row(name, found, policies) for name, found in {TRAIN: inputs.evaluation, **ranges}.items()]
    head = ("", *(f"return, {label_of(p)}" for p in policies), "score, student")
    lead = (
        "All policies on the same worlds within a row, drawn from the range that it names; below each mean its 95% "
        "bootstrap interval over episodes. The score compares with the teacher in that same range."
    )
    return section("ranges", "Outside of the training's conditions", table(head, rows, "metrics"), lead)


def _row(name: str, found: Mapping[str, Any], policies: list[str]) -> list[str]:
    cells = [_cell(mapping(found, "policies", policy).get("return")) for policy in policies]
    return [f"<strong>{escape(words(name))}</strong>", *cells, _cell(mapping(found, "score").get("student"))]


def _cell(data: Any) -> str:
    value = estimate(data)
    return f"{value.text}<small>{value.interval}</small>" if value else "–"
