"""The bottleneck's three ways to know the privileged state: by hand, their gradients, and the alarm of collapse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robodistill import hooks
from robodistill.methods import hib
from robodistill.methods.heads import Head
from robodistill.segment import Minibatch
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy

Make = Callable[..., Minibatch]
NAMES: dict[str, Any] = {"policy": "student", "critic": "critic"}


def identity(inputs: int, outputs: int) -> Head:
    head = Head(inputs, outputs, ())
    layer = head.net[0]
    assert isinstance(layer, nn.Linear)
    layer.weight.data = torch.eye(outputs, inputs)
    return head


@pytest.fixture
def parts(gaussian_policy: Policy, critic: Critic) -> dict[str, nn.Module]:
    embedding = hib.Embedding(2, 2, ())
    last = embedding.online[0]
    assert isinstance(last, nn.Linear)
    last.weight.data = torch.eye(2)
    slow = hib.Embedding(2, 2, ())
    slow.load_state_dict(embedding.state_dict())
    return {
        "student": gaussian_policy, "critic": critic, "head": identity(4, 2), "embedding": embedding,
        "slow": slow.requires_grad_(False),
    }  # fmt: skip


def features(*estimates: tuple[float, float]) -> Tensor:
    """The first two elements of the latent are what the identity heads show."""
    rows = torch.tensor(estimates)
    return torch.cat((rows, torch.zeros(len(rows), 4)), dim=-1).requires_grad_(True)


def privileged(*normalised: tuple[float, float]) -> dict[str, Tensor]:
    """Privileged numbers that the critic's statistics turn into ``normalised``."""
    return {"privileged": torch.tensor([1.0, 2.0]) + torch.tensor([2.0, 0.5]) * torch.tensor(normalised)}


def test_decoder_by_hand(make_batch: Make, parts: dict[str, nn.Module]) -> None:
    given = features((1.0, 0.0), (0.0, 2.0))
    batch = make_batch({"student": given}, obs=privileged((0.0, 0.0), (0.0, -1.0)), networks=parts)
    loss = hib.decoded(batch, decoder="head", **NAMES)
    assert loss.item() == pytest.approx((0.5 * 1.0 + 0.5 * 9.0) / 2.0, rel=1e-4)
    loss.backward()
    assert given.grad is not None
    assert given.grad.abs().max() > 0.0


def test_cosine_by_hand_and_its_target_stands_still(make_batch: Make, parts: dict[str, nn.Module]) -> None:
    given = features((3.0, 0.0), (0.0, 2.0), (-1.0, 0.0))
    obs = privileged((5.0, 0.0), (1.0, 0.0), (1.0, 0.0))
    batch = make_batch({"student": given}, obs=obs, networks=parts)
    loss = hib.cosine(batch, projector="head", target="slow", **NAMES)
    assert loss.item() == pytest.approx(1.0 - (1.0 + 0.0 - 1.0) / 3.0, abs=1e-5)
    loss.backward()
    assert given.grad is not None
    assert all(p.grad is None for name in ("slow", "embedding") for p in parts[name].parameters())


def test_the_return_trains_the_embedding_and_the_slow_one_follows(
    make_batch: Make, parts: dict[str, nn.Module]
) -> None:
    batch = make_batch(
        {}, obs=privileged((0.0, 1.0), (1.0, 0.0), (2.0, 2.0)), data={"return": torch.tensor([1.0, 2.0, 9.0])},
        networks=parts,
    )  # fmt: skip
    hib.ground(batch, embedding="embedding", critic="critic").backward()
    embedding, slow = parts["embedding"], parts["slow"]
    assert isinstance(embedding, hib.Embedding)
    assert isinstance(slow, hib.Embedding)
    assert all(p.grad is not None for p in embedding.parameters())
    # ten times the return and a shift are the same task
    batch.data["return"] = 10.0 * batch.data["return"] + 3.0
    again = hib.ground(batch, embedding="embedding", critic="critic")
    batch.data["return"] = batch.data["return"] / 10.0
    assert float(again) == pytest.approx(float(hib.ground(batch, embedding="embedding", critic="critic")), rel=1e-4)
    layer, copied = embedding.online[0], slow.online[0]
    assert isinstance(layer, nn.Linear)
    assert isinstance(copied, nn.Linear)
    layer.weight.data.fill_(2.0)
    with torch.no_grad():
        hooks.ema(parts, {}, source="embedding", target="slow", decay=0.75)
    torch.testing.assert_close(copied.weight, 0.75 * torch.eye(2) + 0.25 * torch.full((2, 2), 2.0))


def test_infonce_by_hand(make_batch: Make, parts: dict[str, nn.Module]) -> None:
    ways = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
    given = features(*ways)
    batch = make_batch({"student": given}, obs=privileged(*ways), networks=parts)
    loss = hib.infonce(batch, projector="head", embedding="embedding", temperature=1.0, **NAMES)
    # cosines of each with the four: 1, 0, 0, -1
    assert loss.item() == pytest.approx(math.log(math.e + 2.0 + 1.0 / math.e) - 1.0, rel=1e-4)
    loss.backward()
    assert given.grad is not None
    embedding = parts["embedding"]
    assert isinstance(embedding, hib.Embedding)
    assert all(p.grad is not None for p in embedding.online.parameters())
    same = make_batch({"student": features(*ways)}, obs=privileged(*((1.0, 0.0),) * 4), networks=parts)
    blind = hib.infonce(same, projector="head", embedding="embedding", temperature=1.0, **NAMES)
    assert float(blind) == pytest.approx(math.log(4.0), rel=1e-5)


def test_infonce_takes_up_to_so_many(make_batch: Make, parts: dict[str, nn.Module]) -> None:
    ways = tuple((math.cos(i), math.sin(i)) for i in range(10))
    obs = privileged(*ways)
    batch = make_batch({"student": features(*ways)}, obs=obs, networks=parts)
    some = hib.infonce(batch, projector="head", embedding="embedding", most=5, **NAMES)
    every_other = make_batch(
        {"student": features(*ways[::2])}, obs={"privileged": obs["privileged"][::2]}, networks=parts
    )
    assert float(some) == pytest.approx(
        float(hib.infonce(every_other, projector="head", embedding="embedding", **NAMES)), rel=1e-5
    )


@pytest.mark.parametrize("width", [2, 16, 64])
def test_spread_is_1_for_every_direction_and_0_for_one(width: int) -> None:
    assert float(hib.spread(torch.randn(4000, width))) == pytest.approx(1.0, abs=0.02)
    assert float(hib.spread(torch.ones(50, width))) == pytest.approx(0.0, abs=1e-5)


def test_collapse_raises_the_alarm(make_batch: Make, parts: dict[str, nn.Module]) -> None:
    given = features((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0))
    for rows, alarm in ((((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)), 0.0), (((1.0, 0.0),) * 3, 1.0)):
        batch = make_batch({"student": given}, obs=privileged(*rows), networks=parts)
        hib.cosine(batch, projector="head", target="slow", **NAMES)
        assert float(batch.metrics["target_collapsed"]) == alarm
