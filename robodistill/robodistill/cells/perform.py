"""Run commands side by side, each a process of its own with one thread: what one does wrong stops no other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robodistill.cells.plan import Cell
from robodistill.cells.watch import Watch, last_line
from robodistill.files import write_json, writing

FAILURE = "failure.json"
LOG = "log.txt"
_PAUSE_S = 0.2


@dataclass(frozen=True)
class Job:
    """A command of robodistill, and the folder of the run that it makes."""

    title: str
    words: tuple[str, ...]
    folder: Path


def teacher_job(cell: Cell, folder: Path) -> Job:
    """Return the training of a cell's teacher."""
    words = ("train", *cell.words, f"run={cell.teacher}", f"runs_dir={folder / 'teachers'}", "threads=1")
    return Job(f"{cell.task}, seed {cell.seed}, teacher", words, folder / "teachers" / cell.teacher)


def cell_job(cell: Cell, folder: Path) -> Job:
    """Return a cell's training and evaluation; its teacher is copied from the run that trained it."""
    reuse = (folder / "teachers" / cell.teacher).resolve()
    words = (
        "pipeline", *cell.words, f"run={cell.name}", f"runs_dir={folder / 'cells'}", "threads=1",
        f"pipeline.reuse={reuse}", f"rollouts_dir={folder / 'rollouts'}",
    )  # fmt: skip
    return Job(f"{cell.task}, seed {cell.seed}, {cell.label}", words, folder / "cells" / cell.name)


def perform(jobs: Sequence[Job], at_once: int, say: Callable[[str], None]) -> list[Job]:
    """Run all jobs, ``at_once`` at a time; return those that failed, with the reason in their folder."""
    waiting, running, failed = list(jobs), dict[subprocess.Popen[bytes], tuple[Job, float]](), list[Job]()
    with Watch() as watch, _ending(running):
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[_begin(job)] = (job, time.monotonic())
            watch.show((job.title, job.folder / LOG) for job, _ in running.values())
            time.sleep(_PAUSE_S)
            for process in [p for p in running if p.poll() is not None]:
                job, begun = running.pop(process)
                number = len(jobs) - len(waiting) - len(running)
                took = f"{time.monotonic() - begun:.0f} s"
                if process.returncode == 0:
                    say(f"[{number}/{len(jobs)}] {job.title}: done in {took}")
                    continue
                failed.append(job)
                reason = _note_failure(job, process.returncode)
                say(f"[{number}/{len(jobs)}] {job.title}: failed after {took}: {reason}")
    return failed


@contextmanager
def _ending(running: Iterable[subprocess.Popen[bytes]]) -> Generator[None]:
    """End what still runs when interrupted: each goes on from its own checkpoint next time."""
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait()


def _begin(job: Job) -> subprocess.Popen[bytes]:
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / FAILURE).unlink(missing_ok=True)
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    log = job.folder / LOG
    with writing(log), log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "robodistill", *job.words], stdout=stream, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, env={**os.environ, **threads},
        )  # fmt: skip


def _note_failure(job: Job, code: int) -> str:
    """Write down why a job failed, the last line that it said, and return that."""
    reason = last_line(job.folder / LOG) or f"ended with code {code}"
    write_json(job.folder / FAILURE, {"code": code, "reason": reason, "command": ["robodistill", *job.words]})
    return reason
