"""Under which conditions it goes wrong: falls by randomised parameter, errors by command."""

from __future__ import annotations

import re

import numpy as np

from robodistill.report.html import grid, how, legend, note, plot, section
from robodistill.report.inputs import Inputs, mapping, units_of
from robodistill.report.plots.base import Figure, heading, label_of, words
from robodistill.report.plots.errors import Segments, error_by_command, error_heatmap, segments_of
from robodistill.report.plots.falls import factors, falls_by

COMPARED = ("teacher", "student")


def falls(inputs: Inputs) -> str:
    """Return the share of falls by each randomised parameter."""
    title = "Falls by randomised parameter"
    fallen = {
        p: np.asarray(inputs.episodes[f"{p}.fell"], bool) for p in COMPARED if f"{p}.fell" in inputs.episodes
    }
    parameters = mapping(inputs.task, "parameters")
    units = {name: str(mapping(parameters, name).get("unit") or "") for name in parameters}
    found = factors(inputs.episodes, units)
    if not fallen or not found:
        text = "No episodes.npz with falls and parameters: run robodistill evaluate."
        return section("falls", title, note(text))
    told = [f"{label_of(p)}: {int(f.sum())} of {len(f)} episodes ended in a fall." for p, f in fallen.items()]
    panels = [plot(falls_by(f, fallen), height=190, title=heading(f.name), small=True) for f in found]
    text = how(
        "Share of episodes that ended in a fall, in six bins with equally many episodes each; whiskers are 95% Wilson "
        "intervals. A slope that leaves the whiskers is a weakness to train on; overlapping whiskers say nothing."
    )
    return section("falls", title, legend(fallen) + grid(panels, "plots") + text, " ".join(told))


def errors(inputs: Inputs) -> str:
    """Return tracking errors by what was asked for."""
    title, command = "Tracking error by command", inputs.episodes.get("command")
    found = (re.fullmatch(r".+\.segment\.(.+)\.num", key) for key in inputs.episodes)
    metrics = list(dict.fromkeys(match.group(1) for match in found if match))
    if command is None or command.ndim != 3 or not command.shape[-1] or not metrics:
        text = "No errors per command in episodes.npz: the task follows none, or was not evaluated yet."
        return section("errors", title, note(text))
    panels = [panel for metric in metrics for panel in _lines(inputs, metric, command.shape[-1])]
    maps = [_map(inputs, metric) for metric in metrics]
    policies = [p for p in COMPARED if segments_of(inputs.episodes, p, metrics[0], rooted=True)]
    text = how(
        "Error over held commands in bins with equally many commands, the first second after a change left out. Lines "
        "that rise to the ends say that fast commands are followed worse; the teacher knows the true velocity."
    )
    body = legend(policies) + grid(panels, "plots") + text + grid(maps, "maps")
    return section("errors", title, body)


def _reduction(inputs: Inputs, metric: str) -> tuple[bool, str]:
    """Return whether a metric is the root of a ratio, and its unit."""
    for entry in inputs.task.get("metrics") or ():
        if isinstance(entry, dict) and entry.get("name") == metric:
            return entry.get("reduce") == "root_ratio", str(entry.get("unit") or "")
    return metric.endswith("rmse"), ""


def _elements(inputs: Inputs, count: int) -> list[tuple[str, str]]:
    """Return name and axis title of each element of the command."""
    units = units_of(mapping(inputs.task, "command").get("unit"))
    names = [words(n) for n in inputs.commands] + [f"command {i}" for i in range(len(inputs.commands), count)]
    return [
        (names[i], f"{names[i]} [{units[i]}]" if i < len(units) and units[i] else names[i])
        for i in range(count)
    ]


def _lines(inputs: Inputs, metric: str, count: int) -> list[str]:
    rooted, unit = _reduction(inputs, metric)
    found = {policy: segments_of(inputs.episodes, policy, metric, rooted) for policy in COMPARED}
    data: dict[str, Segments] = {policy: sums for policy, sums in found.items() if sums is not None}
    panels = []
    for i, (name, title) in enumerate(_elements(inputs, count)):
        chart = error_by_command(inputs.episodes["command"], i, data, title, unit)
        panels.append(plot(chart, height=200, small=True, title=f"{heading(metric)} by {name}"))
    return panels


def _map(inputs: Inputs, metric: str) -> str:
    """Return the student's error over the first and the last element of the command."""
    command = inputs.episodes["command"]
    rooted, unit = _reduction(inputs, metric)
    data, last = segments_of(inputs.episodes, "student", metric, rooted), command.shape[-1] - 1
    if data is None or not last:
        return ""
    titles = [title for _, title in _elements(inputs, last + 1)]
    chart: Figure | None = error_heatmap(command, (0, last), data, (titles[0], titles[last]))
    text = "Each cell is the student's error over the commands that fall into it; darker is worse."
    return plot(chart, text, height=330, title=f"Student's {words(metric)}{f' [{unit}]' if unit else ''}")
