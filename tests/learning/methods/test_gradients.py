"""Where gradients stop: of each loss of these methods, to every part of every network, whatever a phase may move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from robodistill.builders import Build
from robodistill.methods import networks
from robodistill.networks import load_policy
from robodistill.phases import Phase, parameters_of
from robodistill.segment import Minibatch, by_world
from robodistill.trainer import Trainer
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.policy import Policy

NOBODY = Path("no teacher is needed")
ENCODER, ACTOR, STD = "student.encoder", "student.actor", "student.raw_log_std"
# method, phase, loss -> the parts that the loss alone has a gradient for
REACHES = {
    ("roa", "ppo", "regularisation"): {"teacher.encoder"},
    ("roa", "adapter", "adapt"): {ENCODER},
    ("cts", "adapt", "latent"): {ENCODER},
    # without the phase's list of networks RL would reach the student's encoder
    ("cts", "ppo", "surrogate_student"): {ENCODER, ACTOR, STD, "teacher.actor", "teacher.raw_log_std"},
    ("cts", "ppo", "surrogate"): {"teacher.encoder", "teacher.actor", "teacher.raw_log_std", ACTOR, STD},
    ("estimator", "ppo", "surrogate"): {ENCODER, ACTOR, STD},
    ("estimator", "estimate", "estimate"): {ENCODER},
    ("dreamwaq", "estimate", "foretell"): {ENCODER, "decoder.net"},
    ("dreamwaq", "estimate", "compression"): {ENCODER},
    ("him", "ppo", "surrogate"): {ENCODER, ACTOR, STD},
    ("him", "model", "contrast"): {ENCODER, "prototypes.target", "prototypes.directions"},
    ("hib", "ppo", "surrogate"): {ENCODER, ACTOR, STD},
    ("hib", "ppo", "similarity"): {ENCODER, "decoder.net"},
    ("hib", "ppo", "compression"): {ENCODER},
    ("hib_cosine", "ppo", "similarity"): {ENCODER, "projector.net"},
    ("hib_cosine", "ppo", "ground"): {"embedding.online", "embedding.value"},
    ("hib_infonce", "ppo", "similarity"): {ENCODER, "projector.net", "embedding.online"},
}


def batch_of(trainer: Trainer) -> Minibatch:
    segment, _ = trainer.collector.collect(0.0)
    return next(by_world(segment, dict(trainer.networks.items()), 1, trainer.generator))


def reached(trainer: Trainer, phase: Phase, loss: str) -> Iterator[str]:
    """The parts with a gradient of one loss."""
    value = phase.losses[loss](batch_of(trainer), **phase.config.losses[loss].params)
    every = dict(trainer.networks.named_parameters(remove_duplicate=False))
    trained = {name: p for name, p in every.items() if p.requires_grad}
    gradients = torch.autograd.grad(value, list(trained.values()), allow_unused=True, materialize_grads=True)
    for name, gradient in zip(trained, gradients, strict=True):
        if bool(gradient.abs().max() > 0.0):
            yield ".".join(name.split(".")[:2])


@pytest.mark.parametrize(("method", "phase", "loss"), list(REACHES), ids=str)
def test_gradients_reach_these_parts_and_no_others(
    contract: ModuleType, small: ModuleType, method: str, phase: str, loss: str
) -> None:
    # takeover would leave a segment without the teacher's steps
    trainer = contract.make(method, NOBODY, takeover={})
    small.enlarge(trainer.networks["student"])  # at the start an actor hardly lets a gradient through
    assert set(reached(trainer, trainer.phases[phase], loss)) == REACHES[method, phase, loss]


def test_a_shared_head_is_saved_once_for_each_name_and_trained_once(contract: ModuleType) -> None:
    trainer = contract.make("cts", NOBODY)
    teacher, student = trainer.networks["teacher"], trainer.networks["student"]
    assert isinstance(teacher, Policy)
    assert isinstance(student, Policy)
    contract.iterate(trainer, 2)
    for ours, theirs in zip(student.actor.parameters(), teacher.actor.parameters(), strict=True):
        assert ours is theirs
    counted = trainer.phases["ppo"].parameters
    assert len({id(p) for p in counted}) == len(counted)
    norm = student.normalizers["sensors"]
    # its statistics took in the first observations and two segments, each once
    assert int(norm.get_buffer("count")) == contract.WORLDS * (1 + 2 * contract.STEPS)


def test_adaptation_keeps_the_trained_head_bit_for_bit(contract: ModuleType, trained: Path) -> None:
    trainer = contract.make("rma", trained)
    contract.iterate(trainer, 3)
    student, teacher = trainer.networks["student"], load_policy(trained, "teacher").policy
    assert isinstance(student, Policy)
    latent = torch.randn(5, student.latent_dim)
    obs = {"sensors": torch.randn(5, 4)}
    theirs = teacher.decide({**obs, "privileged": torch.zeros(5, 8)}, latent)
    assert torch.equal(student.decide(obs, latent).mean, theirs.mean)


def test_a_head_of_nobody_is_named(contract: ModuleType) -> None:
    run = contract.config("cts")
    trainer = contract.make("cts", NOBODY)
    build = Build(run.student, trainer.env.spec, run.teacher.policy)
    with pytest.raises(RobodistillError, match="unknown network made before 'teacher'"):
        networks.student(build, head="teacher")
    with pytest.raises(RobodistillError, match="needs_teacher"):
        networks.student(build, head="trained")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("student.raw_log_std",), {STD}),
        (("student.actor", "student.raw_log_std"), {ACTOR, STD}),
    ],
)
def test_a_phase_may_name_one_parameter(
    contract: ModuleType, names: tuple[str, ...], expected: set[str]
) -> None:
    trainer = contract.make("him", NOBODY)
    picked = {id(p) for p in parameters_of(trainer.networks, names)}
    found = {".".join(n.split(".")[:2]) for n, p in trainer.networks.named_parameters() if id(p) in picked}
    assert found == expected
    with pytest.raises(RobodistillError, match=r"did you mean 'student\.raw_log_std'"):
        parameters_of(trainer.networks, ("student.raw_log_stdd",))
