"""One recorded episode over time: what was asked for, what the robot did, when it was pushed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill.report.plots.base import (
    NEUTRAL,
    PUSH,
    Figure,
    Trace,
    axis,
    color_of,
    label_of,
    line,
    numbers,
    words,
)

Arrays = Mapping[str, NDArray[Any]]

SHOWN = ("teacher", "student")
"""Policies visible at once; the others wait in the legend."""
MIN_PUSH = 0.1
"""[m/s] slower pushes are not worth a mark."""
_GAP = 0.06


def push_times(push: NDArray[Any], dt: float) -> list[tuple[float, float]]:
    """Return (time [s], speed [m/s]) of every push; ``push`` (T, 2) [m/s] jumps up at a push and then fades."""
    speed = np.linalg.norm(np.nan_to_num(push), axis=-1)
    before = np.concatenate(([0.0], speed[:-1]))
    return [(float(t * dt), float(speed[t])) for t in np.flatnonzero((speed > before + 0.02) & (speed >= MIN_PUSH))]


def recorded_policies(trajectories: Arrays, key: str = "qpos") -> list[str]:
    """Return the policies whose ``key`` was recorded."""
    return [name.rpartition(".")[0] for name in trajectories if name.endswith(f".{key}")]


def alive_until(trajectories: Arrays, policy: str, row: int, length: int) -> int:
    """Return how many ticks of a recorded episode passed before it ended."""
    alive = trajectories.get(f"{policy}.alive")
    if alive is None:
        return length
    ended = np.flatnonzero(~np.asarray(alive[row], bool))
    return int(ended[0]) if len(ended) else length


def tracking_figure(
    trajectories: Arrays, row: int, elements: Sequence[str], units: Sequence[str], dt: float
) -> Figure | None:
    """Return command and truth over time of recorded episode ``row``, one row of axes for each element."""
    policies = [p for p in recorded_policies(trajectories, "truth") if trajectories[f"{p}.truth"].shape[-1]]
    if not policies:
        return None
    tracked = {p: trajectories[f"{p}.truth"][row] for p in policies}
    # a command goes on after a fall, but belongs to the next episode: show that of the policy that stood longest
    lead = max(policies, key=lambda p: alive_until(trajectories, p, row, len(tracked[p])))
    command = trajectories.get(f"{lead}.command")
    count = next(iter(tracked.values())).shape[-1]
    traces: list[Trace] = []
    for i in range(count):
        if command is not None and i < command.shape[-1]:
            until = alive_until(trajectories, lead, row, command.shape[1])
            traces.append(_command_trace(command[row, :until, i], dt, i))
        for policy, values in tracked.items():
            until = alive_until(trajectories, policy, row, len(values))
            traces.append(_policy_trace(policy, values[:until, i], dt, i))
    titles = [_title(i, elements, units) for i in range(count)]
    return _stacked(traces, titles, _pushes(trajectories, row, dt))


def joint_figure(trajectories: Arrays, row: int, dt: float, limit: int = 3) -> Figure | None:
    """Return the first ``limit`` positions of the model over time, for tasks that follow no command."""
    policies = recorded_policies(trajectories)
    if not policies:
        return None
    count = min(limit, *(trajectories[f"{p}.qpos"].shape[-1] for p in policies))
    traces: list[Trace] = []
    for i in range(count):
        for policy in policies:
            values = trajectories[f"{policy}.qpos"][row]
            until = alive_until(trajectories, policy, row, len(values))
            traces.append(_policy_trace(policy, values[:until, i], dt, i))
    return _stacked(traces, [f"qpos[{i}]" for i in range(count)], _pushes(trajectories, row, dt))


def _title(i: int, elements: Sequence[str], units: Sequence[str]) -> str:
    name = words(elements[i]) if i < len(elements) else f"element {i}"
    return f"{name} [{units[i]}]" if i < len(units) and units[i] not in ("", "1") else name


def _command_trace(values: NDArray[Any], dt: float, row: int) -> Trace:
    """A command only where it changes: a step of a few points."""
    changes = np.flatnonzero(np.diff(values, prepend=np.nan, append=np.nan) != 0)
    kept = np.unique(np.clip(changes, 0, max(len(values) - 1, 0)))[: len(values)]
    style = {"dash": "dot", "shape": "hv"}
    more = {
        "legendgroup": "command",
        "showlegend": row == 0,
        "hovertemplate": "%{y:.2f}<extra>Command</extra>",
    }
    return line(
        numbers(kept * dt), numbers(values[kept]), "Command", NEUTRAL, 2.2, line=style, **_at(row), **more
    )


def _policy_trace(policy: str, values: NDArray[Any], dt: float, row: int) -> Trace:
    name = label_of(policy)
    more: dict[str, Any] = {"legendgroup": policy, "showlegend": row == 0}
    more["hovertemplate"] = f"%{{y:.3f}}<extra>{name}</extra>"
    if policy not in SHOWN:
        more["visible"] = "legendonly"
    times = numbers(np.arange(len(values)) * dt)
    return line(times, numbers(values, 4), name, color_of(policy), 1.6, **_at(row), **more)


def _at(row: int) -> dict[str, str]:
    return {"xaxis": "x", "yaxis": f"y{row + 1}" if row else "y"}


def _pushes(trajectories: Arrays, row: int, dt: float) -> list[tuple[float, float]]:
    name = next(
        (p for p in ("student", *recorded_policies(trajectories, "push")) if f"{p}.push" in trajectories),
        None,
    )
    if name is None:
        return []
    push = trajectories[f"{name}.push"][row]
    return push_times(push[: alive_until(trajectories, name, row, len(push))], dt)


def _stacked(traces: list[Trace], titles: Sequence[str], pushes: Sequence[tuple[float, float]]) -> Figure:
    """Return axes above each other with time in common and a red line at every push."""
    count = max(1, len(titles))
    height = (1.0 - _GAP * (count - 1)) / count
    layout: dict[str, Any] = {
        "xaxis": axis("time [s]", anchor=f"y{count}" if count > 1 else "y"), "hovermode": "x unified",
        "legend": {"orientation": "h", "y": 1.07, "yanchor": "bottom", "x": 0}, "showlegend": True,
    }  # fmt: skip
    for i, title in enumerate(titles):
        top = 1.0 - i * (height + _GAP)
        layout[f"yaxis{i + 1 if i else ''}"] = axis(title, domain=[max(0.0, top - height), top])
    layout["shapes"] = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": t, "x1": t, "y0": 0, "y1": 1, "layer": "below",
         "line": {"color": PUSH, "width": 1.5}} for t, _ in pushes
    ]  # fmt: skip
    layout["annotations"] = [
        {"x": t, "y": 1, "xref": "x", "yref": "paper", "yanchor": "bottom", "xanchor": "center", "showarrow": False,
         "text": f"push {speed:.1f} m/s", "font": {"size": 11, "color": PUSH}} for t, speed in pushes
    ]  # fmt: skip
    return {"data": traces, "layout": layout}
