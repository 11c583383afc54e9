"""Why the student is as good as it is: where it differs from its teacher, and what it could not know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from robodistill.agreement import ERROR
from robodistill.evaluation.diagnostics.gap import SMALL
from robodistill.hacking import Split, find_split, golden_and_proxy
from robodistill.networks import STUDENT
from robodistill.report.html import badge, grid, how, note, plot, section, table
from robodistill.report.inputs import Inputs, Line, mapping
from robodistill.report.plots.base import color_of, words
from robodistill.report.plots.diagnostics import (
    golden_figure,
    growth_figure,
    interval_bars,
    term_bars,
    time_map,
)
from robodistill.report.verdicts import Estimate, Verdict, estimate, hacking_verdict

_ROW = 22
"""Height [px] of a line of a map or of horizontal bars."""


def diagnostics(inputs: Inputs) -> str:
    """Return every diagnostic that there is."""
    found = mapping(inputs.evaluation, "diagnostics")
    parts = [_golden(inputs)]
    if found:
        parts += [_agreement(found), _history(found), _failures(found), _gap(found), _terms(found), _growth(found)]
    else:
        parts.append(note("No diagnostics in the evaluation: run robodistill evaluate with evaluate.diagnose=true."))
    lead = "Where the student differs from its teacher on the states that it drives itself into, and why."
    if not mapping(inputs.config, "student", "method").get("needs_teacher", True):
        lead += (
            " This student never imitated that teacher, which only measures it: errors, divergences and the gap say "
            "how differently the two solve the task, not how well an imitation went."
        )
    return section("diagnostics", "Diagnostics", "".join(parts), lead)


def _golden(inputs: Inputs) -> str:
    lines = inputs.metrics.get(STUDENT, [])
    if not any(golden_and_proxy(entry) for entry in lines):
        return note("Return beside imitation error: the log of no student holds both for episodes of its own.")
    split = find_split(lines, int(lines[-1]["iteration"]))
    chart = golden_figure(lines, _key(lines, "episode/return_student", "episode/return"),
                          _key(lines, ERROR, "policy/action_error_over_sigma"), _window(lines, split))  # fmt: skip
    verdict = hacking_verdict(inputs)
    text = (
        "The return should rise while the error falls. A shaded window in which both fall is teacher hacking: the "
        "student comes closer to its teacher and gets worse at the task; keep the best checkpoint, let it drive more."
    )
    return _titled("Return beside imitation error", plot(chart, text, height=300), verdict)


def _key(lines: list[Line], first: str, second: str) -> str:
    return first if any(first in entry for entry in lines) else second


def _window(lines: list[Line], split: Split | None) -> tuple[float, float] | None:
    if split is None:
        return None
    steps = {int(entry["iteration"]): float(entry["env_steps"]) for entry in lines}
    return steps[split.first], steps[split.last]


def _titled(title: str, body: str, verdict: Verdict | None = None, told: str = "") -> str:
    judged = f"<p>{badge(verdict.state)} {escape(verdict.claim)}: {escape(verdict.found)}</p>" if verdict else ""
    return f"<h3>{escape(title)}</h3>" + judged + (how(told) if told else "") + body


def _agreement(found: Mapping[str, Any]) -> str:
    data = mapping(found, "agreement")
    if not data:
        return note("No actions to compare: no episode lived to the first sampled tick.")
    bars = plot(
        interval_bars(mapping(data, "by_action"), "error over σ", color_of(STUDENT)),
        "Root mean square of (student − teacher) / σ of the teacher, action by action, with 95% intervals over worlds: "
        "well below 1, the student stays inside of the teacher's own exploration.",
        height=260,
    )
    names = {
        "error_over_sigma": "error over σ, all actions", "kl_teacher_student": "KL(teacher ‖ student) [nat]",
        "kl_student_teacher": "KL(student ‖ teacher) [nat]",
    }  # fmt: skip
    rows = [(escape(text), _told(estimate(data.get(key)))) for key, text in names.items()]
    text = (
        "Both divergences are large where the means differ; the first also where the student is surer than the "
        "teacher, the second where it is less sure, which says little if its deviation was never trained."
    )
    return _titled("The student's actions beside the teacher's", bars + table((), rows, "provenance") + how(text))


def _told(value: Estimate | None) -> str:
    if value is None:
        return "–"
    return f"{value.text} <small>({value.interval})</small>" if value.interval else value.text


def _history(found: Mapping[str, Any]) -> str:
    data, title = mapping(found, "history"), "Does the student use its history?"
    if not data.get("memory"):
        return _titled(title, note("This student has no memory."))
    names = {"reset": "without memory", "shuffled": "window shuffled"}
    present = {text: mapping(data, key) for key, text in names.items() if data.get(key)}
    bars = plot(
        interval_bars({"as it is": data["return"], **{n: v["return"] for n, v in present.items()}}, "return",
                      color_of(STUDENT)),
        f"Mean return on the same {data['worlds']} worlds: with the memory as it is, emptied in each tick, and, for a "
        "window, with its past steps in a random order. Bars alike: the history is not used, or its order is not.",
        height=260,
    )  # fmt: skip
    rows = [
        (escape(name), _told(estimate(value["return_lost"])), _told(estimate(value.get("action_change"))))
        for name, value in present.items()
    ]
    head = ("", "return lost, world by world", "change of the action, in the teacher's σ")
    return _titled(title, bars + table(head, rows, "provenance"), history_verdict(data))


def history_verdict(data: Mapping[str, Any]) -> Verdict | None:
    """Return whether the student loses return without its memory; open where zero is inside of the interval."""
    lost = estimate(mapping(data, "reset").get("return_lost"))
    if lost is None:
        return None
    state = "holds" if lost.low > 0.0 else "open" if lost.high > 0.0 else "fails"
    return Verdict("the student's return depends on its memory", f"it loses {_plain(lost)} without", state)


def _plain(value: Estimate) -> str:
    return f"{value.text} ({value.interval})" if value.interval else value.text


def _failures(found: Mapping[str, Any]) -> str:
    data, title = mapping(found, "failures"), "Whose failures are they?"
    failed = int(data.get("both", 0)) + int(data.get("student_only", 0))
    if not failed:
        return _titled(title, note("The student failed in no episode."))
    rows = [
        ("student fails", str(data["both"]), str(data["student_only"])),
        ("student does not", str(data["teacher_only"]), str(data["neither"])),
    ]
    shares = [estimate(data.get(f"teacher_fails_where_student_{end}")) for end in ("fails", "does_not")]
    fails, spared = (f"{v.mean:.0%} ({v.low:.0%} to {v.high:.0%})" if v else "–" for v in shares)
    half_way = data.get("half_way")
    half = "half-way from doing nothing to the teacher"
    low = "" if half_way is None else f" or returned less than {half_way:.4g}, {half}"
    text = (
        f"Paired worlds; failed are episodes that ended early{low}. Where the student fails, the teacher fails too in "
        f"{fails}; elsewhere in {spared}. The larger the first share beside the second, the more failures are the "
        "world's or the teacher's, and not imitation's."
    )
    return _titled(title, table(("", "teacher fails", "teacher does not"), rows, "provenance") + how(text))


def _gap(found: Mapping[str, Any]) -> str:
    data, title = mapping(found, "gap"), "How much cannot be known?"
    at_most = estimate(data.get("at_most"))
    if at_most is None:
        return _titled(title, note("Too few worlds to bound the irreducible gap."))
    shown = {
        "student's own error": data["student"],
        "best of the regressions (upper bound)": data["at_most"],
        "with endless data (plateau)": {"mean": data["plateau"]},
    }
    text = (
        "Variance of the teacher's action, in σ² per action, that the student's input leaves open: at most the second "
        f"bar ({data['regression']}, judged on {data['held_out_worlds']} of {data['worlds']} worlds, not fitted on "
        "them). Far below the first bar, training longer can help; near it and above "
        f"{SMALL:g}, imitation is at its end."
    )
    bars = plot(interval_bars(shown, "σ² per action", color_of(STUDENT)), text, height=260)
    return _titled(title, bars, gap_verdict(at_most))


def gap_verdict(at_most: Estimate) -> Verdict:
    """Return whether imitation can come close; a bound that is too high proves nothing, and is open."""
    high = at_most.high if math.isfinite(at_most.high) else at_most.mean
    claim = f"what the student reads leaves ≤ {SMALL:g} σ² of the teacher's action open"
    return Verdict(claim, f"at most {_plain(at_most)}", "holds" if high <= SMALL else "open")


def _terms(found: Mapping[str, Any]) -> str:
    data = mapping(found, "sensitivity")
    by_term = {name: float(value) for name, value in mapping(data, "by_term").items() if value is not None}
    if not by_term:
        return note("No sensitivities: no episode lived to the first sampled tick.")
    height = 90 + _ROW * len(by_term)
    bars = plot(
        term_bars(by_term, "action's change [σ of the teacher]"),
        "By how much the action moves when a term moves by its own standard deviation, memory unchanged: long bars are "
        "the sensors whose noise matters most.",
        height=height, title="Sensitivity to each term",
    )  # fmt: skip
    order = sorted(by_term, key=lambda name: -by_term[name])
    rows = {name: mapping(data, "over_time")[name] for name in order}
    heat = plot(
        time_map(data["time_s"], rows),
        "The same over time: a dark patch is a moment in which the policy hangs on one term.",
        height=height, title="Sensitivity over time",
    )  # fmt: skip
    return _titled("What the action hangs on", grid([bars, heat], "maps"))


def _growth(found: Mapping[str, Any]) -> str:
    data, title = mapping(found, "growth"), "Unstable directions"
    chart = growth_figure({name: mapping(data, name) for name in ("teacher", STUDENT)})
    if chart is None:
        return _titled(title, note("No growth of differences: no episode lived through an interval."))
    rates = plot(
        chart,
        "Rate at which the fastest small difference between two equal worlds grows under each policy (median and "
        "10–90% of worlds): above 0 it grows, below it is damped; a student clearly above its teacher damps worse.",
        height=320, title="Growth of small differences",
    )  # fmt: skip
    student = mapping(data, STUDENT)
    rows = {name: values for name, values in mapping(student, "direction").items() if max(values) > 0.02}
    heat = plot(
        time_map(student.get("time_s") or [], rows, ".0%"),
        "What that difference is made of, by degree of freedom (shares of its square, student): dark rows are what the "
        "policy controls worst, or what nothing measures, such as where the base is.",
        height=90 + _ROW * max(6, len(rows)), title="Direction that grows fastest",
    )  # fmt: skip
    told = [
        f"{words(name)}: {value.text} 1/s ({value.interval})"
        for name in ("teacher", STUDENT)
        if (value := estimate(mapping(data, name).get("rate"))) is not None
    ]
    return _titled(title, grid([rates, heat], "maps"), told=f"Mean rate. {'; '.join(told)}." if told else "")
