"""The log: one line an iteration, and after a resume the log of one run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from robodistill.metrics import MetricsLog, read_metrics
from robodistill_deploy.errors import RobodistillError


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_lines_and_events(tmp_path: Path) -> None:
    clock = Clock()
    log = MetricsLog(tmp_path, clock=clock)
    for i in range(3):
        clock.now += 2.0
        log.write(i, 10 * i, {"loss/value": i / 2, "episode/return": math.nan if i == 0 else 1.0})
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first == {"iteration": 0, "env_steps": 0, "wall_s": 2.0, "loss/value": 0.0, "episode/return": None}
    assert math.isnan(read_metrics(tmp_path / "metrics.jsonl")[0]["episode/return"])
    events = _events(tmp_path)
    assert events["loss/value"] == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert events["episode/return"] == [(1, 1.0), (2, 1.0)]
    assert events["time/env_steps"] == [(0, 0.0), (1, 10.0), (2, 20.0)]


def test_resumed_is_one_run(tmp_path: Path) -> None:
    whole, broken = Clock(), Clock()
    log = MetricsLog(tmp_path / "whole", clock=whole)
    for i in range(6):
        whole.now += 1.0
        log.write(i, i, {"loss/a": i * 1.25, "b": math.inf if i == 1 else 0.0})
    killed = MetricsLog(tmp_path / "broken", clock=broken)
    for i in range(4):
        broken.now += 1.0
        killed.write(i, i, {"loss/a": i * 1.25 if i < 3 else -9.0, "b": math.inf if i == 1 else 0.0})
    with killed.path.open("a") as file:
        file.write('{"iteration": 4, "env_st')
    broken.now += 1000.0  # the time between the sessions is nobody's
    (events,) = (tmp_path / "broken/tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-7])  # killed half-way through a record
    log = MetricsLog(tmp_path / "broken", clock=broken)
    log.truncate_to(2)
    for i in range(3, 6):
        broken.now += 1.0
        log.write(i, i, {"loss/a": i * 1.25, "b": 0.0})
    assert (tmp_path / "broken/metrics.jsonl").read_text() == (tmp_path / "whole/metrics.jsonl").read_text()
    assert _events(tmp_path / "broken") == _events(tmp_path / "whole")


def test_a_broken_line_inside_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 0, "wall_s": 1.0}\n{"iter\n{"iteration": 2, "wall_s": 1.0}\n')
    with pytest.raises(RobodistillError, match="line 2"):
        read_metrics(path)


def test_without_tensorboard_no_folder(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(0, 1, {"a": 2.0})
    with pytest.raises(RobodistillError, match="'wall_s' is one of the log's counters"):
        log.write(1, 2, {"wall_s": 2.0})
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]
