"""RMA, ROA, CTS and Lee et al.: distances between latents by hand, and where their gradients go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robodistill.methods import cts, lee2020, roa
from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError

Make = Callable[..., Minibatch]


def pair() -> dict[str, Tensor]:
    """Two latents (3, 2), 5, 13 and 0 apart."""
    teacher = torch.tensor([[0.0, 0.0], [1.0, 1.0], [7.0, 7.0]], requires_grad=True)
    student = torch.tensor([[3.0, 4.0], [6.0, 13.0], [7.0, 7.0]], requires_grad=True)
    return {"teacher": teacher, "student": student}


def test_roa_is_the_norm_not_its_square(make_batch: Make) -> None:
    latents = pair()
    loss = roa.latent_gap(make_batch(latents), policy="teacher", toward="student")
    assert loss.item() == pytest.approx((5.0 + 13.0 + 0.0) / 3.0)
    loss.backward()
    gradient = latents["teacher"].grad
    assert gradient is not None
    # of length one per sample however far apart the two are, and none where they agree
    torch.testing.assert_close(gradient.norm(dim=-1), torch.tensor([1.0, 1.0, 0.0]) / 3.0)
    squared = (latents["teacher"] - latents["student"]).square().sum(-1).mean()
    (other,) = torch.autograd.grad(squared, latents["teacher"])
    assert not torch.allclose(other.norm(dim=-1), gradient.norm(dim=-1))


@pytest.mark.parametrize(("policy", "toward"), [("teacher", "student"), ("student", "teacher")])
def test_roa_stops_the_gradient_on_the_other_side(make_batch: Make, policy: str, toward: str) -> None:
    latents = pair()
    roa.latent_gap(make_batch(latents), policy=policy, toward=toward).backward()
    assert latents[policy].grad is not None
    assert latents[toward].grad is None


def test_cts_regresses_where_the_student_drove_and_there_alone(make_batch: Make) -> None:
    latents = pair()
    role = torch.tensor([1, 0, 1])
    loss = cts.latent(make_batch(latents, data={"role": role}), student="student", teacher="teacher")
    assert loss.item() == pytest.approx((25.0 / 2.0 + 0.0) / 2.0)
    loss.backward()
    gradient = latents["student"].grad
    assert gradient is not None
    assert latents["teacher"].grad is None
    assert gradient[1].tolist() == [0.0, 0.0]
    assert gradient[0].abs().max() > 0.0
    nobody = make_batch(pair(), data={"role": torch.zeros(3, dtype=torch.int64)})
    assert cts.latent(nobody, student="student", teacher="teacher").item() == 0.0  # not the mean of nothing


def test_lee_sums_over_dimensions(make_batch: Make) -> None:
    mean = torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 3.0]])
    data = {"label_mean": torch.zeros(3, 2), "label_latent": torch.zeros(3, 2)}
    batch = make_batch({"student": pair()["teacher"]}, mean=mean, data=data)
    assert float(lee2020.squared_length(batch, policy="student", of="action")) == pytest.approx((5 + 0 + 9) / 3)
    assert float(lee2020.squared_length(batch, policy="student", of="latent")) == pytest.approx((0 + 2 + 98) / 3)
    batch.data["label_mean"] = torch.zeros(3, 1)
    with pytest.raises(RobodistillError, match=r"\(3, 2\) and \(3, 1\)"):
        lee2020.squared_length(batch, policy="student", of="action")
