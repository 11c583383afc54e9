"""Mixed heads: their means by hand, where gradients go, that one component is the plain head, and their export."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robodistill_deploy.errors import SpecError
from robodistill_policies.config import EncoderConfig, HeadKind, PolicyConfig
from robodistill_policies.encoders.base import reset_state
from robodistill_policies.heads import Experts, Mixture, Parts
from robodistill_policies.policy import Policy

MIXED = ("mixture", "experts")
GRU = EncoderConfig("robodistill_policies.encoders.gru:GRUEncoder", ("sensors",), (12,), 6)
DIMS = {"sensors": 5, "privileged": 3}
CONFIG = PolicyConfig(actor_hidden=(16,), components=3)


def parts(*weights: float) -> Parts:
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 4.0]]).requires_grad_(True)
    return Parts(means, torch.tensor(weights).log().requires_grad_(True))


def test_the_likeliest_gaussian_acts_and_experts_blend() -> None:
    given = parts(0.45, 0.4, 0.15)
    likeliest = Mixture(5, 2, CONFIG).mean(given)
    blend = Experts(5, 2, CONFIG).mean(given)
    assert likeliest.tolist() == [-1.0, 0.0]
    assert blend.tolist() == pytest.approx([-0.05, 0.6])  # into the obstacle between the two ways
    (to_means,) = torch.autograd.grad(likeliest.sum(), given.means)
    assert to_means.tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    to_means, to_weights = torch.autograd.grad(blend.sum(), (given.means, given.log_weights))
    assert to_means[2].tolist() == pytest.approx([0.15, 0.15])
    assert to_weights.abs().min() > 0.0


@pytest.mark.parametrize("head", MIXED)
def test_weights_sum_to_one_and_means_begin_small_and_apart(head: HeadKind) -> None:
    policy = Policy(PolicyConfig(actor_hidden=(16,), head=head), DIMS, 2)
    output = policy.step({"sensors": torch.randn(7, 5)}, {})[0]
    assert output.parts is not None
    assert output.parts.means.shape == (7, 4, 2)
    torch.testing.assert_close(output.parts.log_weights.exp().sum(-1), torch.ones(7))
    assert output.mean.abs().max() < 0.6
    assert output.parts.means.std(-2).min() > (0.1 if head == "mixture" else 0.0)


@pytest.mark.parametrize("head", MIXED)
def test_one_part_is_a_plain_mlp(head: HeadKind) -> None:
    policy = Policy(PolicyConfig(actor_hidden=(16,), head=head, components=1), DIMS, 2)
    obs = {"sensors": torch.randn(7, 5)}
    mixed = policy.actor[0]
    if isinstance(mixed, Mixture):
        expected = mixed.net(policy.normalizers["sensors"](obs["sensors"]))[..., :2]
    else:
        assert isinstance(mixed, Experts)
        expected = mixed.experts[0](policy.normalizers["sensors"](obs["sensors"]))
    torch.testing.assert_close(policy.step(obs, {})[0].mean, expected)


@pytest.mark.parametrize("head", MIXED)
def test_unroll_is_repeated_step(make_policy: Callable[..., Policy], head: HeadKind) -> None:
    policy = make_policy(GRU, head=head)
    obs, resets = {"sensors": 3.0 + 2.0 * torch.randn(20, 6, 5)}, torch.rand(20, 6) < 0.1
    output, _ = policy.unroll(obs, policy.initial_state(6), resets)
    state = policy.initial_state(6)
    for t in range(20):
        expected, state = policy.step({"sensors": obs["sensors"][t]}, reset_state(state, resets[t]))
        torch.testing.assert_close(output.mean[t], expected.mean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", MIXED)
def test_every_part_begins_as_the_teachers_plain_head(head: HeadKind) -> None:
    """Experts do what it does; the means of a mixture lie evenly within one deviation of it."""
    teacher = Policy(PolicyConfig(actor_hidden=(16,), init_std=0.2), DIMS, 2)
    teacher.raw_log_std.data += torch.tensor([0.0, 0.5])
    teacher.actor.get_parameter("2.weight").data *= 100.0  # as one that has learnt
    student = Policy(PolicyConfig(actor_hidden=(16,), head=head), DIMS, 2)
    obs = {"sensors": torch.randn(7, 5)}
    before = student.step(obs, {})[0].mean
    student.copy_head_from(teacher)
    expected, found = teacher.step(obs, {})[0], student.step(obs, {})[0]
    assert not torch.allclose(before, expected.mean, atol=0.01)
    assert torch.equal(found.log_std, expected.log_std)
    assert found.parts is not None
    off = (found.parts.means - expected.mean.unsqueeze(-2)) / expected.log_std.exp()
    places = torch.linspace(-1.0, 1.0, 4) if head == "mixture" else torch.zeros(4)
    torch.testing.assert_close(off, places[:, None].expand(7, 4, 2), rtol=0, atol=1e-4)
    # a copy: what trains the student leaves the teacher alone
    for parameter in student.actor.parameters():
        parameter.data.zero_()
    assert torch.equal(teacher.step(obs, {})[0].mean, expected.mean)


@pytest.mark.parametrize("head", MIXED)
def test_heads_that_do_not_fit_are_not_copied(head: HeadKind) -> None:
    student = Policy(PolicyConfig(actor_hidden=(16,), head=head), DIMS, 2)
    weights = {key: value.clone() for key, value in student.state_dict().items()}
    with pytest.raises(SpecError, match=r"copy_head_from: actor, 0\.bias"):
        student.copy_head_from(Policy(PolicyConfig(actor_hidden=(17,)), DIMS, 2))
    with pytest.raises(SpecError, match="copy_head_from: actor"):
        student.copy_head_from(Policy(PolicyConfig(actor_hidden=(16,), head=head, components=2), DIMS, 2))
    plain = Policy(PolicyConfig(actor_hidden=(16,)), DIMS, 2)
    with pytest.raises(SpecError, match=f"policy.head is '{head}' in the teacher, 'gaussian' here"):
        plain.copy_head_from(student)
    with pytest.raises(SpecError, match=f"share_head_with: a head of kind '{head}' cannot be a plain one's"):
        student.share_head_with(plain)
    assert all(torch.equal(value, weights[key]) for key, value in student.state_dict().items())


def test_a_head_that_is_none_is_named() -> None:
    with pytest.raises(SpecError, match=r"policy\.head: .*did you mean 'mixture'"):
        PolicyConfig(head="mixtures")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SpecError, match=r"policy\.components: 0 is out of range"):
        PolicyConfig(components=0)


def test_a_mixture_fits_two_modes_where_a_plain_head_takes_their_middle() -> None:
    """The control: the mean of labels +-1 is 0, which nobody did."""
    torch.manual_seed(3)
    sides = torch.where(torch.rand(512, 1) < 0.5, -1.0, 1.0)
    x = torch.randn(512, 5)
    policy = Policy(PolicyConfig(actor_hidden=(16,), head="mixture", components=2, init_std=0.3), DIMS, 1)
    plain = Policy(PolicyConfig(actor_hidden=(16,)), DIMS, 1)
    optimizer = torch.optim.Adam([*policy.parameters(), *plain.parameters()], lr=1e-2)
    for _ in range(150):
        output = policy.step({"sensors": x}, {})[0]
        assert output.parts is not None
        error = (sides.unsqueeze(-2) - output.parts.means) / output.log_std.exp()
        density = output.parts.log_weights - 0.5 * error.square().sum(-1) - output.log_std.sum()
        loss = F.mse_loss(plain.step({"sensors": x}, {})[0].mean, sides) - density.logsumexp(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (policy.step({"sensors": x}, {})[0].mean.abs() - 1.0).abs().mean() < 0.1
    assert plain.step({"sensors": x}, {})[0].mean.abs().mean() < 0.4


class Tick(nn.Module):
    """The mean action of a policy without memory."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, sensors: Tensor) -> Tensor:
        return self.policy.step({"sensors": sensors}, {})[0].mean


@pytest.mark.slow
@pytest.mark.parametrize("head", MIXED)
def test_onnx_is_torch(make_policy: Callable[..., Policy], head: HeadKind, tmp_path: Path) -> None:
    tick = Tick(make_policy(EncoderConfig(), head=head)).eval()
    path = tmp_path / "policy.onnx"
    torch.onnx.export(tick, (torch.zeros(1, 5),), path, dynamo=True, opset_version=18, verbose=False,
                      external_data=False, input_names=["sensors"], output_names=["action"])  # fmt: skip
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    seen = []
    for _ in range(200):
        sensors = 3.0 + 2.0 * torch.randn(1, 5)
        action = np.asarray(session.run(None, {"sensors": sensors.numpy()})[0])
        assert float(np.abs(action - tick(sensors).detach().numpy()).max()) <= 1e-5
        seen.append(action)
    assert np.std(np.concatenate(seen), axis=0).min() > 1e-3
    assert math.isfinite(float(np.concatenate(seen).max()))
