"""Fine-tuning begins where the student stands: the same actions until the first step; anchors; refusals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from robodistill.builders import Build, student_networks
from robodistill.checkpoint import save_tree
from robodistill.methods import finetune
from robodistill.networks import checkpoint_texts, load_policy
from robodistill.settings import NetworkConfig, TrainConfig
from robodistill.trainer import Trainer
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy

ITERATIONS = 20


@pytest.fixture(scope="module")
def distilled(contract: ModuleType, small: ModuleType, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a student after three iterations of DAgger."""
    trainer = contract.make("dagger", trained)
    student = trainer.networks["student"]
    assert isinstance(student, Policy)
    small.enlarge(student)
    contract.iterate(trainer, 3)
    folder = tmp_path_factory.mktemp("distilled") / "last"
    save_tree(folder, trainer.state_dict(), checkpoint_texts(student, trainer.env.spec))
    return folder


def tuned(
    contract: ModuleType, trained: Path, start: str, seed: int = 3, critic: str = "", **collect: Any
) -> Trainer:
    run = contract.config("finetune")
    method = run.student.method
    networks = {
        **method.networks,
        "student": NetworkConfig("robodistill.methods.finetune:student", {"start": start, "init_std": 0.1}),
        "critic": NetworkConfig("robodistill.methods.finetune:critic", {"start": critic}),
    }
    steps = contract.WORLDS * contract.STEPS * ITERATIONS
    method = dataclasses.replace(method, networks=networks, collect=dataclasses.replace(method.collect, **collect))
    train: TrainConfig = dataclasses.replace(run.student, method=method, total_steps=steps)
    torch.manual_seed(seed)
    env = VecEnv(run.task, contract.WORLDS, seed=seed, threads=1)
    saved = load_policy(trained, "teacher")
    networks = student_networks(train, env.spec, run.teacher.policy, saved)
    return Trainer(train, env, networks, seed, saved="student")


def driven(trainer: Trainer, policy: Policy, ticks: int = 30) -> tuple[list[Tensor], Tensor]:
    """Mean actions and return per world of ``policy`` in a fresh environment of one seed."""
    env = VecEnv(trainer.env.task, 8, seed=9, threads=1)
    obs, state, actions = env.reset(), policy.initial_state(8), []
    total = torch.zeros(8)
    for _ in range(ticks):
        action, state = policy.act_mean(obs, state)
        obs, reward, *_ = env.step(action)
        actions.append(action)
        total += reward
    return actions, total


def test_until_the_first_step_the_student_acts_as_it_was_distilled(
    contract: ModuleType, trained: Path, distilled: Path
) -> None:
    trainer = tuned(contract, trained, str(distilled))
    student = trainer.networks["student"]
    assert isinstance(student, Policy)
    original = load_policy(distilled, "student").policy
    expected, returns = driven(trainer, original)
    assert torch.stack(expected).std(0).min() > 0.01
    before = contract.parts(trainer)
    warm_up = [trainer.iterate() for _ in range(2)]  # a tenth of 20 iterations
    moved = contract.moved(before, contract.parts(trainer))
    assert moved == {"critic.net", "critic.normalizer"}
    found, same = driven(trainer, student)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.equal(same, returns)
    assert "loss/surrogate" not in warm_up[-1]
    after = trainer.iterate()
    assert "loss/surrogate" in after
    assert not torch.equal(driven(trainer, student)[0][0], expected[0])  # the control: now it learns
    norm = student.normalizers["sensors"]
    assert torch.equal(norm.get_buffer("mean"), original.normalizers["sensors"].get_buffer("mean"))


def test_the_first_segment_is_the_students_own(contract: ModuleType, trained: Path, distilled: Path) -> None:
    """What drives is the student's mean with the lowered deviation, drawn from the same seed."""
    trainer = tuned(contract, trained, str(distilled))
    segment, _ = trainer.collector.collect(0.0)
    original = load_policy(distilled, "student").policy
    state = original.initial_state(contract.WORLDS)
    output, _ = original.unroll(segment.obs, state, segment.resets)
    torch.testing.assert_close(segment.data["mean"], output.mean, rtol=0, atol=1e-5)
    assert torch.allclose(segment.data["log_std"].exp(), torch.tensor(0.1))


def test_anchored_to_its_start_the_divergence_begins_at_zero(
    contract: ModuleType, trained: Path, distilled: Path
) -> None:
    gaps: dict[str, float] = {}
    for labeller in ("start", "teacher"):
        trainer = tuned(contract, trained, str(distilled), labeller=labeller)
        segment, _ = trainer.collector.collect(0.0)
        gaps[labeller] = float((segment.data["label_mean"] - segment.data["mean"]).abs().max())
    assert gaps["start"] == 0.0
    assert gaps["teacher"] > 1e-3
    anchor = contract.config("finetune").student.method.phases["ppo"].losses["anchor"]
    assert [anchor.weight_at(p) for p in (0.1, 0.35, 0.6, 1.0)] == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_a_student_of_another_kind_is_refused(contract: ModuleType, trained: Path, distilled: Path) -> None:
    trainer = tuned(contract, trained, "")
    build = Build(trainer.config, trainer.env.spec, trainer.config.policy)
    with pytest.raises(RobodistillError, match="holds no student checkpoint"):
        finetune.student(build, start=str(trained), init_std=0.1)
    with pytest.raises(RobodistillError, match=r"init_std 9\.0 is outside"):
        finetune.student(build, start=str(distilled), init_std=9.0)
    slower = dataclasses.replace(trainer.env.spec, control_dt=9.0)
    with pytest.raises(RobodistillError, match="another control_dt"):
        finetune.student(dataclasses.replace(build, spec=slower), start=str(distilled), init_std=0.1)


def test_a_low_deviation_is_not_raised(contract: ModuleType, trained: Path) -> None:
    """Joint by joint: a teacher that ended surer than ``init_std`` in one of them is not made to doubt again."""
    run = contract.config("dagger_finetune")
    env = VecEnv(run.task, contract.WORLDS, seed=0, threads=1)
    teacher = load_policy(trained, "teacher")
    teacher.policy.raw_log_std.data.fill_(math.log(0.07))
    train = dataclasses.replace(run.student, copy_head=True)
    student = student_networks(train, env.spec, run.teacher.policy, teacher)["student"]
    assert isinstance(student, Policy)
    assert torch.allclose(student.log_std.exp(), torch.tensor(0.07))


@pytest.mark.parametrize("copy_head", [False, True])
@pytest.mark.parametrize("method", ["finetune", "dagger_finetune"])
def test_the_deviation_is_lowered_where_there_is_something_to_keep(
    contract: ModuleType, trained: Path, copy_head: bool, method: str
) -> None:
    """Of a student that a phase distils first, whosever head it has; who begins with RL alone has to explore."""
    run = contract.config(method)
    env = VecEnv(run.task, contract.WORLDS, seed=0, threads=1)
    train = dataclasses.replace(run.student, copy_head=copy_head)
    networks = student_networks(train, env.spec, run.teacher.policy, load_policy(trained, "teacher"))
    student, teacher = networks["student"], networks["teacher"]
    assert isinstance(student, Policy)
    assert isinstance(teacher, Policy)
    begins = teacher.log_std.exp() if copy_head else torch.tensor(train.policy.init_std)
    assert not torch.allclose(begins, torch.tensor(0.1))
    expected = torch.tensor(0.1) if method == "dagger_finetune" else begins
    assert torch.allclose(student.log_std.exp(), expected)
    weights = (policy.actor.state_dict().values() for policy in (student, teacher))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True)) == copy_head


def test_a_critic_of_dagger_value_goes_on(contract: ModuleType, trained: Path, tmp_path: Path) -> None:
    source = contract.make("dagger_value", trained, gamma=0.9)
    contract.iterate(source, 3)
    student, critic = (source.networks[name] for name in ("student", "critic"))
    assert isinstance(student, Policy)
    assert isinstance(critic, Critic)
    start = str(tmp_path / "last")
    save_tree(tmp_path / "last", source.state_dict(), checkpoint_texts(student, source.env.spec, critic))
    trainer = tuned(contract, trained, start, critic=start, gamma=0.9)
    ours = trainer.networks["critic"]
    assert isinstance(ours, Critic)
    fresh = tuned(contract, trained, start, gamma=0.9).networks["critic"]
    counts = [float(c.normalizer.get_buffer("count")) for c in (ours, critic)]
    assert counts[0] == counts[1] + contract.WORLDS  # it has taken in the first observations
    ours.normalizer.load_state_dict(critic.normalizer.state_dict())
    obs = source.collector.obs
    assert torch.equal(ours.value(obs), critic.value(obs))
    assert isinstance(fresh, Critic)
    assert not torch.allclose(fresh.value(obs), critic.value(obs))
    before = contract.parts(trainer)
    trainer.iterate()
    assert contract.moved(before, contract.parts(trainer)) == {"critic.net", "critic.normalizer"}
    with pytest.raises(RobodistillError, match=r"trained with gamma 0\.9, not 0\.99; set .*gamma=0\.9"):
        tuned(contract, trained, start, critic=start)
    with pytest.raises(RobodistillError, match=r"holds no student|holds no critic"):
        tuned(contract, trained, start, critic=str(trained))
    build = Build(trainer.config, dataclasses.replace(trainer.env.spec, control_dt=9.0), trainer.config.policy)
    with pytest.raises(RobodistillError, match="another control_dt"):
        finetune.critic(build, start=start)


def test_imitation_and_reinforcement_take_turns(contract: ModuleType) -> None:
    phases = contract.config("dagger_finetune").student.method.phases
    assert phases["imitate"].end <= phases["ppo"].begin
    assert phases["value"].begin < phases["ppo"].begin
