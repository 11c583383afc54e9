"""The engine saves and restores all that it holds; worlds and threads do not disturb each other."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from robodistill_deploy.errors import RobodistillError
from robodistill_envs.engines.mjbatch import MjbatchEngine

N = 3


# -- save and restore --------------------------------------------------------------------------


def test_restored_engine_goes_on_bit_for_bit(rig: Any) -> None:
    targets = rig.controls(30)
    whole = rig.fresh()
    rig.drive(whole, targets[:12])
    saved = whole.state_dict()
    seen = rig.drive(whole, targets[12:])
    resumed = MjbatchEngine(rig.model, N, 1)
    resumed.load_state_dict(saved)
    assert torch.equal(resumed.sensordata, saved["sensordata"])
    assert torch.equal(resumed.field("body_mass"), whole.field("body_mass"))
    again = rig.drive(resumed, targets[12:])
    assert all(torch.equal(a, b) for a, b in zip(seen, again, strict=True))
    assert rig.rows(whole) == rig.rows(resumed)


def test_what_was_saved_does_not_change_afterwards(rig: Any) -> None:
    engine = rig.fresh()
    saved = engine.state_dict()
    kept = copy.deepcopy(saved)
    rig.drive(engine, rig.controls(2))
    engine.field("body_mass")[:] *= 2.0
    for name in ("rows", "warnings", "sensordata"):
        assert torch.equal(saved[name], kept[name])
    assert torch.equal(saved["fields"]["body_mass"], kept["fields"]["body_mass"])


def test_divergence_is_remembered_across_a_restart(
    rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its own log there
    engine = rig.fresh()
    engine.state("qvel")[2, 3] = 1e12
    engine.step(1)
    resumed = MjbatchEngine(rig.model, N, 1)
    assert not resumed.unstable().any()
    resumed.load_state_dict(engine.state_dict())
    assert resumed.unstable().tolist() == [False, False, True]


def test_state_of_another_task_is_refused(rig: Any) -> None:
    saved = rig.fresh(n=2).state_dict()
    with pytest.raises(RobodistillError, match="shape"):
        rig.fresh(n=3).load_state_dict(saved)


# -- independence ------------------------------------------------------------------------------


def test_thread_count_changes_no_bit(rig: Any) -> None:
    one, two = rig.fresh(threads=1), rig.fresh(threads=2)
    targets = rig.controls(15)
    for a, b in zip(rig.drive(one, targets), rig.drive(two, targets), strict=True):
        assert torch.equal(a, b)
    assert rig.rows(one) == rig.rows(two)


def test_resetting_some_worlds_leaves_the_others_alone(rig: Any) -> None:
    partly, whole = rig.fresh(), rig.fresh()
    targets = rig.controls(16)
    for engine in (partly, whole):
        rig.drive(engine, targets[:8])
    partly.field("body_mass")[1, 1] += 0.5
    partly.update_constants(torch.tensor([1]))
    rig.begin(partly, [1], seed=3)
    assert torch.equal(partly.sensordata[[0, 2]], whole.sensordata[[0, 2]])
    for engine in (partly, whole):
        rig.drive(engine, targets[8:])
    assert [a == b for a, b in zip(rig.rows(partly), rig.rows(whole), strict=True)] == [True, False, True]


def test_a_reset_world_keeps_nothing_of_its_past(rig: Any) -> None:
    used, new = rig.fresh(), rig.fresh()
    rig.drive(used, rig.controls(8))
    for engine in (used, new):
        rig.begin(engine, [0, 1, 2], seed=4)
    assert rig.rows(used) == rig.rows(new)
    assert torch.equal(used.sensordata, new.sensordata)


def test_resetting_no_world_does_nothing(rig: Any) -> None:
    engine = rig.fresh()
    before = rig.rows(engine)
    empty = torch.zeros(0, dtype=torch.int64)
    engine.reset(empty, torch.zeros(0, 19), torch.zeros(0, 18), torch.zeros(0, 12))
    assert rig.rows(engine) == before


@pytest.mark.parametrize(("name", "value"), [("qvel", 1e12), ("qpos", float("nan")), ("qvel", float("inf"))])
def test_divergence_is_noticed_and_cleared_by_a_reset(
    rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.chdir(tmp_path)
    engine, calm = rig.fresh(), rig.fresh()
    assert not engine.unstable().any()
    engine.state(name)[1, 3] = value
    for each in (engine, calm):
        each.step(4)
    assert engine.unstable().tolist() == [False, True, False]
    assert [a == b for a, b in zip(rig.rows(engine), rig.rows(calm), strict=True)] == [True, False, True]
    rig.begin(engine, [1])
    assert not engine.unstable().any()
