"""The contract of a method, over every YAML in ``method/``: it moves what its routing says, and resumes bit for bit.

A method has a file ``routing/<name>.yaml`` beside this one: ``phases``, phase -> parts of networks that it moves, and
where its student needs another shape than the small one here, ``words``, further ``key=value``.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from robodistill.builders import student_networks, teacher_networks
from robodistill.checkpoint import load_tree, save_tree
from robodistill.config import compose, groups
from robodistill.decode import decode
from robodistill.networks import CRITIC, checkpoint_texts, load_policy
from robodistill.phases import Phase
from robodistill.segment import Segment
from robodistill.settings import RunConfig, TrainConfig
from robodistill.trainer import Trainer
from robodistill_envs.vector import VecEnv
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy

METHODS = sorted(groups()["method"])
WORLDS, STEPS, ITERATIONS = 8, 6, 3
WORDS = [
    "task=pendulum_swingup",
    "task.episode_s=0.4",  # 10 ticks: episodes end in most segments
    "threads=1",
    *(f"{who}.total_steps={WORLDS * STEPS * ITERATIONS}" for who in ("teacher", "student")),
    *(f"{who}.method.collect.num_envs={WORLDS}" for who in ("teacher", "student")),
    *(f"{who}.method.collect.steps={STEPS}" for who in ("teacher", "student")),
    *(f"{who}.policy.actor_hidden=[12]" for who in ("teacher", "student")),
    *(f"{who}.policy.encoder.hidden=[8]" for who in ("teacher", "student")),
    "teacher.critic_hidden=[12]",
    "student.critic_hidden=[12]",
    "student.copy_head=false",
]


def routing(method: str) -> dict[str, Any]:
    """Return the routing row of a method."""
    path = Path(__file__).parent / "routing" / f"{method}.yaml"
    assert path.exists(), f"method {method!r} has no routing row: write {path}"
    return yaml.safe_load(path.read_text())


@functools.lru_cache(maxsize=64)
def config(method: str, role: str = "student") -> RunConfig:
    """Return the small run with ``method`` for teacher or student."""
    words = [*WORDS, f"method@{role}.method={method}", *routing(method).get("words", [])]
    return decode(RunConfig, compose(words, RunConfig))


def is_teachers(method: str) -> bool:
    """Return whether a method makes a teacher, no student."""
    return "student" not in config(method).student.method.networks


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a teacher of the small run, with its critic, whose actions are not tiny."""
    torch.manual_seed(0)
    run = config("ppo", "teacher")
    env = VecEnv(run.task, WORLDS, seed=0, threads=1)
    trainer = Trainer(run.teacher, env, teacher_networks(run.teacher, env.spec), 0, saved="teacher")
    policy, critic = trainer.networks["teacher"], trainer.networks[CRITIC]
    assert isinstance(policy, Policy)
    assert isinstance(critic, Critic)
    last = [module for module in policy.actor if isinstance(module, torch.nn.Linear)][-1]
    last.weight.data.mul_(30.0)
    folder = tmp_path_factory.mktemp("trained") / "last"
    save_tree(folder, trainer.state_dict(), checkpoint_texts(policy, env.spec, critic))
    return folder


def make(method: str, trained: Path, seed: int = 1, **changes: Any) -> Trainer:
    """Return a trainer by ``method``, with fields of its collection changed."""
    role = "teacher" if is_teachers(method) else "student"
    run = config(method, role)
    train: TrainConfig = getattr(run, role)
    collect = dataclasses.replace(train.method.collect, **changes)
    train = dataclasses.replace(train, method=dataclasses.replace(train.method, collect=collect))
    torch.manual_seed(seed)
    env = VecEnv(run.task, WORLDS, seed=seed, threads=1)
    if role == "teacher":
        return Trainer(train, env, teacher_networks(train, env.spec), seed, saved="teacher")
    saved = load_policy(trained, "teacher") if train.method.needs_teacher else None
    networks = student_networks(train, env.spec, run.teacher.policy, saved)
    return Trainer(train, env, networks, seed, saved="student")


def parts(trainer: Trainer) -> dict[str, list[Tensor]]:
    """Copies of all weights and buffers, by network and the part of it that they belong to."""
    found: dict[str, list[Tensor]] = {}
    for name, tensor in trainer.networks.state_dict().items():
        found.setdefault(".".join(name.split(".")[:2]), []).append(tensor.clone())
    return found


def moved(before: dict[str, list[Tensor]], after: dict[str, list[Tensor]]) -> set[str]:
    """The parts of which any bit changed."""
    return {k for k in before if not all(torch.equal(a, b) for a, b in zip(before[k], after[k], strict=True))}


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """The paths at which two trees differ in any bit (NaN equals NaN)."""
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [path]
        return [d for key in a for d in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, (list, tuple)):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}/{i}")]
    if isinstance(a, Tensor):
        same = a.dtype == b.dtype and torch.equal(torch.nan_to_num(a, 7e7), torch.nan_to_num(b, 7e7))
        return [] if same else [path]
    return [] if a == b or a != a else [path]


def watch(trainer: Trainer) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Return what will tell which parts each phase moved, and the optimisation steps that it owed."""
    seen: dict[str, set[str]] = {name: set() for name in trainer.phases}
    owed: dict[str, int] = dict.fromkeys(trainer.phases, 0)

    def watched(phase: Phase) -> Callable[..., dict[str, float]]:
        run = phase.run

        def wrapper(segment: Segment, progress: float, generator: torch.Generator) -> dict[str, float]:
            before = parts(trainer)
            figures = run(segment, progress, generator)
            seen[phase.name] |= moved(before, parts(trainer))
            owed[phase.name] += phase.config.epochs * phase.config.minibatches
            return figures

        return wrapper

    for phase in trainer.phases.values():
        phase.run = watched(phase)
    return seen, owed


def iterate(trainer: Trainer, count: int) -> list[dict[str, float]]:
    """Make ``count`` iterations; return their figures without the times."""
    return [{k: v for k, v in trainer.iterate().items() if not k.startswith("time/")} for _ in range(count)]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_moves_what_its_routing_says_and_resumes_bit_for_bit(
    method: str, trained: Path, tmp_path: Path
) -> None:
    whole = make(method, trained)
    first = parts(whole)
    seen, owed = watch(whole)
    iterate(whole, 1)
    save_tree(tmp_path / "k", whole.state_dict())
    expected = iterate(whole, ITERATIONS - 1)
    assert all(torch.isfinite(t).all() for t in whole.networks.state_dict().values() if t.is_floating_point())
    rows = {phase: set(names) for phase, names in routing(method)["phases"].items()}
    assert seen == rows
    for phase in whole.phases.values():
        # whatever ran made all of its steps: none is lost to a window longer than the rollout
        steps = {int(state["step"]) for state in phase.optimizer.state.values()}
        assert steps <= {owed[phase.name]}
        assert steps or not rows[phase.name]
    frozen = {n.split(".")[0] for n, p in whole.networks.named_parameters() if not p.requires_grad}
    copies = {hook.params.get("target") for p in whole.phases.values() for hook in p.config.after.values()}
    assert not {part.split(".")[0] for part in moved(first, parts(whole))} & (frozen - copies)

    other = make(method, trained, seed=5)  # another seed: nothing may come from the constructor
    other.load_state_dict(load_tree(tmp_path / "k"))
    assert differences(iterate(other, ITERATIONS - 1), expected) == []
    assert differences(other.state_dict(), whole.state_dict()) == []
    # the control: the same weights in another environment's state go another way
    third = make(method, trained, seed=5)
    third.load_state_dict({**load_tree(tmp_path / "k"), "collector": third.collector.state_dict()})
    assert differences(iterate(third, ITERATIONS - 1), expected)


@pytest.mark.parametrize("method", [m for m in METHODS if not is_teachers(m)])
def test_the_student_that_a_method_saves_is_read_back(
    method: str, trained: Path, tmp_path: Path, small: ModuleType
) -> None:
    trainer = make(method, trained)
    student = trainer.networks["student"]
    assert isinstance(student, Policy)
    assert student.config.reads == ("sensors",)
    small.enlarge(student)
    iterate(trainer, 1)
    save_tree(tmp_path / "last", trainer.state_dict(), checkpoint_texts(student, trainer.env.spec))
    again = load_policy(tmp_path / "last", "student").policy
    state = again.initial_state(WORLDS)
    obs = copy.deepcopy(trainer.collector.obs)
    action = again.act_mean(obs, state)[0]
    assert torch.equal(action, student.act_mean(obs, state)[0])
    obs["privileged"] = obs["privileged"] + 1.0
    assert torch.equal(action, again.act_mean(obs, state)[0])
    obs["sensors"] = obs["sensors"] + 1.0
    assert not torch.equal(action, again.act_mean(obs, state)[0])  # the control: it does look


@pytest.mark.parametrize(
    ("method", "followed"),
    [("dagger", [4.0, 4.2]), ("bc", [2.0, 2.0]), ("roa", [2.0, 2.0]), ("ppo_history", [2.0, 2.0])],
)
def test_the_best_is_judged_by_episodes_of_its_own(trained: Path, method: str, followed: list[float]) -> None:
    """Other drivers' episodes are taken only where there are no others: without any there would be no best."""
    trainer = make(method, trained)
    all_drivers = {"episode/return": 2.0, "collect/curriculum": 1.0}
    seen: list[float] = []
    first, last = ({**all_drivers, "episode/return_student": value} for value in (4.0, 6.0))
    for figures in (first, all_drivers, last):
        trainer.follow(figures)
        seen.append(trainer.recent_return)
    assert [seen[0], seen[2]] == pytest.approx(followed)
