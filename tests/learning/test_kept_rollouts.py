"""Rollouts that runs share: taken only for the same driver on the same worlds, and then no figure differs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from robodistill import stages
from robodistill.checkpoint import load_tree
from robodistill.config import compose
from robodistill.decode import decode
from robodistill.evaluation import kept as kept_module
from robodistill.evaluation.compare import TEACHER, compare
from robodistill.evaluation.drivers import Driver, ZeroDriver
from robodistill.evaluation.kept import Kept
from robodistill.evaluation.rollout import Rollout
from robodistill.networks import STUDENT
from robodistill.runs import RunFolder
from robodistill.settings import EvaluateConfig, RunConfig
from robodistill_envs import vector
from robodistill_envs.config import TaskConfig
from robodistill_envs.vector import VecEnv

SETTINGS = EvaluateConfig(episodes=6, bootstrap=50, record=2)


class Leaning(Driver):
    """Pushes against what it sees; counts its episodes."""

    def __init__(self, gain: float, identity: str) -> None:
        self.gain, self.identity, self.begun = gain, identity, 0

    def start(self, env: VecEnv) -> None:
        self.begun += 1

    def act(self, env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
        self.latent = obs["sensors"][:, :2]
        return (self.gain * obs["sensors"].sum(dim=1, keepdim=True)).expand(-1, env.action_dim).clone()


@pytest.fixture(scope="module")
def task() -> TaskConfig:
    return decode(RunConfig, compose(["task=cartpole_balance", "task.episode_s=0.6"], RunConfig)).task


def compared(
    task: TaskConfig, kept: Path | None, settings: EvaluateConfig = SETTINGS, identity: str = "teacher of seed 0"
) -> tuple[dict[str, Any], dict[str, Rollout], list[bool]]:
    """Return the figures, the rollouts, and whether teacher and student were rolled out."""
    teacher, student = Leaning(-1.0, identity), Leaning(-0.3, "")
    drivers = {TEACHER: teacher, STUDENT: student, "zero_action": ZeroDriver()}
    env = VecEnv(task, settings.episodes, seed=settings.seed, threads=1)
    shelf = Kept(str(kept or ""))
    figures, rollouts = compare(env, drivers, settings, lambda who, tick: None, kept=shelf)
    assert shelf.taken >= (teacher.begun == 0)
    return figures, rollouts, [teacher.begun == 1, student.begun == 1]


def as_leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in as_leaves(value[key])]
    return [leaf for item in value for leaf in as_leaves(item)] if isinstance(value, (list, tuple)) else [value]


def test_a_kept_rollout_changes_no_figure(task: TaskConfig, tmp_path: Path) -> None:
    """All but the samples of latents, which are of use from a student alone, and those are never kept."""
    plain, expected, _ = compared(task, None)
    first, second = compared(task, tmp_path), compared(task, tmp_path)
    assert (first[2], second[2]) == ([True, True], [False, True])
    assert plain == first[0] == second[0]
    for name, rollout in expected.items():
        wanted, found = (as_leaves({**vars(r), "samples": {}}) for r in (rollout, second[1][name]))
        assert len(wanted) == len(found) > 8
        assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
    assert plain["score"]["student"]["mean"] != pytest.approx(1.0)  # the student is another driver


def test_what_differs_is_rolled_out_anew(task: TaskConfig, tmp_path: Path) -> None:
    compared(task, tmp_path)
    others = (
        {"settings": dataclasses.replace(SETTINGS, seed=7)},
        {"settings": dataclasses.replace(SETTINGS, episodes=7)},
        {"settings": dataclasses.replace(SETTINGS, record=1)},
        {"identity": "teacher of seed 1"},
        {"task": dataclasses.replace(task, episode_s=0.4)},
    )
    for other in others:
        assert compared(**{"task": task, "kept": tmp_path, **other})[2] == [True, True], other
    assert compared(task, tmp_path)[2] == [False, True]  # and none of them took its place


def test_another_model_or_other_code_is_rolled_out_anew(
    task: TaskConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The MJCF is named in the task, and may be edited without it; a pull changes what a step is."""
    compared(task, tmp_path)
    with monkeypatch.context() as other:
        other.setattr(kept_module, "provenance", lambda: {"git": {"commit": "another"}})
        assert compared(task, tmp_path)[2] == [True, True]
    build = vector.build_model

    def heavier(*arguments: Any, **named: Any) -> Any:
        model = build(*arguments, **named)
        model.body_mass[-1] *= 2.0
        return model

    monkeypatch.setattr(vector, "build_model", heavier)
    assert compared(task, tmp_path)[2] == [True, True]


def test_one_that_another_process_wrote_meanwhile_stays(
    task: TaskConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared(task, tmp_path)
    whole = {path: path.stat().st_ino for path in tmp_path.iterdir()}
    monkeypatch.setattr(kept_module, "load_tree", lambda path: load_tree(path / "not there yet"))
    compared(task, tmp_path)
    assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == whole  # and nothing is left beside them


def test_a_run_knows_its_teacher_by_the_checkpoint(small: ModuleType, tmp_path: Path) -> None:
    """Task and evaluation's seed are the same for all training seeds: the checkpoint alone tells teachers apart."""
    config = dataclasses.replace(small.config(), rollouts_dir=str(tmp_path / "rollouts"), quiet=True, evaluate=SETTINGS)
    made: list[list[int]] = []
    steps = config.task.max_steps * SETTINGS.episodes
    for i, teacher in enumerate((0, 0, 1)):
        inputs = {"teacher": small.save_teacher(tmp_path / f"t{teacher}", seed=teacher)}
        inputs["student"] = small.save_student(tmp_path / f"s{i}", inputs["teacher"], seed=i)
        found = stages.evaluate_policies(config, RunFolder(tmp_path / f"run{i}").stage("evaluation"), inputs)
        made.append([found["summary"]["env_steps"] // steps, len(list((tmp_path / "rollouts").iterdir()))])
    # teacher, student and zero action; the student alone; both policies
    assert made == [[3, 2], [1, 2], [2, 3]]


def test_who_does_not_say_who_it_is_is_not_kept(task: TaskConfig, tmp_path: Path) -> None:
    compared(task, tmp_path, identity="")
    assert compared(task, tmp_path, identity="")[2] == [True, True]
    assert len(list(tmp_path.iterdir())) == 1  # zero action alone


def test_a_damaged_one_is_made_again(task: TaskConfig, tmp_path: Path) -> None:
    plain = compared(task, tmp_path)[0]
    for tensors in tmp_path.glob("*/tensors.safetensors"):
        tensors.write_bytes(tensors.read_bytes()[:-4])
    again = compared(task, tmp_path)
    assert (again[0], again[2]) == (plain, [True, True])
    assert compared(task, tmp_path)[2] == [False, True]
