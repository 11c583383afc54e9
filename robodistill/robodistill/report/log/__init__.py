"""One run on a robot, from its log, as a page: ``write_log_page(log, path)``."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill.files import write_text
from robodistill.report.html import chips, grid, how, note, plot, section, table
from robodistill.report.log import plots
from robodistill.report.page import shell
from robodistill.report.plots.base import duration
from robodistill_deploy.blackbox.log import Log
from robodistill_deploy.blackbox.row import Row
from robodistill_deploy.errors import RobodistillError

__all__ = ["render_log_page", "write_log_page"]

MOST_EVENTS = 200
"""Rows of the table of events; a limit that is touched at every step makes thousands."""


def write_log_page(log: Log, path: Path) -> None:
    """Write the page to ``path``."""
    write_text(path, render_log_page(log))


def render_log_page(log: Log) -> str:
    """Return the page as text, self-contained."""
    if not len(log.rows):
        raise RobodistillError(f"{log.path}: holds no tick; the run ended before its first one was written")
    navigation = (
        ("run", "Run"), ("events", "Events"), ("joints", "Joints"), ("effort", "Effort"), ("latency", "Latency"),
    )  # fmt: skip
    body = _run(log) + _events(log) + _joints(log) + _effort(log) + _latency(log)
    return shell(f"{log.path.name}: {log.about.policy.interface.robot}", navigation, body)


def _run(log: Log) -> str:
    about = log.about
    trip = next((event["message"] for event in log.events if event["trip"]), "none")
    rows = {
        "policy": f"{about.policy.interface.task}, digest {about.digest[:12]}",
        "robot": f"{about.policy.interface.robot}, driver {about.driver or 'unknown'}",
        "began": about.created,
        "length": duration(float(log.rows["stamp"][-1] - log.rows["stamp"][0])),
        "ticks": f"{len(log.rows)} of commands, {int(log.rows['policy_ran'].sum())} of the policy",
        "missed by the runner": "{} times due for a command, {} for the policy".format(*missed(log)),
        "dropped from the log": f"{log.dropped} ticks" if log.dropped else "none",
        "end": "closed" if log.complete else "cut off: the program was killed, or the disk was full",
        "trip": trip,
    }
    return section("run", "Run", table((), [(escape(name), escape(text)) for name, text in rows.items()]))


def missed(log: Log) -> tuple[int, int]:
    """Return how many times due for a command, and for the policy, passed without one.

    Only between rows that follow one another: what was dropped from the log is another count. A late tick of the policy
    sends a command, too: the run's own summary calls that time missed, this count does not.
    """
    rows, about = log.rows, log.about
    ran = np.flatnonzero(rows["policy_ran"])
    return (
        _skipped(rows["due"], rows["sequence"], 1.0 / about.command_rate),
        sum(
            _skipped(rows["due"][own], np.arange(own.size), about.policy.interface.control_dt)
            for own in np.split(ran, np.flatnonzero(_parted(rows, ran)) + 1)
        ),
    )


def _parted(rows: Row, ran: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return between which ticks of the policy the log lacks rows."""
    return np.diff(rows["sequence"][ran].astype(np.int64)) != np.diff(ran)


def _skipped(due: NDArray[np.float64], sequence: NDArray[Any], period: float) -> int:
    steps = np.rint(np.diff(due) / period).astype(np.int64)
    return int(np.maximum(steps - 1, 0)[np.diff(sequence.astype(np.int64)) == 1].sum())


def _events(log: Log) -> str:
    lead = "Each point is a rule that acted; hover to read it. Red ones damped the robot."
    found = plot(plots.timeline(log), lead, 260)
    start = float(log.rows["stamp"][0])
    rows = [(f"{event['t'] - start:.3f} s", escape(event["message"])) for event in log.events[:MOST_EVENTS]]
    more = len(log.events) - len(rows)
    rest = note(f"{more} more events are in the log.") if more > 0 else ""
    return section("events", "Events", found + table(("time", "event"), rows) + rest)


def _joints(log: Log) -> str:
    figures = [plot(plots.joint(log, name), height=200, title=name, small=True) for name in log.about.joints]
    lead = "What each joint was told, after the safety filter, and where it was."
    legend = chips({"target": plots.TARGET, "measured": plots.MEASURED})
    return section("joints", "Joints", legend + grid(figures) or note("The log holds no joint positions."), lead)


def _effort(log: Log) -> str:
    figures = [plot(plots.effort(log, name), height=200, title=name, small=True) for name in log.about.joints]
    lead = "kp (target - position) + kd (target speed - speed) + effort: what the motor was asked for, not measured."
    legend = chips({"asked for": plots.TARGET, "limit": plots.LIMIT})
    return section("effort", "Effort", legend + grid(figures) or note("The log holds no joint speeds."), lead)


def _latency(log: Log) -> str:
    rows = []
    for name, values in plots.latencies(log).items():
        kept = values[np.isfinite(values)]
        if kept.size:
            figures = (*np.quantile(kept, (0.5, 0.99, 0.999)), kept.max())
            rows.append((escape(name), *(f"{1e3 * value:.2f}" for value in figures)))
    body = plot(plots.latency(log), "Peaks are kept.") + table(("[ms]", "p50", "p99", "p99.9", "longest"), rows)
    return section("latency", "Latency", body + how("A tick's work ends when its command is sent."))
