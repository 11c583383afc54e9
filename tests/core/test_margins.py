"""Margins: where growing and bisecting ends, what is commanded meanwhile, what is written about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from robodistill.config import compose, decode
from robodistill.margins import SWEEPS, Sweep, Trial, chosen, commands, measure
from robodistill.margins_output import margins_dict, margins_table, write_margins
from robodistill.verbs.check import run_words
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.config import TaskConfig
from robodistill_envs.interface import interface_of

SWEEP = Sweep("payload", "kg", 0.0, (1.0, 2.0, 4.0, 8.0))


def falls_from(edge: float, tried: list[float]) -> Callable[[str, float], Trial]:
    def run(option: str, level: float) -> Trial:
        assert option == "payload"
        tried.append(level)
        return Trial(level, level < edge, "" if level < edge else f"fell at {level:g} s", {})

    return run


@pytest.mark.parametrize(
    ("edge", "bisections", "survives", "fails", "tried"),
    [
        (3.0, 0, 2.0, 4.0, [1, 2, 4]),
        (3.2, 2, 3.0, 3.5, [1, 2, 4, 3, 3.5]),
        (2.6, 2, 2.5, 3.0, [1, 2, 4, 3, 2.5]),
        (0.5, 1, 0.0, 0.5, [1, 0.5]),
        (99.0, 3, 8.0, None, [1, 2, 4, 8]),
    ],
)
def test_it_grows_until_the_fall_then_halves_the_gap(
    edge: float, bisections: int, survives: float, fails: float | None, tried: list[float]
) -> None:
    order: list[float] = []
    margin = measure(SWEEP, "payload", falls_from(edge, order), bisections)
    assert (margin.survives, margin.fails) == (survives, fails)
    assert order == tried
    assert margin.why == ("" if fails is None else f"fell at {fails:g} s")


def test_gain_shrinks_too() -> None:
    def run(option: str, level: float) -> Trial:
        return Trial(level, level > 0.4, "fell", {})

    margin = measure(SWEEPS["gain_down"], "gain_down", run, 1)
    assert margin.survives == 0.45
    assert margin.fails == pytest.approx(0.325)


def test_every_axis_is_commanded_within_its_range() -> None:
    interface = interface_of(decode(TaskConfig, compose(["task=go2_flat"])["task"]))
    script = list(commands(interface, 1.0, 12.0))
    assert script[0] == (0.0, (0.0, 0.0, 0.0))
    assert [start for start, _ in script[1:]] == [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]
    assert script[1][1] == pytest.approx((1.05, 0.0, 0.0))
    assert script[2][1] == pytest.approx((0.0, 0.0, 0.84))
    assert script[3][1] == pytest.approx((0.0, 0.42, 0.0))
    for axis, high in enumerate(interface.commands[0].upper):
        values = [command[axis] for _, command in script]
        assert min(values) == 0.0, "what goes both ways cancels in a mean"
        assert 0.0 < max(values) < high
    swingup = interface_of(decode(TaskConfig, compose(["task=pendulum_swingup"])["task"]))
    assert list(commands(swingup, 1.0, 12.0)) == [(0.0, ())]


def test_what_is_written_tells_margin_and_reason(tmp_path: Path) -> None:
    margins = [measure(SWEEP, "payload", falls_from(edge, []), 1) for edge in (3.0, 99.0)]
    nominal = Trial(0.0, True, "", {"fell": False})
    files = write_margins(tmp_path / "check", margins_dict(nominal, margins[:1], seed=3), margins)
    data = json.loads(files[0].read_text())
    assert data["passed"] is True
    assert data["seed"] == 3
    assert data["margins"]["payload"]["survives"] == 2.0
    assert data["margins"]["payload"]["fails"] == 3.0
    assert data["margins"]["payload"]["why"] == "fell at 3 s"
    assert files[1].read_bytes().startswith(b"\x89PNG")
    table = margins_table(nominal, margins)
    assert list(table.columns[2].cells) == ["", "3 kg", "beyond what was tried"]
    assert list(margins_table(Trial(0.0, False, "fell at 2 s", {}), []).columns[3].cells) == ["fell at 2 s"]


def test_words_are_checked_before_anything_starts() -> None:
    assert chosen("payload,noise", {"payload": "1,3", "delay": "0.1"})["payload"].levels == (1.0, 3.0)
    assert list(chosen("payload,noise", {})) == ["payload", "noise"]
    for names, levels, message in (
        ("paylod", {}, "'paylod' is none of gain_up"),
        ("payload", {"payload": "1;3"}, "payload=1;3: write numbers with commas"),
    ):
        with pytest.raises(RobodistillError, match=message):
            chosen(names, levels)
    for words, message in (
        (["p.onnx"], "driver=sim"),
        (["p.onnx", "driver=gazebo"], "unknown driver 'gazebo'"),
        (["p.onnx", "driver=sim", "seconds=0"], "seconds=0: must lie in"),
        (["p.onnx", "driver=sim", "bisect=x"], "bisect=x: expected a number"),
    ):
        with pytest.raises(RobodistillError, match=message):
            run_words(words)
