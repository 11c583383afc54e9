"""The disk refuses the k-th write, for every k: one line, the last checkpoint whole, and the same end afterwards."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import pytest

from robodistill.checkpoint import has_tree, is_whole
from robodistill.files import WriteError
from robodistill.pipeline import PipelineConfig, StageConfig, run_pipeline
from robodistill.runs import RunFolder
from robodistill.settings import RunConfig

pytestmark = pytest.mark.slow
PIPELINE = PipelineConfig((StageConfig("teacher", "robodistill.stages:train_teacher", ("task", "teacher")),))
CALLS = ("rename", "replace", "mkdir", "fsync")
MKDIR, FSYNC = os.mkdir, os.fsync


class Disk:
    """Counts what is written, and refuses from the ``refuse``-th time on, or only then if it is not ``full``."""

    def __init__(self, refuse: int = 10**9, full: bool = True) -> None:
        self.refuse, self.full = refuse, full
        self.count = 0

    def allow(self) -> bool:
        self.count += 1
        return self.count < self.refuse if self.full else self.count != self.refuse

    def check(self) -> None:
        if not self.allow():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Guarded:
    """A file open for writing, of which a refused write keeps the first half, as on a disk that fills up."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self) -> Guarded:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        if not self.disk.allow():
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextmanager
def written_to(disk: Disk) -> Iterator[None]:
    """Let everything be written to ``disk``."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, guard(getattr(os, name), disk))
        plain_open = Path.open

        def guarded_open(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wax+"):
                return plain_open(path, mode, *args, **kwargs)
            disk.check()
            return Guarded(plain_open(path, mode, *args, **kwargs), disk)

        patch.setattr(Path, "open", guarded_open)
        yield


def guard(call: Callable[..., Any], disk: Disk) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not (call is MKDIR and Path(args[0]).is_dir()):  # a folder that is there needs no space
            disk.check()
        return None if call is FSYNC else call(*args, **kwargs)  # waiting for the disk tells nothing here

    return guarded


def config(small: ModuleType) -> RunConfig:
    """The small run with two iterations, a checkpoint after each."""
    made = small.config("run=r", "quiet=true", "task.episode_s=0.16")
    steps = 2 * small.WORLDS * small.STEPS
    teacher = small.changed(made.teacher, collect={"curriculum_start": 1.0})  # judged from the beginning
    return dataclasses.replace(made, teacher=dataclasses.replace(teacher, total_steps=steps))


@pytest.mark.parametrize(
    ("full", "step"),
    [
        pytest.param(True, 8, id="full, every eighth"),
        pytest.param(True, 1, id="full", marks=pytest.mark.long),
        pytest.param(False, 1, id="once", marks=pytest.mark.long),
    ],
)
def test_refused_at_any_write_the_same_command_ends_as_it_would_have(
    small: ModuleType, kills: ModuleType, tmp_path: Path, full: bool, step: int
) -> None:
    settings = config(small)
    run_pipeline(PIPELINE, settings, RunFolder(tmp_path / "warm"))  # imports write files of their own, once
    counting, reference = Disk(), RunFolder(tmp_path / "reference")
    with written_to(counting):
        run_pipeline(PIPELINE, settings, reference)
    assert has_tree(reference.stage("teacher").checkpoint("best"))
    assert counting.count > 60
    lines: set[str] = set()
    for refuse in range(1, counting.count + 1, step):
        run = RunFolder(tmp_path / "run")
        disk = Disk(refuse, full)
        with written_to(disk), pytest.raises(WriteError) as caught:
            run_pipeline(PIPELINE, settings, run)
        message = str(caught.value)
        assert message.startswith(str(run.path))
        assert "\n" not in message
        assert "No space left on device; free some space, then give the same command again" in message
        lines.add(message.partition(":")[0])
        last = run.stage("teacher").checkpoint("last")
        assert not has_tree(last) or is_whole(last) or is_whole(last.with_name("previous"))
        with written_to(Disk()):
            run_pipeline(PIPELINE, settings, run)
        assert kills.compare_runs(reference.path, run.path, ("teacher",)) == [], refuse
        shutil.rmtree(run.path)
    names = {"events" if "tfevents" in line else Path(line).name for line in lines}
    # "run" is the folder itself, where its lock could not be made
    expected = {"run", "config.yaml", "stage.json", "last", "best", "metrics.jsonl", "summary.json", "events"}
    if step == 1:
        assert names == expected
    else:
        assert names >= {"stage.json", "last", "best"}


# -- a real disk -------------------------------------------------------------------------------

WORDS = ("train", "task=pendulum_swingup", "run=r", "quiet=true", "threads=1", "teacher.checkpoint_every_s=0.0",
         "teacher.method.collect.num_envs=32", "teacher.total_steps=10240")  # fmt: skip


def train(runs_dir: Path, limit: int = 0) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own, which may write files of at most ``limit`` bytes."""

    def set_limit() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "robodistill", *WORDS, f"runs_dir={runs_dir}"],
        preexec_fn=set_limit, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without trouble."""
    folder = tmp_path_factory.mktemp("reference")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return folder / "r"


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """Mount a small disk at ``folder``; skip the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def refused(done: subprocess.CompletedProcess[str], reason: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert reason in done.stderr


def test_a_disk_that_fills_up(tmp_path: Path, reference: Path, kills: ModuleType) -> None:
    small = tmp_path / "small"
    with mounted(small, "640k"):
        refused(train(small), "checkpoints/last: cannot be written: No space left on device; free some space")
        assert is_whole(small / "r/teacher/checkpoints/last")
        refused(train(small), "No space left on device")  # and again, while it is full
        assert is_whole(small / "r/teacher/checkpoints/last")
        remount(small, "size=20m")
        done = train(small)
        assert done.returncode == 0, done.stderr
        assert kills.compare_runs(reference, small / "r", ("teacher",)) == []


def test_a_disk_that_turns_read_only(tmp_path: Path, reference: Path, kills: ModuleType) -> None:
    small = tmp_path / "small"
    with mounted(small, "20m"):
        remount(small, "ro")
        refused(train(small), "small/r: cannot be written: Read-only file system; mount it writable")
        assert list(small.iterdir()) == []
        remount(small, "rw")
        assert train(small).returncode == 0
        assert kills.compare_runs(reference, small / "r", ("teacher",)) == []
        remount(small, "ro")
        refused(train(small), "small/r: cannot be written: Read-only file system")  # a finished run stays one


def test_a_limit_on_the_size_of_files(tmp_path: Path, reference: Path, kills: ModuleType) -> None:
    refused(train(tmp_path, limit=30_000), "checkpoints/last: cannot be written: File too large; raise the limit")
    assert list((tmp_path / "r/teacher/checkpoints").iterdir()) == []  # not even a part
    done = train(tmp_path)
    assert done.returncode == 0, done.stderr
    assert kills.compare_runs(reference, tmp_path / "r", ("teacher",)) == []
    assert len(list((tmp_path / "r/teacher/tensorboard").iterdir())) == 1
