"""Under which conditions it goes wrong: falls by randomised parameter, errors by command."""

from __future__ import annotations

import re

import numpy as np

from robodistill.report.html import grid, how, legend, note, plot, section
from robodistill.report.inputs import Inputs, mapping, units_of
from robodistill.report.plots.base import Figure, heading, label_of, words
from robodistill.report.plots.errors import Segments, error_by_command, error_heatmap, moving, segments_of
from robodistill.report.plots.falls import factors, falls_by, return_by

COMPARED = ("teacher", "student")
_READ = "A slope that leaves the whiskers is a weakness to train on; overlapping whiskers say nothing."
_BINS = f"in six bins with equally many episodes each; whiskers are 95% Wilson intervals. {_READ}"
_NORMAL = f"in six bins with equally many episodes each; whiskers are 95% intervals. {_READ}"


def by_parameter(inputs: Inputs) -> str:
    """Return the share of falls by each randomised parameter, or the return where nobody fell."""
    parameters = mapping(inputs.task, "parameters")
    units = {name: str(mapping(parameters, name).get("unit") or "") for name in parameters}
    found = factors(inputs.episodes, units)
    fallen = {
        p: np.asarray(inputs.episodes[f"{p}.fell"], bool) for p in COMPARED if f"{p}.fell" in inputs.episodes
    }
    if not fallen or not found:
        text = "No episodes.npz with falls and parameters: run robodistill evaluate."
        return section("parameters", "Falls by randomised parameter", note(text))
    told = " ".join(
        f"{label_of(p)}: {int(f.sum())} of {len(f)} episodes ended in a fall." for p, f in fallen.items()
    )
    returns = {p: inputs.episodes[f"{p}.return"] for p in fallen if f"{p}.return" in inputs.episodes}
    if any(f.any() for f in fallen.values()) or not returns:
        charts, text = (
            {f.name: falls_by(f, fallen) for f in found},
            how(f"Share of episodes that ended in a fall, {_BINS}"),
        )
        title = "Falls by randomised parameter"
    else:
        charts, text = (
            {f.name: return_by(f, returns) for f in found},
            how(f"Mean return of the episodes, {_NORMAL}"),
        )
        title = "Return by randomised parameter"
    panels = [plot(chart, height=190, title=heading(name), small=True) for name, chart in charts.items()]
    return section("parameters", title, legend(fallen) + grid(panels, "plots") + text, told)


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
        + _standing(inputs, metrics)
    )
    body = legend(policies) + grid(panels, "plots") + text + grid(maps, "maps")
    return section("errors", title, body)


def _standing(inputs: Inputs, metrics: list[str]) -> str:
    """Say how large the student's errors are when it is asked to stand still, which the plots leave out."""
    still = ~moving(inputs.episodes["command"])
    told = []
    for metric in metrics:
        rooted, unit = _reduction(inputs, metric)
        data = segments_of(inputs.episodes, "student", metric, rooted)
        if data is not None and still.any():
            told.append(f"{words(metric)} {data.total(still):.3f} {unit}".rstrip())
    count = int(still.sum())
    return f" Left out: {count} commands to stand still (student's {', '.join(told)})." if told else ""


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
