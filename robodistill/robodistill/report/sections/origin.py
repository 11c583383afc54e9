"""Where it all comes from: the sim-to-sim check, the configuration, versions and code state."""

from __future__ import annotations

import math
from datetime import datetime
from html import escape
from typing import Any

import yaml

from robodistill.report.html import badge, details, note, section, table
from robodistill.report.inputs import Inputs, mapping
from robodistill.report.plots.base import words

TOLERANCE = 1e-5
"""What the check accepts, per normalised unit, where ``check.json`` does not say."""


def check(inputs: Inputs) -> str:
    """Return how closely the file agrees with the training environment, term by term."""
    title, found = "Sim-to-sim check of policy.onnx", inputs.check
    if not found:
        return section("check", title, note("No check yet: run robodistill check."))
    tolerance = float(found.get("tolerance") or TOLERANCE)
    rows = [
        (escape(name), kind, _error(value, tolerance))
        for kind, table_of in (("term", "terms"), ("action", "actions"))
        for name, value in mapping(found, table_of).items()
    ]
    if "onnx_vs_torch" in found:
        rows.append(("policy.onnx against torch", "same input", _error(found["onnx_vs_torch"], tolerance)))
    if "physics" in found:
        rows.append(("qpos after one control step", "physics", _error(found["physics"], tolerance)))
    verdict = badge("holds", "passed") if found.get("passed") else badge("fails", "failed")
    first = f": {found['first_difference']}" if found.get("first_difference") else "."
    text = f"<p>{verdict} over {escape(str(found.get('ticks', '?')))} control ticks{escape(first)}</p>"
    lead = (
        "The file drives a plain single-world MuJoCo loop that shares no code with the training environment, both in "
        "the same state at every tick; shown is the largest difference over all ticks."
    )
    head = ("what", "kind", f"largest difference (the line is the tolerance, {tolerance:.0e})")
    return section("check", title, text + table(head, rows, "check"), lead)


def _error(value: Any, tolerance: float) -> str:
    """Return a difference as text and as a bar on a logarithmic scale from 1e-10 to 1."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return badge("fails", "not finite")
    decades = 0.0 if value <= 0 else min(max((math.log10(value) + 10) / 10, 0.0), 1.0)
    state, border = "fails" if value > tolerance else "holds", 10 * (10 + math.log10(tolerance))
    text = f"{value:.1e}" if value else "0"
    bar = f'<b class="{state}" style="width:{100 * decades:.1f}%"></b><u style="left:{border:.0f}%"></u>'
    return f'<span class="error">{text}</span><span class="log">{bar}</span>'


def configuration(inputs: Inputs) -> str:
    """Return the resolved configuration, folded."""
    title = "Configuration"
    if not inputs.config:
        return section("config", title, note("No config.yaml in the run."))
    plain = {key: value for key, value in inputs.config.items() if not isinstance(value, (dict, list))}
    parts = [details("run", _yaml(plain), opened=True)] if plain else []
    parts += [
        details(str(key), _yaml(value))
        for key, value in inputs.config.items()
        if isinstance(value, (dict, list)) and value
    ]
    return section(
        "config", title, "".join(parts), "As resolved and saved in config.yaml: enough to repeat the run."
    )


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, sort_keys=False, width=110, allow_unicode=True, default_flow_style=None)
    return f"<pre>{escape(text)}</pre>"


def provenance(inputs: Inputs) -> str:
    """Return which code made this, on what, and when."""
    found = inputs.provenance
    git, versions = mapping(found, "git"), mapping(found, "versions")
    rows: list[tuple[str, str]] = []
    if git:
        changed = " with uncommitted changes" if git.get("changed") else ""
        rows.append(("commit", f"<code>{escape(str(git.get('commit')))}</code>{changed}"))
    rows += [(escape(name), escape(str(version))) for name, version in versions.items()]
    rows += [(words(key), escape(str(found[key]))) for key in ("python", "machine") if found.get(key)]
    seeds = {
        "seed": inputs.summary.get("seed", inputs.config.get("seed")),
        "seed of the evaluation": inputs.evaluation.get("seed"),
    }
    rows += [(key, escape(str(value))) for key, value in seeds.items() if value is not None]
    rows += [("verb", escape(str(inputs.summary["verb"])))] if inputs.summary.get("verb") else []
    missing = "" if found else note("No provenance in config.yaml.")
    rows.append(("report written", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")))
    return section("provenance", "Provenance", missing + table(("", ""), rows, "provenance"))
