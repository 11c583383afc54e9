"""The policy around its encoder: std, latent, head copied from a teacher, state dict, deployability."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.spec import Source, TermSpec
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.deployable import check_deployable
from robodistill_policies.encoders.base import reset_state
from robodistill_policies.policy import Policy

DIMS = {"sensors": 5, "privileged": 3}
MLP = EncoderConfig("robodistill_policies.encoders.mlp:MLPEncoder", ("privileged",), (8,), 6)
GRU = EncoderConfig("robodistill_policies.encoders.gru:GRUEncoder", ("sensors",), (12,), 6)
Make = Callable[..., Policy]


def observations(*shape: int) -> dict[str, Tensor]:
    return {group: 3.0 + 2.0 * torch.randn(*shape, dim) for group, dim in DIMS.items()}


def test_unroll_is_repeated_step(kind: EncoderConfig, make_policy: Make):
    policy, obs = make_policy(kind), observations(20, 6)
    resets = torch.rand(20, 6) < 0.1
    output, last = policy.unroll(obs, policy.initial_state(6), resets)
    state = policy.initial_state(6)
    for t in range(20):
        now = {group: value[t] for group, value in obs.items()}
        expected, state = policy.step(now, reset_state(state, resets[t]))
        torch.testing.assert_close(output.mean[t], expected.mean, rtol=0, atol=1e-5)
        torch.testing.assert_close(output.latent[t], expected.latent, rtol=0, atol=1e-5)
    torch.testing.assert_close(last, state, rtol=0, atol=1e-5)
    assert output.mean.shape == (20, 6, 4)
    assert output.latent.shape == (20, 6, policy.latent_dim)


def test_act_mean_is_step_without_gradients(kind: EncoderConfig, make_policy: Make):
    policy, obs = make_policy(kind), observations(6)
    mean, state = policy.act_mean(obs, policy.initial_state(6))
    expected, expected_state = policy.step(obs, policy.initial_state(6))
    assert torch.equal(mean, expected.mean)
    assert not mean.requires_grad
    assert all(torch.equal(state[key], expected_state[key]) for key in state)


def test_decide_is_the_actor_on_a_latent_from_elsewhere(make_policy: Make):
    policy, obs = make_policy(MLP), observations(6)
    output, _ = policy.step(obs, {})
    assert torch.equal(policy.decide({"sensors": obs["sensors"], **obs}, output.latent).mean, output.mean)
    assert not torch.allclose(policy.decide(obs, output.latent + 1.0).mean, output.mean)


def test_a_teacher_reads_the_privileged_group_only_through_its_latent(make_policy: Make):
    policy, obs = make_policy(MLP), observations(6)
    other = {**obs, "privileged": obs["privileged"] + 1.0}
    output, changed = policy.step(obs, {})[0], policy.step(other, {})[0]
    assert not torch.allclose(output.latent, changed.latent)
    assert torch.equal(policy.decide(other, output.latent).mean, output.mean)


def test_dropping_the_normaliser_changes_the_action(kind: EncoderConfig, make_policy: Make):
    policy, obs = make_policy(kind), observations(6)
    kept, _ = policy.act_mean(obs, policy.initial_state(6))
    for normalizer in policy.normalizers.values():
        normalizer.load_state_dict(type(normalizer)(5).state_dict())
    dropped, _ = policy.act_mean(obs, policy.initial_state(6))
    assert (kept - dropped).abs().amax(dim=-1).min() > 1e-3


def test_the_normaliser_moves_with_data_and_not_when_frozen(make_policy: Make):
    policy, obs = make_policy(MLP), observations(10, 6)
    before = policy.normalizers["privileged"].get_buffer("count").item()
    policy.update_normalizer(obs)
    assert policy.normalizers["privileged"].get_buffer("count").item() == before + 60
    policy.freeze_normalizer()
    policy.update_normalizer(obs)
    assert policy.normalizers["sensors"].get_buffer("count").item() == before + 60


def test_groups_are_read_in_the_order_of_the_configuration(make_policy: Make):
    policy = make_policy(EncoderConfig(), groups=("privileged", "sensors"))
    obs = observations(6)
    reordered = {group: obs[group] for group in reversed(list(obs))}
    assert torch.equal(policy.act_mean(obs, {})[0], policy.act_mean(reordered, {})[0])


@pytest.mark.parametrize(("norm", "bound"), [("tanh", 1.0), ("l2", 1.0)])
def test_latent_norm_bounds_the_latent(make_policy: Make, norm: str, bound: float):
    policy = make_policy(MLP, latent_norm=norm)
    latent = policy.step(observations(50), {})[0].latent
    if norm == "l2":
        torch.testing.assert_close(latent.norm(dim=-1), torch.ones(50))
    assert latent.abs().max() <= bound
    assert make_policy(MLP).step(observations(50), {})[0].latent.abs().max() > bound


def test_the_std_is_bounded_and_comes_back_from_the_bound():
    policy = Policy(PolicyConfig(init_std=0.5, min_std=0.1, max_std=2.0), DIMS, 4)
    torch.testing.assert_close(policy.log_std.exp(), torch.full((4,), 0.5))
    policy.raw_log_std.data = torch.tensor([-9.0, 9.0, -9.0, 9.0])
    torch.testing.assert_close(policy.log_std.exp(), torch.tensor([0.1, 2.0, 0.1, 2.0]))
    # Descent along these gradients moves the first two further out, the last two back.
    (policy.log_std * torch.tensor([1.0, -1.0, -1.0, 1.0])).sum().backward()
    assert policy.raw_log_std.grad is not None
    assert policy.raw_log_std.grad.tolist() == [0.0, 0.0, -1.0, 1.0]


def test_a_new_actor_hardly_acts_and_its_hidden_layers_are_orthogonal():
    policy = Policy(PolicyConfig(actor_hidden=(32, 32)), DIMS, 4)
    assert policy.act_mean(observations(100), {})[0].abs().max() < 0.2
    weight = policy.actor.get_parameter("2.weight")
    torch.testing.assert_close(weight @ weight.t(), 2.0 * torch.eye(32), rtol=0, atol=1e-5)
    torch.testing.assert_close(policy.actor.get_parameter("4.weight").norm(dim=1), torch.full((4,), 0.01))


def test_copy_head_from_makes_the_student_act_like_its_teacher_on_the_same_latent(make_policy: Make):
    teacher, student, obs = make_policy(MLP), make_policy(GRU, init_std=0.3), observations(6)
    output, _ = teacher.step(obs, {})
    assert not torch.allclose(student.decide(obs, output.latent).mean, output.mean)
    student.copy_head_from(teacher)
    found = student.decide({"sensors": obs["sensors"]}, output.latent)
    assert torch.equal(found.mean, output.mean)
    assert torch.equal(found.log_std, output.log_std)
    # A copy, not a share: training the student leaves the teacher alone.
    student.actor.get_parameter("0.weight").data.zero_()
    assert torch.equal(teacher.step(obs, {})[0].mean, output.mean)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder": replace(GRU, out_dim=7)}, "actor, 0.weight"),
        ({"actor_hidden": (17,)}, "actor, 0.bias"),
        ({"activation": "relu"}, "policy.activation"),
        ({"latent_norm": "tanh"}, "policy.latent_norm"),
        ({"groups": ("privileged", "sensors")}, "policy.groups"),
    ],
)
def test_copy_head_from_names_what_does_not_agree(make_policy: Make, change: dict[str, object], named: str):
    teacher = make_policy(MLP)
    config = replace(PolicyConfig(encoder=GRU, actor_hidden=(16,)), **change)
    student = Policy(config, DIMS, 4)
    before = {key: value.clone() for key, value in student.state_dict().items()}
    with pytest.raises(RobodistillError, match=named):
        student.copy_head_from(teacher)
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())


def test_the_state_dict_holds_everything(kind: EncoderConfig, make_policy: Make):
    policy, obs = make_policy(kind), observations(6)
    other = make_policy(kind)
    other.load_state_dict(policy.state_dict())
    state = policy.initial_state(6)
    for _ in range(4):
        mean, state_after = policy.act_mean(obs, state)
        assert torch.equal(mean, other.act_mean(obs, state)[0])
        state = state_after


def term(name: str, source: Source) -> TermSpec:
    return TermSpec(name, "m:f", source, (), 1, "1", "", (1.0,), 10.0, {}, None)


def test_a_student_with_a_privileged_term_does_not_build():
    terms = {
        "sensors": (term("gyro", "sensor"), term("base_lin_vel", "privileged")),
        "privileged": (term("friction", "privileged"),),
        "command": (term("twist", "command"), term("phase", "internal"), term("height", "estimated")),
    }
    config = PolicyConfig(encoder=GRU)
    with pytest.raises(RobodistillError, match=r"'base_lin_vel' is privileged"):
        Policy(config, DIMS, 4, terms)
    clean = {**terms, "sensors": (term("gyro", "sensor"),)}
    Policy(config, DIMS, 4, clean)
    Policy(replace(config, encoder=MLP), DIMS, 4)
    with pytest.raises(RobodistillError, match=r"'friction' is privileged"):
        Policy(replace(config, encoder=MLP), DIMS, 4, clean)
    check_deployable(("command",), terms)
    with pytest.raises(RobodistillError, match=r"did you mean 'sensors'"):
        check_deployable(("sensor",), terms)


def test_critic_values_have_the_shape_of_the_batch_and_its_own_normaliser():
    critic, obs = Critic(DIMS, (16,)), observations(7, 6)
    values = critic.value(obs)
    assert values.shape == (7, 6)
    torch.testing.assert_close(critic.value({g: v[3] for g, v in obs.items()}), values[3])
    critic.update_normalizer(obs)
    assert critic.normalizer.count.item() == 42
    assert not torch.allclose(critic.value(obs), values)
    assert critic.normalizer.mean.shape == (8,)


def test_init_std_is_the_start():
    policy = Policy(PolicyConfig(init_std=0.8), DIMS, 4)
    torch.testing.assert_close(policy.raw_log_std.data, torch.full((4,), math.log(0.8)))
