"""Killed with SIGKILL and resumed by the same command, a run ends as one left alone, bit for bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from robodistill.checkpoint import LAST, load_tree
from robodistill.pipeline import PipelineConfig, StageConfig, run_pipeline
from robodistill.runs import RunFolder

TINY = ("teacher.total_steps=20480", "student.total_steps=20480", "threads=1")


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robodistill", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=900, check=False, env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def reference(kills: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a run that was left alone, and the words that made it."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["train", *kills.SMALL, *TINY, f"runs_dir={folder}"]
    done = run([*words, "run=reference"])
    assert done.returncode == 0, done.stderr
    return folder, words


@pytest.mark.slow
def test_two_processes_make_the_same_bits(kills: ModuleType, reference: tuple[Path, list[str]]) -> None:
    folder, words = reference
    assert run([*words, "run=again"]).returncode == 0
    assert kills.compare_runs(folder / "reference", folder / "again", ("teacher",)) == []


def test_the_best_does_not_depend_on_when_checkpoints_are_written(
    kills: ModuleType, small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robodistill.trainer.JUDGED", 3)
    monkeypatch.setattr("os.fsync", lambda handle: None)  # waiting for the disk tells nothing here
    teacher = small.changed(small.config().teacher, collect={"curriculum_start": 1.0})
    pipeline = PipelineConfig((StageConfig("teacher", "robodistill.stages:train_teacher"),))
    for name, every_s in (("often", 0.0), ("seldom", 1e9)):
        config = replace(small.config(), teacher=replace(teacher, checkpoint_every_s=every_s), quiet=True)
        run_pipeline(pipeline, config, RunFolder(tmp_path / name))
    assert kills.compare_runs(tmp_path / "often", tmp_path / "seldom", ("teacher",)) == []
    previous, best = (load_tree(tmp_path / "often/teacher/checkpoints" / n)["iteration"] for n in ("previous", "best"))
    assert (previous, best % 2, small.ITERATIONS) == (5, 0, 6)
    assert load_tree(tmp_path / "seldom/teacher/checkpoints/previous")["iteration"] == 4


@pytest.mark.slow
def test_killed_while_a_checkpoint_is_written(kills: ModuleType, reference: tuple[Path, list[str]]) -> None:
    folder, words = reference
    killer = kills.Killer([*words, "run=killed"], RunFolder(folder / "killed"), ("teacher",), {}, random.Random(5))
    assert killer.session(lambda process: killer.kill(process, "teacher", killer.half_written))
    assert not (folder / "killed" / "summary.json").exists()
    assert 0 < load_tree(folder / "killed/teacher/checkpoints" / LAST)["iteration"] < 20  # there is one to go on from
    killer.session()
    assert kills.compare_runs(folder / "reference", folder / "killed", ("teacher",)) == []


@pytest.mark.slow
def test_the_one_before_a_damaged_checkpoint_leads_to_the_same_end(
    kills: ModuleType, reference: tuple[Path, list[str]]
) -> None:
    folder, words = reference
    shutil.copytree(folder / "reference", folder / "damaged")
    last = folder / "damaged/teacher/checkpoints" / LAST
    record = folder / "damaged/teacher/stage.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "status": "partial", "outputs": {}}))
    weights = last / "tensors.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = run([*words, "run=damaged"])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "add resume=previous to the command" in done.stderr
    whole = folder / "reference/teacher/checkpoints" / LAST
    assert load_tree(last.with_name("previous"))["iteration"] < load_tree(whole)["iteration"]
    done = run([*words, "run=damaged", "resume=previous"])
    assert done.returncode == 0, done.stderr
    assert kills.compare_runs(folder / "reference", folder / "damaged", ("teacher",)) == []
    assert "resume" not in (folder / "damaged/config.yaml").read_text()


@pytest.mark.slow
def test_other_threads_are_warned_of_once(reference: tuple[Path, list[str]]) -> None:
    folder, words = reference
    shutil.copytree(folder / "reference", folder / "threads")
    shutil.rmtree(folder / "threads/teacher/checkpoints" / LAST)  # killed between two renames: not quite at the end
    record = folder / "threads/teacher/stage.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "status": "partial", "outputs": {}}))
    done = run([*words, "run=threads", "threads=2"])
    assert done.returncode == 0, done.stderr
    expected = "resumed under other conditions (threads: 1 of torch, 1 of physics there, 2 of torch, 2 of physics here)"
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(expected)


@pytest.mark.slow
def test_the_comparison_sees_a_difference(kills: ModuleType, reference: tuple[Path, list[str]]) -> None:
    folder, _ = reference
    whole, other = folder / "reference", folder / "altered"
    shutil.copytree(whole, other)
    assert kills.compare_runs(whole, other, ("teacher",)) == []
    weights = other / "teacher/checkpoints/last/tensors.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    log = other / "teacher/metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]) + '{"iteration": 20, "env_st')
    (events,) = (other / "teacher/tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-300])
    (other / "teacher/checkpoints/.last.tmp").write_text("")
    found = "\n".join(kills.compare_runs(whole, other, ("teacher",)))
    for part in ("checkpoints/last: ", "metrics.jsonl", "tensorboard", "files: 'checkpoints/.last.tmp'"):
        assert part in found


@pytest.mark.long
def test_a_few_kills_of_each_verb(kills: ModuleType, tmp_path: Path) -> None:
    counts = {"train": 1, "distill": 1, "pipeline": 3}
    assert kills.bench(tmp_path, (*kills.SMALL, *TINY[:2]), list(counts), counts, 1) == []
