"""What the evaluation found: policies side by side, pair by pair, and what the latent knows."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from robodistill.report.html import (
    grid,
    how,
    legend,
    note,
    plain_unit,
    plot,
    section,
    signed,
    strip,
    table,
)
from robodistill.report.inputs import Inputs, mapping
from robodistill.report.plots.base import heading, label_of
from robodistill.report.plots.latent import r2_figure
from robodistill.report.plots.pairs import difference_histogram, paired_returns, paired_scatter
from robodistill.report.verdicts import figure_of, metric_names, policies_in, targets

_SETTLED = "without the first second after each command change; pushes included"
EXPLANATIONS = {
    "score": "(R − R of zero action) / (R of teacher − R of zero action), on the same seeds",
    "return": "R, the sum of rewards of an episode",
    "velocity_rmse": f"vx and vy jointly, {_SETTLED}",
    "velocity_rmse_unsettled": "the same with that second",
    "yaw_rate_rmse": _SETTLED,
    "yaw_rate_rmse_unsettled": "the same with that second",
    "falls_per_minute": "early ends per minute of operation",
    "cost_of_transport": "mechanical energy per weight and distance",
    "torque_peak": "largest joint torque of an episode",
}


def comparison(inputs: Inputs) -> str:
    """Return the policies side by side."""
    title, policies = "Policies side by side", policies_in(inputs)
    if not policies:
        return section("comparison", title, note("No evaluation yet: run robodistill evaluate."))
    names = ("score", "return", *metric_names(inputs))
    rows = [row for name in names if (row := _row(inputs, name, policies))]
    body = legend(policies) + table(("", *(label_of(p) for p in policies), "on one scale"), rows, "metrics")
    episodes, seed = inputs.evaluation.get("episodes"), inputs.evaluation.get("seed")
    lead = "Mean, and below it the 95% bootstrap interval over episodes; an upright line is a target."
    if episodes:
        lead = f"{episodes} episodes for each, all with the same draws (seed {seed}). {lead}"
    error = inputs.evaluation.get("onnx_max_abs_error")
    if isinstance(error, (int, float)) and math.isfinite(error):
        body += how(
            f"Largest difference between the actions of policy.onnx and of the torch student: {error:.1e}."
        )
    return section("comparison", title, body + _pairs(inputs), lead)


def _row(inputs: Inputs, name: str, policies: list[str]) -> list[str]:
    """Return a metric's cells, none when no policy has it."""
    values = {p: v for p in policies if (v := figure_of(inputs, p, name)) is not None}
    if not values:
        return []
    unit, about = (
        plain_unit(next((v.unit for v in values.values() if v.unit), "")),
        EXPLANATIONS.get(name, ""),
    )
    title = f"<strong>{escape(heading(name))}</strong>"
    title += f' <small class="unit">{escape(unit)}</small>' if unit else ""
    title += f"<small>{escape(about)}</small>" if about else ""
    told = {policy: f"{value.text}<small>{value.interval}</small>" for policy, value in values.items()}
    scale = strip(values, name, targets(inputs).get(name), zero=name != "score")
    return [title, *(told.get(policy, "–") for policy in policies), scale]


def _pairs(inputs: Inputs) -> str:
    pair = paired_returns(inputs.episodes, "student", "teacher")
    if pair is None:
        return note("No episodes.npz with returns of teacher and student: pairs cannot be shown.")
    difference = pair[0] - pair[1]
    scatter = plot(
        paired_scatter(inputs.episodes),
        "Each point is one world that both drove: same robot, same commands, same pushes. On the dotted line they are "
        "equal; points far below are where the student needs help.",
        height=400, title="Student against teacher, episode by episode",
    )  # fmt: skip
    middle = signed(float(np.nanmedian(difference)), 2)
    spread = plot(
        difference_histogram(inputs.episodes),
        f"The student is ahead in {float((difference > 0).mean()):.0%} of the worlds; the median difference is "
        f"{middle} (blue line). Far to the left are worlds that only the student failed in.",
        height=400, title="Difference of the returns",
    )  # fmt: skip
    return grid([scatter, spread], "maps")


def latent(inputs: Inputs) -> str:
    """Return how well privileged quantities can be read from the student's latent."""
    title, found = "What the student knows without being told", mapping(inputs.evaluation, "r2")
    chart = r2_figure(found, mapping(inputs.evaluation, "r2_baseline"))
    if chart is None:
        text = "No R² in the evaluation: the student has no latent, or was not evaluated yet."
        return section("latent", title, note(text))
    text = (
        "A linear probe predicts what only the simulator knows. Blue: from the student's latent, its memory of what it "
        "sensed; grey: from one observation. 1 is perfect, 0 no better than the mean; blue to the right of grey is "
        "what memory adds; left of it, the latent leaves out what the observation shows anyway. Small dots: elements."
    )
    terms = len(chart["layout"]["yaxis"]["tickvals"])
    return section("latent", title, plot(chart, text, height=90 + 30 * terms))
