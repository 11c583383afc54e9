"""The stages of the path from task to report: ``(config, folder, inputs) -> outputs``, as pipelines call them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from robodistill import check as checking
from robodistill.evaluation.compare import TEACHER, ZERO, compare, write_files
from robodistill.evaluation.drivers import OnnxDriver, TorchDriver, ZeroDriver
from robodistill.evaluation.rollout import roll_out
from robodistill.export import Origin, export_policy
from robodistill.files import write_json
from robodistill.metrics import MetricsLog
from robodistill.networks import (
    STUDENT,
    check_same_interface,
    load_policy,
    student_networks,
    teacher_networks,
)
from robodistill.progress import Progress
from robodistill.runs import RunFolder
from robodistill.settings import EvaluateConfig, RunConfig, TrainConfig
from robodistill.threads import set_threads
from robodistill.trainer import Trainer
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]
_REPLAY_WORLDS = 64
_SHOWN = ("episode/return", "episode/length_s", "loss/imitate_action", "time/steps_per_s")


def _make_env(config: RunConfig, train: TrainConfig, seed: int) -> VecEnv:
    threads = set_threads(config.threads)
    return VecEnv(config.task, train.method.collect.num_envs, seed, threads, compiles=config.compile)


def _train(config: RunConfig, train: TrainConfig, trainer: Trainer, folder: RunFolder, title: str) -> Outputs:
    """Train to the end with log, checkpoints and progress; return the outputs of a training stage."""
    log = MetricsLog(folder.path)
    trainer.threads, trainer.compiled = config.threads, config.compile
    trainer.resume(folder)
    log.truncate_to(trainer.iteration)
    with Progress(title, train.total_steps, start=trainer.env_steps, quiet=config.quiet) as progress:

        def report(iteration: int, env_steps: int, figures: dict[str, float]) -> None:
            log.write(iteration, env_steps, figures)
            progress.update(env_steps, {k: figures[k] for k in _SHOWN if k in figures})

        trainer.run(folder, report)
        wall_s = log.wall_s
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
    """Distil a student from ``inputs["teacher"]``, a checkpoint, after replaying that teacher here."""
    torch.manual_seed(config.seed + 1)
    env = _make_env(config, config.student, config.seed + 1)
    teacher = load_policy(Path(inputs["teacher"]), "teacher")
    check_same_interface(teacher.spec, env.spec, teacher.policy.config.reads, f"teacher {teacher.checkpoint}")
    settings = EvaluateConfig(episodes=_REPLAY_WORLDS, seed=config.seed + 2)
    replay = VecEnv(config.task, settings.episodes, seed=settings.seed, threads=set_threads(config.threads))
    outcome = roll_out(replay, TorchDriver(teacher.policy), settings, lambda tick: None)
    replayed = float(outcome.returns.mean())
    write_json(folder.path / "teacher_replay.json", {"return": replayed, "episodes": _REPLAY_WORLDS})
    if not config.quiet:
        Progress.say(f"teacher replayed in the student's environment: mean return {replayed:.2f}")
    networks = student_networks(config.student, env.spec, teacher.policy)
    trainer = Trainer(config.student, env, networks, config.seed + 1, saved="student")
    outputs = _train(config, config.student, trainer, folder, "student")
    outputs["summary"]["teacher_replay_return"] = replayed
    return outputs


def _sha256(checkpoint: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(checkpoint.iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def export_student(config: RunConfig, folder: RunFolder, inputs: Inputs) -> Outputs:
    """Export ``inputs["student"]`` as one ``policy.onnx``."""
    student = load_policy(Path(inputs["student"]), STUDENT)
    checkpoints = {role: _sha256(Path(path)) for role, path in inputs.items()}
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
    env = VecEnv(config.task, settings.episodes, seed=settings.seed, threads=set_threads(config.threads))
    drivers = {
        TEACHER: TorchDriver(load_policy(Path(inputs["teacher"]), "teacher").policy),
        "student": TorchDriver(load_policy(Path(inputs["student"]), STUDENT).policy),
        "onnx": OnnxDriver(Path(inputs["policy"])),
        ZERO: ZeroDriver(),
    }
    ticks = config.task.max_steps
    with Progress("evaluate", ticks * len(drivers), quiet=config.quiet) as progress:
        order = list(drivers)
        result, rollouts = compare(
            env, drivers, settings, lambda name, tick: progress.update(order.index(name) * ticks + tick + 1)
        )
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
    steps = ticks * len(drivers) * settings.episodes
    summary = {key: result[key] for key in ("episodes", "policies", "score", "valid")}
    return {"evaluation": folder.path / "evaluation.json", "summary": {**summary, "env_steps": steps}}


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
