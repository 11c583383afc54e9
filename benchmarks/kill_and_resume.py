"""Kill runs with SIGKILL at random moments, resume them by the same command, and compare with a run left alone.

  python benchmarks/kill_and_resume.py --kills 50
  python benchmarks/kill_and_resume.py --kills 6 --verbs train,distill task=go2_flat teacher.total_steps=200000

For each verb, rounds of a few kills until all are used: a fresh run is killed (its whole process group), the same
command goes on, and what stands there at the end must be that of the reference, bit for bit: checkpoints, metrics
and tensorboard scalars without times, policy.onnx without its date, evaluation, check; and nothing may lie about.
A third of the kills wait for a checkpoint that is half written. Prints a table; exit code 1 on any difference.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robodistill.records import read_record
from robodistill.runs import RunFolder
from robodistill_deploy.policy_file import METADATA_KEY

SMALL = (
    "task=pendulum_swingup",
    *(f"{who}.method.collect.num_envs=64" for who in ("teacher", "student")),
    *(f"{who}.checkpoint_every_s=0.1" for who in ("teacher", "student")),
    "teacher.total_steps=40960",
    "student.total_steps=30720",
    "evaluate.episodes=64",
    "quiet=true",
)
VERBS = {
    "train": ("teacher",),
    "distill": ("student",),
    "pipeline": ("teacher", "student", "export", "evaluation", "check", "report"),
}
"""verb -> stages that it runs, in order"""
SHARES = {"train": 0.3, "distill": 0.2, "pipeline": 0.5}
ROUND = {"train": 4, "distill": 4, "pipeline": 9}
"""Kills of one run, at most."""
LEARNING = ("teacher", "student")
_APART = ("wall_s", "env_steps_per_s", "created", "digest", "verb")


# -- comparing ---------------------------------------------------------------------------------


def compare_runs(reference: Path, other: Path, stages: tuple[str, ...]) -> list[str]:
    """Return one line for each thing in which ``other`` is not ``reference``; empty when they agree in every bit."""
    found: list[str] = []
    for stage in stages:
        a, b = reference / stage, other / stage
        if stage in LEARNING:
            for name in ("last", "best"):
                found += _folders(a / "checkpoints" / name, b / "checkpoints" / name)
            found += _values(_metrics(a), _metrics(b), f"{stage}/metrics.jsonl")
            found += _values(_scalars(a), _scalars(b), f"{stage}/tensorboard")
        found += _values(_files(a), _files(b), f"{stage}: files")
        for path in sorted(a.glob("*.json")):
            if path.name != "stage.json":
                found += _values(_json(path), _json(b / path.name), f"{stage}/{path.name}")
        for path in sorted(a.glob("*.npz")):
            found += _values(_arrays(path), _arrays(b / path.name), f"{stage}/{path.name}")
        for path in sorted(a.glob("*.onnx")):
            found += _values(_policy(path), _policy(b / path.name), f"{stage}/{path.name}")
    found += [f"{path.name}: left behind" for path in sorted(other.glob(".*")) if path.name != ".lock"]
    if "report" in stages:
        found += _values(_json(reference / "summary.json"), _json(other / "summary.json"), "summary.json")
        found += [] if (other / "report.html").exists() else ["report.html: is not there"]
    return found


def _folders(a: Path, b: Path) -> list[str]:
    """Compare two checkpoints file by file; the tensors that differ are named."""
    where = f"{a.parents[1].name}/checkpoints/{a.name}"
    if not a.exists() or not b.exists():
        return [] if a.exists() == b.exists() else [f"{where}: only one of them has it"]
    names = {path.name for folder in (a, b) for path in folder.iterdir()}
    differing = [n for n in sorted(names - {"manifest.json"}) if _bytes(a / n) != _bytes(b / n)]
    found = [f"{where}/{n}: differs" for n in differing if n != "tensors.safetensors"]
    if "tensors.safetensors" in differing:
        found += _values(_tensors(a / "tensors.safetensors"), _tensors(b / "tensors.safetensors"), where) or [where]
    return found


def _tensors(path: Path) -> dict[str, Any]:
    return {k: (str(v.dtype), v.shape, v.tobytes()) for k, v in load_file(path).items()}


def _arrays(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return {k: (str(v.dtype), v.shape, v.tobytes()) for k, v in stored.items()}


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _json(path: Path) -> Any:
    return _timeless(json.loads(path.read_text())) if path.exists() else {}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _APART and not _is_time(k)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _is_time(key: str) -> bool:
    return key.startswith("time/") and key != "time/env_steps"


def _metrics(stage: Path) -> dict[str, Any]:
    text = (stage / "metrics.jsonl").read_text()
    lines = [f"line {i}" for i in range(1, len(text.splitlines()) + 1)]
    return dict(zip([*lines, "after the last line"], [*map(_line, text.splitlines()), text[-1:]], strict=True))


def _line(text: str) -> Any:
    try:
        return _timeless(json.loads(text))
    except ValueError:
        return text  # torn


def _scalars(stage: Path) -> dict[str, Any]:
    read = EventAccumulator(str(stage / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    tags = [tag for tag in read.Tags()["scalars"] if not _is_time(tag)]
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in tags}


def _policy(path: Path) -> dict[str, Any]:
    """Return graph with initialisers, and what the file says of itself but for date and digest."""
    if not path.exists():
        return {}
    model = onnx.load(str(path))
    notes = {entry.key: entry.value for entry in model.metadata_props}
    return {"graph": model.graph.SerializeToString(), "spec": _timeless(json.loads(notes[METADATA_KEY]))}


def _files(stage: Path) -> dict[str, bool]:
    """Return which files stand there; event files are named by time, ``previous`` depends on when it was saved."""
    names = (str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_file())
    return {n: True for n in names if not n.startswith(("tensorboard/", "checkpoints/previous/"))}


def _values(a: Any, b: Any, where: str) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        missing = [f"{where}: {key!r} only on one side" for key in sorted({*a} ^ {*b})]
        return missing + [d for key in a if key in b for d in _values(a[key], b[key], f"{where}: {key}")]
    return [] if repr(a) == repr(b) else [where]  # repr: nan is nan, and -0.0 is not 0.0


# -- killing -----------------------------------------------------------------------------------


@dataclass
class Killer:
    """Runs one command again and again, killing it at random moments."""

    words: list[str]
    run: RunFolder
    stages: tuple[str, ...]
    seconds: dict[str, float]
    """[s] that each stage of the reference took, and ``start`` for a process to begin"""
    random: random.Random
    seen: Counter[str] = field(default_factory=Counter)
    """What the kills met."""

    def session(self, kill: Callable[[subprocess.Popen[str]], bool] | None = None) -> bool:
        """Run the command to its end, or until ``kill`` kills it; return whether it was killed."""
        process = start(self.words)
        killed = kill is not None and kill(process)
        shown, errors = process.communicate(timeout=3600)
        if not killed and process.returncode != 0:
            raise SystemExit(f"{' '.join(self.words)} ended with {process.returncode}\n{shown}\n{errors}")
        return killed

    def torture(self, kills: int) -> int:
        """Kill up to ``kills`` times, spread over the stages, then let it end; return how many kills there were."""
        targets = [self.stages[i * len(self.stages) // kills] for i in range(kills)]
        done = 0
        for stage in targets:
            half = stage in LEARNING and self.random.random() < 0.5
            wait = self.half_written if half else self.at_any_time
            if not self.session(lambda process, stage=stage, wait=wait: self.kill(process, stage, wait)):
                return done
            done += 1
        self.session()
        return done

    def kill(self, process: subprocess.Popen[str], stage: str, wait: Callable[..., None]) -> bool:
        """Wait for the moment and kill; False when the process ended before."""
        begun = time.time()
        wait(process, stage)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        if killed:
            self._note(_newer_than(begun))
        return killed

    def at_any_time(self, process: subprocess.Popen[str], stage: str) -> None:
        """Wait until ``stage`` begins and for any share of its time, or now and then of the time before it."""
        if self.random.random() < 0.1:
            time.sleep(self.random.uniform(0.0, self.seconds["start"]))
            return
        begun = time.time()
        records = [self.run.stage(s).path / "stage.json" for s in self.stages[self.stages.index(stage) :]]
        while process.poll() is None and not any(map(_newer_than(begun), records)):
            time.sleep(0.002)
        end = time.monotonic() + self.random.uniform(0.0, self.seconds[stage])
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)

    def half_written(self, process: subprocess.Popen[str], stage: str) -> None:
        """Wait until some checkpoint is being written, and a little into it."""
        folder = self.run.stage(stage).path / "checkpoints"
        asides = [folder / f".{name}.tmp" for name in ("last", "best")]
        fresh = _newer_than(time.time())  # what an earlier kill left is no sign of writing
        for wanted in [True, False] * self.random.randint(0, 4) + [True]:
            while process.poll() is None and any(map(fresh, asides)) != wanted:
                time.sleep(0.0001)
        time.sleep(self.random.uniform(0.0, 0.004))

    def _note(self, fresh: Callable[[Path], bool]) -> None:
        """Note what the kill met; a half that is not ``fresh`` is an earlier kill's."""
        partial = [s for s in self.stages if (r := read_record(self.run, s)) is not None and r.status == "partial"]
        self.seen[partial[-1] if partial else "between stages"] += 1
        for stage in LEARNING:
            folder = self.run.stage(stage).path / "checkpoints"
            self.seen["half-written checkpoint"] += any(fresh(folder / f".{n}.tmp") for n in ("last", "best"))
            self.seen["between two renames"] += (folder / "previous").exists() and not (folder / "last").exists()


def _newer_than(begun: float) -> Callable[[Path], bool]:
    def newer(path: Path) -> bool:
        try:
            return path.stat().st_mtime > begun
        except FileNotFoundError:
            return False

    return newer


def start(words: list[str]) -> subprocess.Popen[str]:
    """Start ``robodistill <words>`` in a process group of its own."""
    command = [sys.executable, "-m", "robodistill", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


@dataclass
class Bench:
    """The reference, and the runs that are measured against it."""

    folder: Path
    words: tuple[str, ...]
    random: random.Random

    def command(self, verb: str, run: str) -> list[str]:
        """Return the words of a verb."""
        return [verb, *self.words, f"run={run}", f"runs_dir={self.folder}"]

    def make_reference(self, verbs: list[str]) -> dict[str, float]:
        """Run the verbs without interruption; return what each stage took [s] and ``start``, a process's beginning."""
        began = time.monotonic()
        Killer(
            [*self.command("pipeline", "none"), "--config"], RunFolder("none"), (), {}, self.random
        ).session()
        seconds = {"start": time.monotonic() - began}
        run = RunFolder(self.folder / "reference")
        order = [v for v in VERBS if v in verbs or (v == "train" and "distill" in verbs)]
        for verb in order:
            Killer(self.command(verb, "reference"), run, (), {}, self.random).session()
        for stage in VERBS["pipeline"]:
            record = read_record(run, stage)
            if record is not None:
                seconds[stage] = record.wall_s
        return seconds

    def round(self, verb: str, number: int, kills: int, seconds: dict[str, float]) -> tuple[Killer, int, list[str]]:
        """Kill one run of ``verb`` up to ``kills`` times; return the killer, its kills and the differences."""
        name = f"{verb}_{number}"
        run = RunFolder(self.folder / name)
        if verb == "distill":
            shutil.copytree(self.folder / "reference" / "teacher", run.path / "teacher")
        killer = Killer(self.command(verb, name), run, VERBS[verb], seconds, self.random)
        done = killer.torture(kills)
        return killer, done, compare_runs(self.folder / "reference", run.path, VERBS[verb])


def bench(folder: Path, words: tuple[str, ...], verbs: list[str], kills: dict[str, int], seed: int) -> list[str]:
    """Make the reference, kill each verb as often as ``kills`` says, print the table; return the differences."""
    work = Bench(folder, words, random.Random(seed))
    seconds = work.make_reference(verbs)
    print("reference: " + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()), flush=True)
    print("\n| run | kills | they met | differences |\n|---|---|---|---|", flush=True)
    found: list[str] = []
    for verb in verbs:
        left, number = kills[verb], 0
        while left > 0 and number < 3 * kills[verb]:
            killer, done, differences = work.round(verb, number, min(left, ROUND[verb]), seconds)
            met = ", ".join(f"{name} {count}" for name, count in killer.seen.items() if count)
            print(f"| {verb} {number} | {done} | {met} | {len(differences)} |", flush=True)
            found += [f"{verb} {number}: {line}" for line in differences]
            left, number = left - done, number + 1
        if left:
            found.append(f"{verb}: {left} kills came too late in {number} runs; give it more total_steps")
    return found


def main() -> int:
    """Read the command line, run, and say what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of all verbs together")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--verbs", default=",".join(VERBS), help="with commas between them")
    parser.add_argument("--folder", type=Path, help="an empty folder to keep the runs in")
    parser.add_argument("words", nargs="*", help="key=value words for robodistill, after the small ones used here")
    given = parser.parse_intermixed_args()
    verbs = given.verbs.split(",")
    if not set(verbs) <= set(VERBS):
        parser.error(f"--verbs {given.verbs}: legal: {', '.join(VERBS)}")
    total = sum(SHARES[verb] for verb in verbs)
    kills = {verb: round(given.kills * SHARES[verb] / total) for verb in verbs}
    kills[verbs[-1]] += given.kills - sum(kills.values())
    words = (*SMALL, *given.words)
    if any(word.startswith("task=") for word in given.words):
        words = (*SMALL[1:], *given.words)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        found = bench(given.folder or Path(scratch), words, verbs, kills, given.seed)
    print(f"\n{given.kills} kills, {time.monotonic() - began:.0f} s, {len(found)} differences")
    print("\n".join(found[:40]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
