"""A newer checkpoint is seen once, an unchanged one never; policies follow a training run from the teacher on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robodistill.play.policies import Policies, first_policy
from robodistill.play.session import Session
from robodistill.play.watch import CheckpointWatch
from robodistill.runs import RunFolder
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.interface import interface_of

MakeSession = Callable[..., Session]
SavePolicy = Callable[..., Path]
TASK = "cartpole_balance"


def test_a_newer_checkpoint_is_seen_once(save_policy: SavePolicy, tmp_path: Path) -> None:
    folder = save_policy(tmp_path, TASK, "teacher", seed=0)
    watch = CheckpointWatch(folder)
    assert not watch.poll()
    save_policy(tmp_path, TASK, "teacher", seed=1)
    assert [watch.poll() for _ in range(3)] == [True, False, False]
    watch.forget()
    assert [watch.poll() for _ in range(2)] == [True, False]


def test_an_unchanged_one_is_never_seen(save_policy: SavePolicy, tmp_path: Path) -> None:
    folder = save_policy(tmp_path, TASK, "teacher")
    watch = CheckpointWatch(folder)
    save_policy(tmp_path, TASK, "teacher")  # written again, the same
    os.utime(folder / "manifest.json")
    assert not watch.poll()


def test_a_half_written_one_is_never_seen(save_policy: SavePolicy, tmp_path: Path) -> None:
    folder = save_policy(tmp_path, TASK, "teacher", seed=0)
    watch = CheckpointWatch(folder)
    aside = folder.with_name(".last.tmp")  # where the writer works before it renames
    shutil.copytree(save_policy(tmp_path / "other", TASK, "teacher", seed=1), aside)
    assert not watch.poll()
    old = folder.with_name(".last.old")
    os.rename(folder, old)
    assert not watch.poll()  # between the writer's two renames there is none
    os.rename(aside, folder)
    assert watch.poll()


def test_one_that_comes_into_being_is_seen(save_policy: SavePolicy, tmp_path: Path) -> None:
    watch = CheckpointWatch(tmp_path / "student" / "checkpoints" / "last")
    assert not watch.poll()
    save_policy(tmp_path, TASK, "student")
    assert [watch.poll() for _ in range(2)] == [True, False]


@pytest.fixture
def following(make_session: MakeSession, save_policy: SavePolicy, tmp_path: Path) -> Policies:
    save_policy(tmp_path, TASK, "teacher", seed=0)
    return Policies(RunFolder(tmp_path), interface_of(make_session(TASK).task), "latest")


def test_a_training_run_is_followed(
    make_session: MakeSession, save_policy: SavePolicy, tmp_path: Path, following: Policies
) -> None:
    drivers = following.load()
    assert list(drivers) == ["teacher", "zero_action"]
    session = Session(make_session(TASK).task, drivers, first_policy(drivers, ""))
    assert session.policy == "teacher"
    session.tick()
    assert following.newer() == {}
    save_policy(tmp_path, TASK, "teacher", seed=5)
    save_policy(tmp_path, TASK, "student", seed=6)
    newer = following.newer()
    assert set(newer) == {"teacher", "student"}
    assert following.newer() == {}
    old, place = session.drivers["teacher"], session.view().qpos
    for name, driver in newer.items():
        session.put(name, driver)
    assert session.drivers["teacher"] is not old
    assert np.array_equal(session.view().qpos, place)  # the robot goes on from where it is
    session.tick()


def test_one_replaced_while_it_is_read_is_read_again(
    save_policy: SavePolicy, tmp_path: Path, following: Policies
) -> None:
    folder = save_policy(tmp_path, TASK, "teacher", seed=5)
    tensors = folder / "tensors.safetensors"
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[:-8])  # what a reader sees whose manifest is of another writing
    assert following.newer() == {}
    tensors.write_bytes(whole)
    assert set(following.newer()) == {"teacher"}


def test_one_that_does_not_fit_is_an_error_and_not_tried_for_ever(
    save_policy: SavePolicy, tmp_path: Path, following: Policies
) -> None:
    assert following.load()
    save_policy(tmp_path, "pendulum_swingup", "teacher", seed=5)
    with pytest.raises(RobodistillError, match="teacher"):
        following.newer()
    assert following.newer() == {}


def test_one_may_come_before_training_has_saved_anything(make_session: MakeSession, tmp_path: Path) -> None:
    spec = interface_of(make_session(TASK).task)
    assert list(Policies(RunFolder(tmp_path), spec, "latest").load()) == ["zero_action"]
    with pytest.raises(RobodistillError, match="nothing to play in"):
        Policies(RunFolder(tmp_path), spec, "last").load()


def test_last_and_best_do_not_follow(make_session: MakeSession, save_policy: SavePolicy, tmp_path: Path) -> None:
    save_policy(tmp_path, TASK, "teacher", seed=0)
    spec = interface_of(make_session(TASK).task)
    policies = Policies(RunFolder(tmp_path), spec, "last")
    save_policy(tmp_path, TASK, "teacher", seed=1)
    assert policies.newer() == {}
    with pytest.raises(RobodistillError, match=r"nothing to play in .*best"):
        Policies(RunFolder(tmp_path), spec, "best").load()
    save_policy(tmp_path, TASK, "teacher", name="best")
    assert "teacher" in Policies(RunFolder(tmp_path), spec, "best").load()


def test_a_policy_of_another_task_is_refused(
    make_session: MakeSession, save_policy: SavePolicy, tmp_path: Path
) -> None:
    save_policy(tmp_path, TASK, "teacher")
    spec = interface_of(make_session("pendulum_swingup").task)
    with pytest.raises(RobodistillError, match="trained with another robot"):
        Policies(RunFolder(tmp_path), spec).load()


def test_who_drives_at_first(following: Policies, save_policy: SavePolicy, tmp_path: Path) -> None:
    drivers = following.load()
    assert first_policy(drivers, "zero_action") == "zero_action"
    with pytest.raises(RobodistillError, match=r"play\.policy=student: this run has teacher, zero_action so far"):
        first_policy(drivers, "student")
    save_policy(tmp_path, TASK, "student")
    assert first_policy(following.load(), "") == "student"
