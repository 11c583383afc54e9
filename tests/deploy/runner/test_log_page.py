"""The page of a log: it shows what was recorded, and thinning loses no peak."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("plotly")

from robodistill.report.log import missed, plots, render_log_page
from robodistill.verbs import report
from robodistill_deploy.blackbox.about import about
from robodistill_deploy.blackbox.log import Log, read_log
from robodistill_deploy.blackbox.recorder import BlackBox
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.operators import Fixed
from robodistill_deploy.runner import Runner, Settings, Summary
from robodistill_deploy.runtime import Policy

Missed = Callable[[dict[int, float]], tuple[Log, Summary]]


@pytest.fixture
def held_up(policy: Policy, driver: Any, clock: Any, tmp_path: Path) -> Missed:
    """``held_up({300: 0.012})``: a run of 3 s that stands still for 12 ms after its 300th command."""

    def call(pauses: dict[int, float]) -> tuple[Log, Summary]:
        write = driver.write

        def slow(command: Any) -> None:
            write(command)
            clock.t += pauses.get(len(driver.written), 0.0)

        driver.write = slow
        settings = Settings(preflight_seconds=0.0)
        runner = Runner(policy, driver, Fixed((0.5, 0.2)), settings, clock=clock)
        path = tmp_path / "held_up.mcap"
        with BlackBox(path, about(policy, runner.layout, settings, "fake")) as box:
            summary = Runner(policy, driver, Fixed((0.5, 0.2)), settings, clock=clock, observer=box).run(3.0)
        return read_log(path), summary

    return call


@pytest.fixture
def log(policy: Policy, driver: Any, clock: Any, tmp_path: Path) -> Log:
    """A run that ends with a trip: its readings stop."""
    driver.faults = lambda r: None if r.stamp > 102.6 else r
    settings = Settings(preflight_seconds=0.0)
    runner = Runner(policy, driver, Fixed((0.5, 0.2)), settings, clock=clock)
    path = tmp_path / "run.mcap"
    with BlackBox(path, about(policy, runner.layout, settings, "<fake>")) as box:
        Runner(policy, driver, Fixed((0.5, 0.2)), settings, clock=clock, observer=box).run(3.0)
    return read_log(path)


def test_the_page_shows_joints_events_and_latencies(log: Log, tmp_path: Path) -> None:
    assert report.run_words(["log", str(log.path)]) == 0
    text = (tmp_path / "run.mcap.html").read_text()
    for word in ("thigh", "stale: newest reading", "age of the reading", log.about.digest[:12], "&lt;fake&gt;"):
        assert word in text
    assert "<fake>" not in text


def test_the_page_counts_what_the_runner_missed_apart_from_what_the_log_lacks(held_up: Missed) -> None:
    log, summary = held_up({300: 0.032, 350: 0.012})
    assert missed(log) == (summary.missed_commands, 0) == (6, 0)
    lacking = dataclasses.replace(log, rows=np.delete(log.rows, slice(100, 150)), dropped=50)
    assert missed(lacking) == (6, 0)
    page = render_log_page(lacking)
    assert "6 times due for a command, 0 for the policy" in page
    assert "50 ticks" in page


def test_the_page_counts_what_the_policy_missed(held_up: Missed) -> None:
    log, summary = held_up({500: 0.063, 530: 0.079})
    assert missed(log)[1] == summary.missed_policies > 0
    assert 0 < missed(log)[0] <= summary.missed_commands


def test_lines_are_those_of_the_log(log: Log) -> None:
    thigh = plots.joint(log, "thigh")
    assert thigh is not None
    measured, target = (next(d for d in thigh["data"] if d["name"] == name) for name in ("measured", "target"))
    place = log.about.signals["joint_pos"].index("thigh")
    np.testing.assert_allclose(measured["y"], log.rows["signals.joint_pos"][:, place], rtol=1e-4)
    assert target["y"][-1] is None  # damped at the end
    wanted = log.rows["command.position"][450, log.about.joints.index("thigh")]
    assert target["y"][450] == pytest.approx(wanted, rel=1e-4)
    asked = plots.effort(log, "thigh")
    assert asked is not None
    assert max(abs(v) for v in asked["data"][0]["y"]) <= 23.7 * 1.001
    trips = next(d for d in plots.timeline(log)["data"] if d["name"] == "trip")
    assert trips["x"] == [pytest.approx(2.65, abs=0.011)]


def test_no_peak_is_lost() -> None:
    values = np.sin(np.linspace(0.0, 30.0, 100_000))
    values[31_415], values[77_777] = 9.0, np.nan
    kept = plots.peaks(values)
    assert len(kept) <= 2 * plots.BINS + 2
    assert 31_415 in kept
    assert 31_415 not in np.linspace(0, len(values) - 1, 2 * plots.BINS).astype(int)  # as a plain stride would


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["log"], "name one log"),
        (["log", "a", "b"], "name one log"),
        (["log", "a", "out=b.txt"], "ends in .html"),
        (["log", "none.mcap"], "cannot be read"),
        (["lgo"], "did you mean 'log'"),
    ],
)
def test_wrong_words_name_the_fix(words: list[str], message: str) -> None:
    with pytest.raises(RobodistillError, match=message):
        report.run_words(words)


def test_a_log_without_ticks_is_said(log: Log) -> None:
    with pytest.raises(RobodistillError, match="holds no tick"):
        render_log_page(dataclasses.replace(log, rows=log.rows[:0]))
