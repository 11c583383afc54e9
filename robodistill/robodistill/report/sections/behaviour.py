"""How the policies behave over time: recorded episodes, command against truth."""

from __future__ import annotations

import numpy as np

from robodistill.report.html import note, plot, section, signed, tabs
from robodistill.report.inputs import Inputs, control_dt, mapping, units_of
from robodistill.report.plots.tracking import joint_figure, recorded_policies, tracking_figure

MAX_RECORDED = 6

_TRACKING = (
    "Dotted: what was asked for; lines: what the base really did, in the frame of its heading. Red: a push, the same "
    "for all. A line that stops is a fall. Click in the legend to add the file and the zero action."
)
_JOINTS = "This task follows no command: the first positions of the model. A line that stops is an early end."


def tracking(inputs: Inputs) -> str:
    """Return command and truth over time of the recorded episodes."""
    policies = recorded_policies(inputs.trajectories)
    title = "Tracking over time" if inputs.commands or not policies else "Recorded episodes"
    if not policies:
        text = "No trajectories.npz: evaluate records a few episodes for this plot."
        return section("tracking", title, note(text))
    count = min(MAX_RECORDED, *(len(inputs.trajectories[f"{p}.qpos"]) for p in policies))
    panels = {_episode_title(inputs, row): _episode(inputs, row) for row in range(count)}
    shown = {name: body for name, body in panels.items() if body}
    body = tabs("episode", shown) if shown else note("The recorded episodes hold nothing to plot.")
    return section("tracking", title, body)


def _episode_title(inputs: Inputs, row: int) -> str:
    payload = inputs.trajectories.get("parameter.payload")
    if payload is None or len(payload) <= row:
        return f"Episode {row + 1}"
    unit = mapping(inputs.task, "parameters", "payload").get("unit") or ""
    return f"Episode {row + 1}, payload {signed(float(np.ravel(payload[row])[0]))} {unit}".rstrip()


def _episode(inputs: Inputs, row: int) -> str:
    dt, units = control_dt(inputs), units_of(mapping(inputs.task, "command").get("unit"))
    chart, text = tracking_figure(inputs.trajectories, row, inputs.commands, units, dt), _TRACKING
    if chart is None:
        chart, text = joint_figure(inputs.trajectories, row, dt), _JOINTS
    axes = sum(key.startswith("yaxis") for key in chart["layout"]) if chart else 1
    return plot(chart, text, height=90 + 160 * axes)
