"""What the cells of a benchmark are: each a command line of its own, with the same budget of environment steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from robodistill.config import compose
from robodistill.decode import decode
from robodistill.dependencies import FREE_SECTIONS
from robodistill.files import read_json
from robodistill.losses import is_policy_gradient
from robodistill.networks import SENSORS, STUDENT
from robodistill.settings import RunConfig
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.resolve import resolve

PIPELINE = "pipeline=measure"
"""Trains and evaluates, and makes no file."""
BOUNDS = "robodistill.losses:action_bounds"
"""The loss that keeps actions where they are not clipped."""
CRITIC_TYPE = "robodistill.builders:critic"
RL_COLLECT = ("num_envs", "steps", "gamma", "lam", "reward_scale", "range", "curriculum_start", "curriculum_share")
"""Settings of reinforcement learning that belong to a task, not to a method: every method takes the recipe's."""
RL_VALUE = ("gamma", "reward_scale")
"""Those of them by which a critic counts, and without which another critic cannot go on from it."""
RL_PHASE = ("lr", "schedule", "final_lr", "desired_kl", "lr_range", "epochs", "minibatches")


@dataclass(frozen=True)
class Budget:
    """What a cell may cost and what it is measured by."""

    steps: int = 0
    """Environment steps of everything that a method's policy costs; 0 is the recipe's teacher and student together."""
    ranges: tuple[str, ...] | None = None
    """Ranges to evaluate under; None is all that the task has, but for those made to practise in."""
    words: tuple[str, ...] = ()
    """Further ``key=value`` words for every cell."""


@dataclass(frozen=True)
class Cell:
    """A method on a task with a seed."""

    method: str
    label: str
    """What the table calls it: the method, or a variant of it."""
    task: str
    seed: int
    words: tuple[str, ...] = field(repr=False)
    """What the command line says, without where the run goes."""
    needs_teacher: bool
    digest: str
    """Of the configuration that the cell's figures depend on; not of the code."""
    teacher_digest: str
    floor: float = 0.0
    """Return that the task's teacher must reach for scores to count."""

    @property
    def name(self) -> str:
        """Return the name of its run."""
        return f"{self.task}-{self.method}-seed{self.seed}-{self.digest}"

    @property
    def teacher(self) -> str:
        """Return the name of the run that trains its teacher, one for all methods."""
        return f"{self.task}-teacher-seed{self.seed}-{self.teacher_digest}"

    def done(self, folder: Path) -> bool:
        """Return whether its run below ``folder`` is complete."""
        path = folder / "cells" / self.name / "summary.json"
        return path.exists() and read_json(path, "summary").get("status") == "complete"


def methods_of(names: Sequence[str], known: Mapping[str, Path]) -> list[str]:
    """Return the methods to measure: those named, or all that train a student live."""
    fit = [name for name in sorted(known) if _trains_student(name, known)]
    for name in names:
        if name not in known:
            raise RobodistillError(f"bench methods: {unknown('method', name, fit)}")
    return list(names) or fit


def _trains_student(name: str, known: Mapping[str, Path]) -> bool:
    """Return whether a method, or one that it derives from, makes a student."""
    read = yaml.safe_load(known[name].read_text()) or {}
    derived_from = [other for other in read.get("defaults", []) if isinstance(other, str) and other in known]
    return "student" in read.get("networks", {}) or any(_trains_student(other, known) for other in derived_from)


def plan(method: str, task: str, seeds: Sequence[int], budget: Budget, variant: str = "") -> list[Cell]:
    """Return a cell for each seed; a configuration that does not fit is an error here, before anything runs.

    ``variant`` is the name in the table of a method that ``budget.words`` change.
    """
    chosen = [f"task={task}", f"method@student.method={method}", PIPELINE]
    before = compose([*chosen, *budget.words], RunConfig)
    student = before["student"]["method"]
    if "student" not in student.get("networks", {}):
        raise RobodistillError(f"method {method!r} trains no student; leave it out of methods=")
    ranges = f"evaluate.ranges=[{','.join(_ranges(before, budget))}]"
    # last, for it is made of what further words say of the steps
    words = (*chosen, *_rl_words(before), ranges, *budget.words, *_budget_words(before, budget))
    composed = compose(words, RunConfig)
    decode(RunConfig, composed)
    needs_teacher = bool(student.get("needs_teacher"))

    def cell(seed: int) -> Cell:
        parts = {key: value for key, value in {**composed, "seed": seed}.items() if key not in FREE_SECTIONS}
        teacher = {key: parts[key] for key in ("task", "teacher", "seed")}
        own = (*words, f"seed={seed}")
        digests = _digest(parts), _digest(teacher)
        return Cell(method, variant or method, task, seed, own, needs_teacher, *digests, parts["task"]["teacher_floor"])

    return [cell(seed) for seed in seeds]


def _ranges(config: Mapping[str, Any], budget: Budget) -> list[str]:
    there: Mapping[str, Mapping[str, Any]] = config["task"].get("ranges") or {}
    if budget.ranges is None:
        return [name for name, found in there.items() if not found.get("practice")]
    return [name for name in budget.ranges if name in there]


def _budget_words(config: Mapping[str, Any], budget: Budget) -> list[str]:
    """Share the budget: the teacher's part is what the recipe gives it, and belongs to those who need one."""
    teacher, student = config["teacher"]["total_steps"], config["student"]["total_steps"]
    whole = budget.steps or teacher + student
    taught = round(whole * teacher / (teacher + student))
    own = whole - taught if config["student"]["method"].get("needs_teacher") else whole
    return [f"teacher.total_steps={taught}", f"student.total_steps={own}"]


def _rl_words(config: Mapping[str, Any]) -> list[str]:
    """Give a method that learns by reward the task's settings for that, as the recipe's teacher has them."""
    theirs, own = config["teacher"], config["student"]["method"]
    phases = {n: p for n, p in own["phases"].items() if _learns_by_reward(p)}
    collect = theirs["method"]["collect"]
    if not phases:  # a critic that only accompanies imitation counts rewards as the recipe's does
        kept = RL_VALUE if own["collect"].get("critic") else ()
        return [_word(f"student.method.collect.{key}", collect[key]) for key in kept if key in collect]
    words = [_word(f"student.method.collect.{key}", collect[key]) for key in RL_COLLECT if key in collect]
    words.append(_word("student.critic_hidden", theirs["critic_hidden"]))
    # what makes a sparse reward learnable is the task's as well; whoever imitates a trained teacher first is past it
    bonuses = {} if _imitates_first(own, phases) else theirs["method"].get("shape") or {}
    words += [_word(f"student.method.shape.{name}", hook) for name, hook in bonuses.items()]
    words += _critic_words(own["networks"], [(hook.get("params") or {}).get("group", "") for hook in bonuses.values()])
    if "init_std" in theirs["policy"]:
        words.append(_word("student.policy.init_std", theirs["policy"]["init_std"]))
    model = next(phase for phase in theirs["method"]["phases"].values() if _learns_by_reward(phase))
    for name, phase in phases.items():
        words += [_word(f"student.method.phases.{name}.{key}", model[key]) for key in RL_PHASE if key in model]
        if model.get("mirror") and phase.get("split") == "step":  # reflected samples have no history of their own
            words.append(_word(f"student.method.phases.{name}.mirror", model["mirror"]))
        words += [*_entropy_words(name, phase, model), *_bound_words(name, phase, model)]
    return words


def _imitates_first(method: Mapping[str, Any], by_reward: Mapping[str, Any]) -> bool:
    others = [phase for name, phase in method["phases"].items() if name not in by_reward]
    moved = {name.partition(".")[0] for phase in others for name in phase["networks"]}
    return bool(method.get("needs_teacher")) and STUDENT in moved


def _critic_words(networks: Mapping[str, Any], rewarded: Sequence[str]) -> list[str]:
    """Let critics that may see more than sensors see what the bonuses are made of, as critics of all groups do."""
    words: list[str] = []
    for name, network in networks.items():
        groups = (network.get("params") or {}).get("groups", []) if network["type"] == CRITIC_TYPE else []
        unseen = [group for group in dict.fromkeys(rewarded) if group and group not in groups]
        if unseen and set(groups) - {SENSORS}:
            words.append(_word(f"student.method.networks.{name}.params.groups", [*groups, *unseen]))
    return words


def _entropy_words(name: str, phase: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Return the recipe's weight of entropy where it has one, else nothing: the method's own stands."""
    theirs = model["losses"].get("entropy", {})
    given = {k: theirs.get(k) for k in ("weight", "final_weight")}
    if "entropy" not in phase["losses"] or not any(given.values()):
        return []
    return [_word(f"student.method.phases.{name}.losses.entropy.{k}", v) for k, v in given.items()]


def _bound_words(name: str, phase: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Keep the actions of whoever learns where the recipe keeps its teacher's: where they are clipped noise is idle."""
    policy = next(loss["params"]["policy"] for loss in phase["losses"].values() if _policy_gradient(loss))
    bounds = {key: loss for key, loss in model["losses"].items() if loss["type"] == BOUNDS}
    return [
        _word(f"student.method.phases.{name}.losses.{key}", {**loss, "params": {**loss["params"], "policy": policy}})
        for key, loss in bounds.items()
    ]


def _learns_by_reward(phase: Mapping[str, Any]) -> bool:
    return any(map(_policy_gradient, phase["losses"].values()))


def _policy_gradient(loss: Mapping[str, Any]) -> bool:
    return is_policy_gradient(resolve(loss["type"]))


def _word(key: str, value: Any) -> str:
    return f"{key}={_spelt(value)}"


def _spelt(value: Any) -> str:
    """Return a value as a word of the command line spells it: as JSON, but for the quotes around keys."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_spelt(item)}' for key, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_spelt, value))}]"
    return json.dumps(value)


def _digest(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:8]
