"""The stages of the path from task to report: ``(config, folder, inputs) -> outputs``, as pipelines call them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from robodistill import check as checking
from robodistill.builders import student_networks, teacher_networks
from robodistill.collapse import find_collapse
from robodistill.collect import Collector
from robodistill.evaluation.compare import TEACHER, ZERO, compare, write_files
from robodistill.evaluation.diagnostics.diagnose import Diagnosis
from robodistill.evaluation.drivers import Driver, OnnxDriver, TorchDriver, ZeroDriver
from robodistill.evaluation.kept import Kept
from robodistill.evaluation.rollout import Look, Rollout, roll_out
from robodistill.export import Origin, export_policy
from robodistill.files import read_json, write_json
from robodistill.hacking import HackingWatch
from robodistill.metrics import MetricsLog, read_metrics
from robodistill.networks import (
    STUDENT,
    Saved,
    check_same_interface,
    load_policy,
)
from robodistill.progress import Progress
from robodistill.runs import RunFolder
from robodistill.settings import EvaluateConfig, RunConfig, TrainConfig
from robodistill.sources import record
from robodistill.threads import set_threads
from robodistill.trainer import Trainer
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.ranges import TRAIN, within
from robodistill_envs.vector import VecEnv

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]
RANGES = "ranges.json"
"""What ``evaluate range=`` found after a run was evaluated, beside its ``evaluation.json``."""
_REPLAY_WORLDS = 64
_SHOWN = ("episode/return", "episode/length_s", "loss/imitate_action", "time/steps_per_s")


def _make_env(config: RunConfig, train: TrainConfig, seed: int) -> VecEnv:
    collect, task = train.method.collect, within(config.task, train.method.collect.range)
    if config.compile:
        Progress.say("compiling what a step is made of: a minute or two the first time, seconds from the cache")
    return VecEnv(task, collect.num_envs, seed, set_threads(config.threads), compiles=config.compile)


def _train(config: RunConfig, train: TrainConfig, trainer: Trainer, folder: RunFolder, title: str) -> Outputs:
    """Train to the end with log, checkpoints and progress; return the outputs of a training stage."""
    log = MetricsLog(folder.path)
    trainer.threads, trainer.compiled = config.threads, config.compile
    trainer.resume(folder)
    log.truncate_to(trainer.iteration)
    watch = HackingWatch(trainer.config.iterations)
    for line in read_metrics(log.path):
        watch.add(line)
    with Progress(title, train.total_steps, start=trainer.env_steps, quiet=config.quiet) as progress:

        def report(iteration: int, env_steps: int, figures: dict[str, float]) -> None:
            split = watch.add({"iteration": iteration, **figures})
            if split:
                Progress.say(f"teacher hacking? {split.text}; stop by the return, or let the student drive more")
            log.write(iteration, env_steps, {**figures, **watch.figures})
            progress.update(env_steps, {k: figures[k] for k in _SHOWN if k in figures})

        trainer.run(folder, report)
        wall_s = log.wall_s
    told = find_collapse(read_metrics(log.path))
    if told and told.collapsed:
        Progress.say(f"collapse? {told.text}: lower the weight of the loss compression, or raise that of similarity")
    return {
        "checkpoint": folder.checkpoint("last"),
        "summary": {
            "env_steps": trainer.env_steps,
            "training": {title: {"wall_s": wall_s, "env_steps": trainer.env_steps}},
        },
    }


def train_teacher(config: RunConfig, folder: RunFolder, inputs: Inputs) -> Outputs:
    """Train the teacher by reinforcement learning with privileged state."""
    torch.manual_seed(config.seed)
    env = _make_env(config, config.teacher, config.seed)
    networks = teacher_networks(config.teacher, env.spec)
    trainer = Trainer(config.teacher, env, networks, config.seed, saved="teacher")
    return _train(config, config.teacher, trainer, folder, "teacher")


def distil_student(config: RunConfig, folder: RunFolder, inputs: Inputs) -> Outputs:
    """Train a student as its method says; one that needs a trained teacher has the checkpoint ``inputs["teacher"]``."""
    torch.manual_seed(config.seed + 1)
    env = _make_env(config, config.student, config.seed + 1)
    teacher = _replayed_teacher(config, folder, Path(inputs["teacher"]), env) if "teacher" in inputs else None
    networks = student_networks(config.student, env.spec, config.teacher.policy, teacher and teacher.saved)
    recording = Path(inputs["recording"]) if "recording" in inputs else None
    trainer = Trainer(config.student, env, networks, config.seed + 1, saved="student", recording=recording)
    outputs = _train(config, config.student, trainer, folder, "student")
    collect = config.student.method.collect
    if collect.source == "file":  # another stage has made the steps, once; the training took them over and over
        outputs["summary"]["env_steps"] = 0
        outputs["summary"]["training"]["student"]["env_steps"] = collect.buffer * collect.num_envs * collect.steps
    if teacher is not None:
        outputs["summary"]["teacher_replay_return"] = teacher.replayed
    return outputs


def record_segments(config: RunConfig, folder: RunFolder, inputs: Inputs) -> Outputs:
    """Collect the segments that a method of ``collect.source: file`` trains on, by the method's own drivers."""
    torch.manual_seed(config.seed + 3)
    train = config.student
    env = _make_env(config, train, config.seed + 3)
    teacher = _replayed_teacher(config, folder, Path(inputs["teacher"]), env) if "teacher" in inputs else None
    networks = student_networks(train, env.spec, config.teacher.policy, teacher and teacher.saved)
    generator = torch.Generator().manual_seed(config.seed + 3)
    collector = Collector(train.method, env, dict(networks.items()), generator)
    collect = train.method.collect
    path = folder.path / "segments"
    steps = collect.num_envs * collect.steps
    with Progress("record", collect.buffer * steps, quiet=config.quiet) as progress:
        record(collector, collect.buffer, path, lambda count: progress.update(count * steps))
    return {"segments": path, "summary": {"env_steps": collect.buffer * steps}}


class _Replayed(NamedTuple):
    """A trained teacher, and its mean return in the student's environment."""

    saved: Saved
    replayed: float


def _replayed_teacher(config: RunConfig, folder: RunFolder, checkpoint: Path, env: VecEnv) -> _Replayed:
    """Read the trained teacher, refuse one of another interface, and see that it still can do its task."""
    teacher = load_policy(checkpoint, "teacher")
    check_same_interface(teacher.spec, env.spec, teacher.policy.config.reads, f"teacher {teacher.checkpoint}")
    settings = EvaluateConfig(episodes=_REPLAY_WORLDS, seed=config.seed + 2)
    replay = VecEnv(config.task, settings.episodes, seed=settings.seed, threads=set_threads(config.threads))
    outcome = roll_out(replay, TorchDriver(teacher.policy), settings, lambda tick: None)
    replayed = float(outcome.returns.mean())
    write_json(folder.path / "teacher_replay.json", {"return": replayed, "episodes": _REPLAY_WORLDS})
    if not config.quiet:
        Progress.say(f"teacher replayed in the student's environment: mean return {replayed:.2f}")
    return _Replayed(teacher, replayed)


def checkpoint_sha256(checkpoint: Path) -> str:
    """Return the hash of all files of a checkpoint."""
    digest = hashlib.sha256()
    for file in sorted(checkpoint.iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def export_student(config: RunConfig, folder: RunFolder, inputs: Inputs) -> Outputs:
    """Export ``inputs["student"]`` as one ``policy.onnx``."""
    student = load_policy(Path(inputs["student"]), STUDENT)
    checkpoints = {role: checkpoint_sha256(Path(path)) for role, path in inputs.items()}
    path = folder.path / "policy.onnx"
    export_policy(
        student.policy,
        config.task,
        student.spec,
        Origin(config.student.method.name, config.seed, checkpoints),
        path,
    )
    return {"policy": path, "summary": {"files": {"policy": str(path)}}}


def evaluate_policies(config: RunConfig, folder: RunFolder, inputs: Inputs) -> Outputs:
    """Compare teacher, student, exported file and zero action on the same seeds."""
    settings = config.evaluate
    others = [name for name in settings.ranges if name != TRAIN]
    for name in others:
        within(config.task, name)  # a misspelt range shows before the first step
    drivers = _drivers(inputs)
    student, teacher = drivers[STUDENT], drivers[TEACHER]
    diagnosis = None
    if settings.diagnose and isinstance(student, TorchDriver) and isinstance(teacher, TorchDriver):
        diagnosis = Diagnosis(student, teacher, settings)
    kept = Kept(config.rollouts_dir)
    result, rollouts = _compare(config, drivers, TRAIN, kept, diagnosis and diagnosis.watch)
    if diagnosis is not None:
        result["diagnostics"] = _diagnose(config, diagnosis, rollouts)
    if others:
        result["ranges"] = compare_ranges(config, drivers, others, kept)
    write_files(folder.path, result, rollouts, config.task.control_dt)
    floor = config.task.teacher_floor
    reached = result["policies"][TEACHER]["return"]["mean"]
    zero = result["policies"][ZERO]["return"]["mean"]
    result["valid"] = {
        "teacher_floor": floor,
        "teacher_reaches_floor": reached >= floor,
        "zero_at_most_half": zero <= 0.5 * reached,
    }
    write_json(folder.path / "evaluation.json", result)
    steps = config.task.max_steps * settings.episodes * (len(drivers) * (1 + len(others)) - kept.taken)
    summary = {key: result[key] for key in ("episodes", "policies", "score", "valid", "ranges") if key in result}
    return {"evaluation": folder.path / "evaluation.json", "summary": {**summary, "env_steps": steps}}


def _drivers(inputs: Inputs) -> dict[str, Driver]:
    """Return who is compared: the exported file only where there is one."""
    teacher = Path(inputs["teacher"])
    drivers: dict[str, Driver] = {
        TEACHER: TorchDriver(load_policy(teacher, TEACHER).policy, checkpoint_sha256(teacher)),
        "student": TorchDriver(load_policy(Path(inputs["student"]), STUDENT).policy),
    }
    if "policy" in inputs:
        drivers["onnx"] = OnnxDriver(Path(inputs["policy"]))
    return {**drivers, ZERO: ZeroDriver()}


def _diagnose(config: RunConfig, diagnosis: Diagnosis, rollouts: Mapping[str, Rollout]) -> dict[str, Any]:
    """Return what the student's rollout, and a few more, tell about it."""

    def make(worlds: int) -> VecEnv:
        return VecEnv(config.task, worlds, seed=config.evaluate.seed, threads=set_threads(config.threads))

    with Progress("diagnose", diagnosis.ticks(config.task.max_steps), quiet=config.quiet) as progress:
        return diagnosis.figures(make, rollouts, progress.update)


def _compare(
    config: RunConfig, drivers: Mapping[str, Driver], name: str, kept: Kept, watch: Look | None = None
) -> tuple[dict[str, Any], dict[str, Rollout]]:
    """Compare the drivers on the same worlds, drawn from the task's range ``name``."""
    settings, order, ticks = config.evaluate, list(drivers), config.task.max_steps
    task = within(config.task, name)
    env = VecEnv(task, settings.episodes, seed=settings.seed, threads=set_threads(config.threads))
    title = "evaluate" if name == TRAIN else f"evaluate {name}"
    with Progress(title, ticks * len(order), quiet=config.quiet) as progress:
        found = compare(
            env, drivers, settings, lambda who, tick: progress.update(order.index(who) * ticks + tick + 1), watch, kept
        )
        progress.update(ticks * len(order))  # the last may have been kept
    return found


def compare_ranges(
    config: RunConfig, drivers: Mapping[str, Driver], names: Sequence[str], kept: Kept
) -> dict[str, Any]:
    """Return the figures of policies and the scores by range; the same driver sees the same worlds as the others."""
    results = {name: _compare(config, drivers, name, kept)[0] for name in names}
    return {name: {key: found[key] for key in ("policies", "score")} for name, found in results.items()}


def evaluate_ranges(config: RunConfig, folder: RunFolder, inputs: Inputs) -> dict[str, Any]:
    """Compare a finished run's policies under ``config.evaluate.ranges``; add them to ``ranges.json`` and return it."""
    path = folder.path / RANGES
    names = [name for name in config.evaluate.ranges if name != TRAIN]
    for name in names:
        within(config.task, name)
    known = read_json(path, "ranges") if path.exists() else {}
    result = {**known, **compare_ranges(config, _drivers(inputs), names, Kept(config.rollouts_dir))}
    write_json(path, result)
    return result


def check_export(config: RunConfig, folder: RunFolder, inputs: Inputs) -> Outputs:
    """Drive a plain MuJoCo loop with the exported file and compare term by term."""
    set_threads(config.threads)
    student = load_policy(Path(inputs["student"]), STUDENT)
    result = checking.check_policy(Path(inputs["policy"]), student.policy, config.task, seed=config.seed)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_json(folder.path / "check.json", result.to_dict())
    return {"check": folder.path / "check.json",
            "summary": {"onnx_max_abs_error": result.onnx_vs_torch, "check": result.to_dict()}}  # fmt: skip


def make_report(config: RunConfig, folder: RunFolder, inputs: Inputs) -> Outputs:
    """Write ``report.html`` of the run that ``folder`` belongs to."""
    from robodistill.report import write_report  # plotting libraries load slowly, and only here

    path = write_report(folder.path.parent)
    if not path.is_file():
        raise RobodistillError(f"report: {path} was not written")
    return {"report": path, "summary": {"files": {"report": str(path)}}}
