"""One network in two roles: the masked network that it stands for, the losses of GPO and pi-Distill by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from robodistill import losses
from robodistill.checkpoint import save_tree
from robodistill.export import RobotGraph
from robodistill.methods import coefficient, gpo, pi_distill, shared
from robodistill.networks import checkpoint_texts, load_policy
from robodistill.segment import Minibatch, find
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.policy import Policy

DIMS = {"sensors": 3, "privileged": 2}
GRU = EncoderConfig("robodistill_policies.encoders.gru:GRUEncoder", ("sensors",), (6,), 4)
NOBODY = Path("no teacher is needed")
SHARED = ("gpo", "gpo_penalty", "pi_distill", "opsd")


def pair(encoder: EncoderConfig = GRU, actions: int = 2) -> tuple[Policy, shared.Guide]:
    learner = Policy(PolicyConfig(actor_hidden=(8, 8), encoder=encoder), DIMS, actions)
    guide = shared.Guide(learner, DIMS, ("privileged",))
    for parameter in guide.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    learner.raw_log_std.data.fill_(-0.5)
    guide.raw_log_std.data.fill_(-0.8)
    guide.update_normalizer({g: 2.0 + 3.0 * torch.randn(64, d) for g, d in DIMS.items()})
    return learner, guide


def masked(guide: shared.Guide, obs: dict[str, Tensor], latent: Tensor, m: float) -> Tensor:
    """The published form: one first layer on [o, z, m p, m], the privileged part and the flag times a mask."""
    first, rest = guide.actor[0], guide.actor[1:]
    assert isinstance(first, nn.Linear)
    dense = nn.Linear(3 + 4 + 2 + 1, 8)
    dense.weight.data = torch.cat(
        [first.weight, guide.columns.weight, guide.columns.bias.unsqueeze(1)], dim=1
    ).detach()
    dense.bias.data = first.bias.detach()
    o, p = (guide.normalizers[g](obs[g]) for g in ("sensors", "privileged"))
    flag = torch.full((*o.shape[:-1], 1), m)
    return rest(dense(torch.cat([o, latent, m * p, flag], dim=-1)))


def test_two_roles_are_one_masked_network_and_the_stripped_one_is_the_mask_at_0() -> None:
    learner, guide = pair()
    obs, resets = {g: torch.randn(7, 5, d) for g, d in DIMS.items()}, torch.rand(7, 5) < 0.2
    student, _ = learner.unroll(obs, learner.initial_state(5), resets)
    teacher, _ = guide.unroll(obs, guide.initial_state(5), resets)
    assert torch.equal(student.latent, teacher.latent)
    torch.testing.assert_close(student.mean, masked(guide, obs, student.latent, 0.0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(teacher.mean, masked(guide, obs, student.latent, 1.0), rtol=1e-5, atol=1e-6)
    assert (student.mean - teacher.mean).abs().mean() > 0.05  # the control: the mask matters
    assert not torch.equal(student.log_std, teacher.log_std)
    other, _ = guide.unroll({**obs, "privileged": obs["privileged"] + 1.0}, guide.initial_state(5), resets)
    assert (other.mean - teacher.mean).abs().mean() > 0.05


def test_what_is_shared_is_trained_once_and_learns_from_both_roles() -> None:
    learner, guide = pair()
    ours = {id(p) for p in learner.parameters()}
    theirs = {name for name, p in guide.named_parameters() if id(p) not in ours}
    assert theirs == {"raw_log_std", "columns.weight", "columns.bias"}
    assert guide.normalizers["sensors"] is learner.normalizers["sensors"]
    with pytest.raises(RobodistillError, match="plain head"):
        shared.Guide(Policy(PolicyConfig(head="mixture"), DIMS, 2), DIMS, ("privileged",))


@pytest.mark.parametrize("method", SHARED)
def test_the_student_of_a_shared_network_knows_nothing_privileged(
    contract: ModuleType, small: ModuleType, method: str, tmp_path: Path
) -> None:
    trainer = contract.make(method, NOBODY)
    student, teacher = trainer.networks["student"], trainer.networks["teacher"]
    assert isinstance(student, Policy)
    assert isinstance(teacher, shared.Guide)
    small.enlarge(student)
    contract.iterate(trainer, 2)
    save_tree(tmp_path / "last", trainer.state_dict(), checkpoint_texts(student, trainer.env.spec))
    stripped = load_policy(tmp_path / "last", "student").policy
    assert not [name for name, _ in stripped.named_parameters() if "columns" in name]
    assert list(RobotGraph(stripped, trainer.env.spec).spec.groups) == ["sensors"]
    obs = trainer.collector.obs
    action, _ = stripped.act_mean(obs, stripped.initial_state(contract.WORLDS))
    # the same network with its privileged columns and flag masked
    latent = student.step(obs, student.initial_state(contract.WORLDS))[0].latent
    with torch.no_grad():
        teacher.columns.weight.zero_()
        teacher.columns.bias.zero_()
        torch.testing.assert_close(action, teacher.decide(obs, latent).mean, rtol=1e-5, atol=1e-6)
        teacher.columns.bias.fill_(1.0)
        assert not torch.allclose(action, teacher.decide(obs, latent).mean, atol=1e-3)


def made_batch(steps: int = 400) -> Minibatch:
    learner, guide = pair(EncoderConfig())
    old, _ = pair(EncoderConfig())
    obs = {g: torch.randn(steps, d) for g, d in DIMS.items()}
    with torch.no_grad():
        mean = guide.step(obs, {})[0].mean + 0.1 * old.step(obs, {})[0].mean
    log_std = torch.full_like(mean, -0.7)
    action = mean + log_std.exp() * torch.randn_like(mean)
    data = {
        "action": action, "mean": mean, "log_std": log_std, "advantage": torch.randn(steps),
        "role": torch.randint(0, 2, (steps,)), "log_prob": Normal(mean, log_std.exp()).log_prob(action).sum(-1),
    }  # fmt: skip
    networks = {"student": learner, "teacher": guide, "beta": coefficient.Coefficient(0.25)}
    return Minibatch(networks, obs, data, drivers=("teacher", "student"))


def normal(batch: Minibatch, name: str) -> Normal:
    output = batch.output(name)
    return Normal(output.mean, output.log_std.exp().expand_as(output.mean))


@pytest.mark.parametrize("reverse", [False, True])
def test_pull_is_torchs_divergence_and_moves_one_side_only(reverse: bool) -> None:
    batch = made_batch()
    student, teacher = normal(batch, "student"), normal(batch, "teacher")
    kl = kl_divergence(student, teacher) if reverse else kl_divergence(teacher, student)
    mine = batch.role_mask("teacher")
    loss = shared.pull(
        batch, policy="student", toward="teacher", reverse=reverse, role="teacher", coefficient="beta"
    )
    assert float(loss.detach()) == pytest.approx(0.25 * float(kl.mean(-1)[mine].mean().detach()), rel=1e-4)
    assert float(batch.metrics["kl_gap"]) == pytest.approx(4.0 * float(loss.detach()), rel=1e-5)
    loss.backward()
    guide, learner = batch.policy("teacher"), batch.policy("student")
    assert isinstance(guide, shared.Guide)
    assert guide.columns.weight.grad is None
    assert guide.raw_log_std.grad is None
    assert learner.raw_log_std.grad is not None


def test_the_guiders_clip_by_hand_and_it_gains_nothing_by_running_ahead() -> None:
    batch, delta, clip = made_batch(), 0.3, 0.2
    log_mu, log_pi = (normal(batch, n).log_prob(batch["action"]).sum(-1) for n in ("teacher", "student"))
    rho, apart = torch.exp(log_mu - batch["log_prob"]), torch.exp(log_mu - log_pi)
    near = apart.clamp(1 - delta, 1 + delta) * torch.exp(log_pi - batch["log_prob"])
    objective = torch.minimum(rho * batch["advantage"], near.clamp(1 - clip, 1 + clip) * batch["advantage"])
    loss = gpo.double_clipped(batch, policy="teacher", learner="student", clip=clip, delta=delta)
    assert float(loss.detach()) == pytest.approx(-float(objective.mean().detach()), rel=1e-3)
    outside = (apart - 1.0).abs() > delta
    assert float(batch.metrics["ahead"]) == pytest.approx(float(outside.float().mean()))
    assert 0.1 < float(batch.metrics["ahead"]) < 0.95
    kl = kl_divergence(normal(batch, "teacher"), normal(batch, "student")).mean(-1)
    back = gpo.backtrack(batch, policy="teacher", learner="student", delta=delta)
    assert float(back.detach()) == pytest.approx(float((kl * outside).mean().detach()), rel=1e-4)
    # a step that is ahead, with an advantage that says go on: PPO's gradient is there, this one's is not
    good = (apart > 1.0 + delta) & (rho < 1.0 + clip) & (near > 1.0 - clip)
    assert bool(good.any())
    batch.data["advantage"] = good.float()
    guide = batch.policy("teacher")
    for function, moves in ((losses.surrogate, True), (gpo.double_clipped, False)):
        extra: dict[str, Any] = {"clip": clip} if moves else {"clip": clip, "learner": "student", "delta": delta}
        (gradient,) = torch.autograd.grad(
            function(batch, policy="teacher", **extra), [guide.raw_log_std], retain_graph=True
        )
        assert bool(gradient.abs().max() > 1e-6) == moves


def test_the_other_roles_surrogate_is_ppos_where_ratios_are_bounded() -> None:
    batch = made_batch()
    with torch.no_grad():
        found = shared.off_surrogate(batch, policy="student", role="teacher", coefficient="beta", name="student")
        ratio = torch.exp(normal(batch, "student").log_prob(batch["action"]).sum(-1) - batch["log_prob"])
        mine, advantage = batch.role_mask("teacher"), batch["advantage"]
        bounded = ratio.clamp(max=shared.SUREST)
        objective = torch.minimum(bounded * advantage, ratio.clamp(0.8, 1.2) * advantage)
        assert float(found) == pytest.approx(-0.25 * float(objective[mine].mean()), rel=1e-4)
        batch.data["log_prob"] = batch["log_prob"] - 200.0  # its density overflows
        assert math.isfinite(
            float(shared.off_surrogate(batch, policy="student", role="teacher", name="student"))
        )
        assert not math.isfinite(float(losses.surrogate(batch, policy="student", role="teacher")))  # the control


def test_the_coefficient_follows_its_figure() -> None:
    networks: dict[str, nn.Module] = {"beta": coefficient.Coefficient(1.0)}
    beta = networks["beta"].get_buffer("value")
    rule: dict[str, Any] = {
        "coefficient": "beta", "figure": "kl", "target": 0.1, "band": 1.5, "factor": 2.0, "bounds": (0.4, 3.0)
    }  # fmt: skip
    for kl, expected in ((0.16, 2.0), (0.14, 2.0), (0.07, 2.0), (0.06, 1.0), (0.0, 0.5), (0.0, 0.4), (9.0, 0.8)):
        metrics, before = {"kl": torch.tensor(kl)}, float(beta)
        coefficient.steer(networks, metrics, **rule)
        assert float(beta) == pytest.approx(expected)
        assert float(metrics["beta"]) == before  # the log has what the step was made with
    coefficient.steer(networks, {}, **rule)
    assert float(beta) == pytest.approx(0.8)
    with pytest.raises(RobodistillError, match="use more than 0"):
        coefficient.coefficient(None, start=0.0)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("method", ["pi_distill", "opsd"])
def test_disagreement_lowers_the_reward(
    contract: ModuleType, method: str, make_batch: Callable[..., Minibatch]
) -> None:
    rewards: list[Tensor] = []
    for shaped in (True, False):
        trainer = contract.make(method, NOBODY)
        guide = trainer.networks["teacher"]
        assert isinstance(guide, shared.Guide)
        guide.columns.bias.data.fill_(2.0)
        guide.actor[-1].get_parameter("weight").data.mul_(30.0)
        if not shaped:
            vars(trainer.collector)["_shape"] = {}
        segment, _ = trainer.collector.collect(0.5)
        rewards.append(segment.data["reward"])
    networks = dict(trainer.networks.items())
    names = {"teacher": "teacher", "student": "student"}
    gap = pi_distill.disagreement(segment, networks, **names)
    assert gap.min() >= 0.0
    assert gap.mean() > 1e-3
    torch.testing.assert_close(rewards[0], rewards[1] - 0.25 * gap)
    # by hand, from both roles on the whole segment
    outputs = [
        find(networks, n, Policy, "test").unroll(segment.obs, segment.states[n], segment.resets)[0]
        for n in segment.drivers
    ]
    normals = [Normal(o.mean, o.log_std.exp().expand_as(o.mean)) for o in outputs]
    drove = segment.data["role"] == 0
    expected = torch.where(
        drove, kl_divergence(*normals).mean(-1), kl_divergence(normals[1], normals[0]).mean(-1)
    )
    torch.testing.assert_close(gap, expected.detach(), rtol=1e-3, atol=1e-5)
