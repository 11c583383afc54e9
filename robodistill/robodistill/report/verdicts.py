"""Claims of a run, judged: each says what was wanted, what came out, and whether it holds.

Targets stand in the task: ``targets: {score: 0.93, velocity_rmse: 0.30}``. A score must be at least its target, any
other metric at most. A claim holds when the whole 95% interval lies on the right side, is open when only the mean does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from robodistill.collapse import find_collapse
from robodistill.hacking import find_split, golden_and_proxy
from robodistill.networks import STUDENT
from robodistill.report.inputs import Inputs, mapping
from robodistill.report.plots.base import LABELS, words

State = Literal["holds", "open", "fails"]

AT_LEAST = ("score", "return")
"""Targets that are lower bounds."""
ZERO_SHARE, ONNX_SHARE = 0.5, 0.01
"""Largest share of the teacher's return for doing nothing; largest difference of the file's return to the student's."""


def _fixed(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace("-", "−")


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval."""

    mean: float
    low: float
    high: float
    unit: str = ""

    @property
    def text(self) -> str:
        """Return the mean, with as many decimals as give the largest of mean and interval three digits."""
        return _fixed(self.mean, self._decimals)

    @property
    def interval(self) -> str:
        """Return the interval as text, nothing when it is not known."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return ""
        return f"{_fixed(self.low, self._decimals)} to {_fixed(self.high, self._decimals)}"

    @property
    def _decimals(self) -> int:
        # trailing zeros are kept: they say how much is known
        size = max(abs(v) for v in (self.mean, self.low, self.high) if math.isfinite(v))
        return min(max(2 - math.floor(math.log10(size)), 0), 8) if size > 0 else 0


@dataclass(frozen=True)
class Verdict:
    """One claim."""

    claim: str
    """Such as ``score >= 0.93``."""
    found: str
    """What came out, in words."""
    state: State


def estimate(data: Any) -> Estimate | None:
    """Return ``{"mean", "ci95"}`` as an Estimate; None when it is not one or its mean is not finite."""
    if not isinstance(data, Mapping):
        return None
    mean, interval = _number(data.get("mean")), data.get("ci95")
    ends = interval if isinstance(interval, (list, tuple)) and len(interval) == 2 else (math.nan, math.nan)
    unit = str(data.get("unit") or "")
    return (
        Estimate(mean, _number(ends[0]), _number(ends[1]), "" if unit == "1" else unit)
        if math.isfinite(mean)
        else None
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def figure_of(inputs: Inputs, policy: str, name: str) -> Estimate | None:
    """Return a policy's score, return or metric from the evaluation, or from the summary without one."""
    for source in (inputs.evaluation, inputs.summary):
        if name == "score":
            found = estimate(mapping(source, "score").get(policy))
        elif name == "return":
            found = estimate(mapping(source, "policies", policy).get("return"))
        else:
            found = estimate(mapping(source, "policies", policy, "metrics").get(name))
        if found is not None:
            return found
    return None


def metric_names(inputs: Inputs) -> list[str]:
    """Return every metric that some policy was evaluated by, in the order of the evaluation."""
    names: dict[str, None] = {}
    for source in (inputs.evaluation, inputs.summary):
        for policy in mapping(source, "policies"):
            names |= dict.fromkeys(mapping(source, "policies", policy, "metrics"))
    return list(names)


def policies_in(inputs: Inputs) -> list[str]:
    """Return the policies that were evaluated, the usual four first."""
    found = [*LABELS, *mapping(inputs.evaluation, "policies"), *mapping(inputs.summary, "policies")]
    return [name for name in dict.fromkeys(found) if figure_of(inputs, name, "return")]


def targets(inputs: Inputs) -> dict[str, float]:
    """Return the task's targets by metric; the summary's where the task names none."""
    given = (
        mapping(inputs.task, "targets")
        or mapping(inputs.config, "targets")
        or mapping(inputs.summary, "targets")
    )
    return {str(name): float(value) for name, value in given.items() if isinstance(value, (int, float))}


def judge(found: Estimate, target: float, at_least: bool) -> State:
    """Return whether an estimate reaches a target."""
    sign = 1.0 if at_least else -1.0
    worst = found.low if at_least else found.high
    if math.isfinite(worst) and sign * (worst - target) >= 0:
        return "holds"
    return "open" if sign * (found.mean - target) >= 0 else "fails"


def bound(name: str) -> str:
    """Return the sign between a metric and its target."""
    return "≥" if name in AT_LEAST else "≤"


def verdicts(inputs: Inputs) -> list[Verdict]:
    """Return all claims that this run can be judged by."""
    found = [_target_verdict(inputs, name, target) for name, target in targets(inputs).items()]
    found += [_onnx_verdict(inputs), _check_verdict(inputs), hacking_verdict(inputs), collapse_verdict(inputs)]
    return [*score_conditions(inputs), *(verdict for verdict in found if verdict is not None)]


def score_conditions(inputs: Inputs) -> list[Verdict]:
    """Return the claims without which a score says nothing: a teacher worth copying, a task that rewards acting."""
    return [verdict for verdict in (_floor_verdict(inputs), _zero_verdict(inputs)) if verdict is not None]


def _target_verdict(inputs: Inputs, name: str, target: float) -> Verdict | None:
    value = figure_of(inputs, "student", name)
    if value is None:
        return None
    claim = f"student's {words(name)} {bound(name)} {target:g}"
    found = f"{value.text} ({value.interval})" if value.interval else value.text
    return Verdict(claim, found, judge(value, target, name in AT_LEAST))


def _floor_verdict(inputs: Inputs) -> Verdict | None:
    floor, teacher = inputs.task.get("teacher_floor"), figure_of(inputs, "teacher", "return")
    if not isinstance(floor, (int, float)) or teacher is None:
        return None
    return Verdict(
        f"teacher's return ≥ {floor:g}", f"{teacher.text} ({teacher.interval})", judge(teacher, floor, True)
    )


def _zero_verdict(inputs: Inputs) -> Verdict | None:
    zero, teacher = figure_of(inputs, "zero_action", "return"), figure_of(inputs, "teacher", "return")
    if zero is None or teacher is None:
        return None
    state: State = "holds" if zero.mean <= ZERO_SHARE * teacher.mean else "fails"
    claim = f"doing nothing returns ≤ {ZERO_SHARE:g} of the teacher's"
    return Verdict(claim, f"{zero.text} of {teacher.text}", state)


def _onnx_verdict(inputs: Inputs) -> Verdict | None:
    onnx, student = figure_of(inputs, "onnx", "return"), figure_of(inputs, "student", "return")
    if onnx is None or student is None:
        return None
    difference = abs(onnx.mean - student.mean) / max(abs(student.mean), 1e-9)
    state: State = "holds" if difference <= ONNX_SHARE else "fails"
    return Verdict(
        f"policy.onnx returns what the student does, within {ONNX_SHARE:.0%}",
        f"differs by {difference:.2%}",
        state,
    )


def _check_verdict(inputs: Inputs) -> Verdict | None:
    if "passed" not in inputs.check:
        return None
    state: State = "holds" if inputs.check["passed"] else "fails"
    first = inputs.check.get("first_difference") or f"{inputs.check.get('ticks', '?')} ticks"
    return Verdict("the file passes the sim-to-sim check", str(first), state)


def hacking_verdict(inputs: Inputs) -> Verdict | None:
    """Return whether the return kept up with the imitation error; None where the log does not hold both."""
    lines = inputs.metrics.get(STUDENT, [])
    if not any(golden_and_proxy(line) for line in lines):
        return None
    split = find_split(lines, int(lines[-1]["iteration"]))
    claim = "no teacher hacking: the return does not fall while the imitation error does"
    return Verdict(claim, split.text if split else f"{len(lines)} iterations", "fails" if split else "holds")


def collapse_verdict(inputs: Inputs) -> Verdict | None:
    """Return whether an information bottleneck still tells of anything; None where the method has none."""
    told = find_collapse(inputs.metrics.get(STUDENT, []))
    if told is None:
        return None
    return Verdict("the latent has not collapsed", told.text, "fails" if told.collapsed else "holds")
