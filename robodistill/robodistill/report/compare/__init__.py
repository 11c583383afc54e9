"""Several runs on one page: ``write_comparison(comparison, path)``, and ``compare.json`` beside it."""

from __future__ import annotations

from pathlib import Path

from robodistill.files import write_json, write_text
from robodistill.report.compare.contrasts import differences, provenance, settings
from robodistill.report.compare.figures import Comparison, compare_runs
from robodistill.report.compare.record import as_json
from robodistill.report.compare.sections import curves, metrics, reach, result
from robodistill.report.page import shell

__all__ = ["Comparison", "compare_runs", "render_comparison", "write_comparison"]

_SECTIONS = (
    ("result", "Result", result), ("metrics", "Metrics", metrics), ("differences", "Differences", differences),
    ("curves", "Curves", curves), ("reach", "Cost", reach), ("settings", "Settings", settings),
    ("provenance", "Provenance", provenance),
)  # fmt: skip


def write_comparison(found: Comparison, path: Path) -> Path:
    """Write the page to ``path`` and all figures as JSON beside it; return where the JSON is."""
    write_text(path, render_comparison(found))
    figures = path.with_suffix(".json")
    write_json(figures, as_json(found))
    return figures


def render_comparison(found: Comparison) -> str:
    """Return the page as text, self-contained."""
    names = " | ".join(each.variant.name for each in found.variants)
    title = f"{found.task}: {names if len(names) < 100 else f'{len(found.variants)} variants'}"
    body = "".join(make(found) for _, _, make in _SECTIONS)
    return shell(title, [(name, text) for name, text, _ in _SECTIONS], body)
