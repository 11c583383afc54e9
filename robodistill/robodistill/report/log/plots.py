"""Plots of a log: modes and events, joints, the effort that was asked for, latencies."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from robodistill.report.plots.base import (
    COLORS,
    NEUTRAL,
    OTHERS,
    PUSH,
    Figure,
    Trace,
    axis,
    figure,
    line,
    numbers,
)
from robodistill_deploy.blackbox.log import Log
from robodistill_deploy.blackbox.row import MODES
from robodistill_deploy.safety.layout import POSITION, VELOCITY

Array = NDArray[np.float64]

TARGET, MEASURED, LIMIT = COLORS["student"], COLORS["teacher"], NEUTRAL
BINS = 600
"""Pieces of a line; of each, the lowest and the highest point are drawn."""


def peaks(values: Array, bins: int = BINS) -> NDArray[np.intp]:
    """Return indices of at most two points per piece of ``values`` (T,): no peak is lost by thinning."""
    if len(values) <= 2 * bins:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), bins + 1).astype(int)
    kept: set[int] = {0, len(values) - 1}
    for begin, end in itertools.pairwise(edges.tolist()):
        piece = values[begin:end]
        known = np.flatnonzero(np.isfinite(piece))
        if known.size:
            kept |= {begin + int(known[np.argmin(piece[known])]), begin + int(known[np.argmax(piece[known])])}
        else:
            kept.add(int(begin))
    return np.array(sorted(kept))


def time_of(log: Log) -> Array:
    """Return seconds since the first tick, (T,)."""
    return log.rows["stamp"] - log.rows["stamp"][0]


def timeline(log: Log) -> Figure:
    """Return the mode as steps, and events as points on it."""
    t, mode = time_of(log), log.rows["mode"].astype(int)
    turns = np.flatnonzero(np.diff(mode, prepend=-1))
    x, y = [*numbers(t[turns], 8), *numbers(t[-1:], 8)], [*mode[turns].tolist(), int(mode[-1])]
    traces: list[Trace] = [line(x, y, "mode", NEUTRAL, 3, line={"shape": "hv"}, hoverinfo="skip")]
    acted = [event for event in log.events if event["name"] != "mode"]
    for name, trip, color in (("limit kept", False, OTHERS[0]), ("trip", True, PUSH)):
        own = [event for event in acted if event["trip"] is trip]
        at = np.array([event["t"] for event in own], np.float64) - log.rows["stamp"][0]
        place = np.clip(np.searchsorted(t, at), 0, len(t) - 1)
        traces.append({
            "type": "scatter", "mode": "markers", "name": name, "x": numbers(at, 8), "y": mode[place].tolist(),
            "text": [event["message"] for event in own], "marker": {"color": color, "size": 13 if trip else 7},
            "hovertemplate": "%{x:.3f} s: %{text}<extra></extra>",
        })  # fmt: skip
    plot = figure(traces, "time [s]")
    ticks = {"tickvals": list(range(len(MODES))), "ticktext": [each.value.replace("_", " ") for each in MODES]}
    plot["layout"]["yaxis"] = axis("", **ticks, range=[-0.5, len(MODES) - 0.5])
    return plot


def joint(log: Log, name: str) -> Figure | None:
    """Return target and measured position of one joint; None where the robot does not measure it."""
    measured = _measured(log, POSITION, name)
    if measured is None:
        return None
    i = log.about.joints.index(name)
    held = log.rows["command.kp"][:, i] > 0.0  # damping has no target
    target = np.where(held, log.rows["command.position"][:, i], np.nan)
    return _lines(log, {"measured": (measured, MEASURED), "target": (target, TARGET)}, f"[{_unit(log, POSITION)}]")


def effort(log: Log, name: str) -> Figure | None:
    """Return the effort that one motor was asked for, and its limit; None where speeds are not measured."""
    q, dq = _measured(log, POSITION, name), _measured(log, VELOCITY, name)
    if dq is None:
        return None
    i, rows = log.about.joints.index(name), log.rows
    asked = rows["command.kd"][:, i] * (rows["command.velocity"][:, i] - dq) + rows["command.effort"][:, i]
    if q is not None:
        asked = asked + rows["command.kp"][:, i] * (rows["command.position"][:, i] - q)
    limits = [
        limit for part in log.about.policy.interface.actions
        for own, limit in zip(part.names, part.effort_limit, strict=True) if own == name
    ]  # fmt: skip
    plot = _lines(log, {"asked for": (asked, TARGET)}, "[N m]")
    ends = numbers(time_of(log)[[0, -1]], 8)
    for sign in (1.0, -1.0):
        plot["data"] += [line(ends, [sign * v] * 2, "limit", LIMIT, 1, line={"dash": "dot"}) for v in limits]
    return plot


def latencies(log: Log) -> dict[str, Array]:
    """Return what took how long, [s], per tick: (T,) each."""
    stamp = log.rows["stamp"]
    return {
        "work of a tick": log.rows["busy"],
        "between ticks": np.diff(stamp, prepend=np.nan),
        "late for the tick": stamp - log.rows["due"],
        "age of the reading": np.where(log.rows["reading_state"] > 0, stamp - log.rows["reading_stamp"], np.nan),
    }


def latency(log: Log) -> Figure:
    """Return the latencies over time."""
    colors = (COLORS["student"], COLORS["teacher"], COLORS["onnx"], OTHERS[0])
    found = latencies(log).items()
    lines = {name: (1e3 * v, color) for (name, v), color in zip(found, colors, strict=True)}
    plot = _lines(log, lines, "[ms]")
    plot["layout"]["showlegend"] = True
    return plot


def _measured(log: Log, signal: str, name: str) -> Array | None:
    elements = log.about.signals.get(signal, ())
    return log.rows[f"signals.{signal}"][:, elements.index(name)] if name in elements else None


def _unit(log: Log, signal: str) -> str:
    return next((s.unit for s in log.about.policy.interface.signals if s.name == signal), "rad")


def _lines(log: Log, values: dict[str, tuple[Array, str]], y: str) -> Figure:
    t = time_of(log)
    traces = []
    for name, (value, color) in values.items():
        kept = peaks(value)
        traces.append(line(numbers(t[kept], 8), numbers(value[kept]), name, color, 1.4))
    return figure(traces, "time [s]", y, showlegend=False)
