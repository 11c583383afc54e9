"""Gradient routing: which parameters move in which phase (the thing papers hide), and that nothing else does."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from robodistill.phases import Phase
from robodistill.settings import LossConfig
from robodistill.trainer import Trainer
from robodistill_deploy.errors import RobodistillError

ACTION = {"a": LossConfig("robodistill.losses:imitate_action", params={"policy": "student"})}
LATENT = {"z": LossConfig("robodistill.losses:imitate_latent", params={"policy": "student"})}
SURROGATE = {"s": LossConfig("robodistill.losses:surrogate", params={"policy": "teacher"})}
VALUE = {"v": LossConfig("robodistill.losses:value", params={"critic": "critic"})}
WHOLE_TEACHER = {"teacher.encoder", "teacher.actor", "teacher.raw_log_std"}


def parts(trainer: Trainer) -> dict[str, list[Tensor]]:
    """Copies of all parameters and buffers, by network and the part of it that they belong to."""
    found: dict[str, list[Tensor]] = {}
    for name, tensor in trainer.networks.state_dict().items():
        found.setdefault(".".join(name.split(".")[:2]), []).append(tensor.clone())
    return found


def moved(before: dict[str, list[Tensor]], after: dict[str, list[Tensor]]) -> set[str]:
    """The parts of which any bit changed."""
    return {k for k in before if not all(torch.equal(a, b) for a, b in zip(before[k], after[k], strict=True))}


def run_phase(trainer: Trainer) -> set[str]:
    """Collect a segment and run the first phase on it; return what the phase moved."""
    segment, _ = trainer.collector.collect(0.0)
    before = parts(trainer)
    (phase,) = trainer.phases.values()
    phase.run(segment, 0.0, trainer.generator)
    return moved(before, parts(trainer))


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ({}, WHOLE_TEACHER | {"critic.net"}),
        ({"losses": SURROGATE}, WHOLE_TEACHER),
        ({"losses": VALUE}, {"critic.net"}),
        ({"networks": ("critic",)}, {"critic.net"}),
        ({"networks": ("teacher.actor",)}, {"teacher.actor"}),
        ({"networks": ("teacher.encoder", "critic")}, {"teacher.encoder", "critic.net"}),
    ],
    ids=["preset", "surrogate", "value", "critic only", "actor only", "encoder and critic"],
)
def test_ppo(small: ModuleType, phase: dict[str, Any], expected: set[str]) -> None:
    trainer = small.ppo(small.changed(small.config().teacher, phase))
    assert run_phase(trainer) == expected


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        # the loss is on the mean action: the deviation keeps its initial value, and of the teacher moves nothing
        ({}, {"student.encoder", "student.actor"}),
        ({"losses": ACTION}, {"student.encoder", "student.actor"}),
        ({"losses": LATENT}, {"student.encoder"}),
        ({"losses": ACTION, "networks": ("student.encoder",)}, {"student.encoder"}),
        ({"losses": ACTION | LATENT, "networks": ("student.actor",)}, {"student.actor"}),
    ],
    ids=["preset", "action", "latent", "encoder only", "actor only"],
)
def test_dagger(small: ModuleType, teacher: Path, phase: dict[str, Any], expected: set[str]) -> None:
    trainer = small.dagger(teacher, small.changed(small.config().student, phase))
    assert run_phase(trainer) == expected


def test_a_whole_iteration_of_dagger_leaves_the_teacher_bit_for_bit(small: ModuleType, teacher: Path) -> None:
    trainer = small.dagger(teacher)
    before = parts(trainer)
    small.iterate(trainer, 2)
    assert moved(before, parts(trainer)) == {"student.encoder", "student.actor", "student.normalizers"}
    assert {k for k in before if k.startswith("teacher.")} == WHOLE_TEACHER | {"teacher.normalizers"}


def test_a_whole_iteration_of_ppo_moves_statistics_too(small: ModuleType) -> None:
    trainer = small.ppo()
    before = parts(trainer)
    small.iterate(trainer, 1)
    statistics = {"teacher.normalizers", "critic.normalizer"}
    assert moved(before, parts(trainer)) == WHOLE_TEACHER | {"critic.net"} | statistics


def test_no_gradient_is_left_on_what_a_phase_may_not_move(small: ModuleType, teacher: Path) -> None:
    trainer = small.dagger(teacher, small.changed(small.config().student, {"networks": ("student.encoder",)}))
    run_phase(trainer)
    with_gradient = {n for n, p in trainer.networks.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, _ in trainer.networks.named_parameters() if n.startswith("student.encoder.")}


def test_gradients_of_encoder_and_actor_are_clipped_together(small: ModuleType) -> None:
    loud = {"s": LossConfig(SURROGATE["s"].type, 1e4, params=SURROGATE["s"].params)}
    trainer = small.ppo(small.changed(small.config().teacher, {"losses": loud, "max_grad_norm": 0.5}))
    run_phase(trainer)
    squares = [p.grad.square().sum() for p in trainer.networks["teacher"].parameters() if p.grad is not None]
    assert float(torch.stack(squares).sum().sqrt()) == pytest.approx(0.5, rel=1e-4)


def test_every_second_iteration(small: ModuleType) -> None:
    trainer = small.ppo(small.changed(small.config().teacher, {"every": 2}))
    ran = ["loss/surrogate" in figures for figures in small.iterate(trainer, 4)]
    assert ran == [True, False, True, False]


def test_epochs_times_minibatches_steps_and_nobody_left_over(small: ModuleType) -> None:
    # 128 steps in 5 parts: sizes 26, 26, 26, 25, 25
    trainer = small.ppo(small.changed(small.config().teacher, {"epochs": 3, "minibatches": 5}))
    run_phase(trainer)
    (phase,) = trainer.phases.values()
    counts = {int(state["step"]) for state in phase.optimizer.state.values()}
    assert counts == {15}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("studnet",), "did you mean 'student'"),
        (("student.encodr",), r"did you mean 'student\.encoder'"),
        (("student", "expert"), "unknown network 'expert'"),
        (("teacher",), "'teacher'.*frozen"),
        (("student.normalizers",), "nothing to train"),
        ((), "nothing to train"),
    ],
)
def test_networks_that_cannot_be_trained_are_refused(
    small: ModuleType, teacher: Path, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RobodistillError, match=message):
        small.dagger(teacher, small.changed(small.config().student, {"networks": names}))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (LossConfig("robodistill.losses:value", params={"critic": "critc"}), "unknown critic 'critc'"),
        (LossConfig("robodistill.losses:value", params={"critic": "teacher"}), "unknown critic 'teacher'"),
        (LossConfig("robodistill.losses:surrogate", params={"policy": "critic"}), "unknown policy 'critic'"),
        (LossConfig("robodistill.losses:imitate_action", params={"policy": "teacher"}), "'label_mean'"),
    ],
)
def test_losses_name_what_they_do_not_find(small: ModuleType, loss: LossConfig, message: str) -> None:
    trainer = small.ppo(small.changed(small.config().teacher, {"losses": {"l": loss}}))
    with pytest.raises(RobodistillError, match=message):
        small.iterate(trainer, 1)


@pytest.mark.parametrize(
    ("collect", "message"),
    [
        ({"drivers": {"teecher": (1.0, 1.0)}}, "did you mean 'teacher'"),
        ({"labeller": "expert"}, "unknown policy 'expert'"),
        ({"critic": "teacher"}, "unknown critic 'teacher'"),
        ({"update_normalizers": ("teacher", "student")}, "unknown network 'student'"),
    ],
)
def test_collection_names_what_it_does_not_find(small: ModuleType, collect: dict[str, Any], message: str) -> None:
    with pytest.raises(RobodistillError, match=message):
        small.ppo(small.changed(small.config().teacher, collect=collect))


def test_the_linear_and_the_cosine_schedule_end_where_they_should(small: ModuleType) -> None:
    for schedule, middle in (("linear", 0.55), ("cosine", 0.55), ("constant", 1.0)):
        phase = {"schedule": schedule, "lr": 1.0, "final_lr": 0.1, "losses": VALUE}
        trainer = small.ppo(small.changed(small.config().teacher, phase))
        (runner,) = trainer.phases.values()
        assert isinstance(runner, Phase)
        segment, _ = trainer.collector.collect(0.0)
        rates = [runner.run(segment, progress, trainer.generator)["policy/lr_ppo"] for progress in (0.0, 0.5, 1.0)]
        assert rates == pytest.approx([1.0, middle, 1.0 if schedule == "constant" else 0.1])
