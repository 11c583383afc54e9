"""What a method's file must say: left out, the method learns worse and no figure says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from robodistill.cells.plan import methods_of
from robodistill.config import compose, groups
from robodistill.losses import is_policy_gradient
from robodistill.methods.coefficient import Coefficient, steer
from robodistill.settings import RunConfig
from robodistill_deploy.resolve import resolve

METHODS = methods_of((), groups()["method"])


def preset(method: str, *words: str) -> Mapping[str, Any]:
    return compose(["task=cartpole_balance", f"method@student.method={method}", *words], RunConfig)["student"]["method"]


def mistakes(own: Mapping[str, Any]) -> list[str]:
    found = []
    if own["collect"].get("update_normalizers") and own["collect"].get("freeze_normalizers_at", 1.0) > 0.9:
        found.append("statistics move until the export")
    params = own["networks"]["student"].get("params") or {}
    if own.get("needs_teacher") and params.get("head") != "trained" and params.get("init_std", 1.0) > 0.1:
        found.append("a student that imitates drives with the noise of one that explores")  # but for copy_head
    losses = [loss for phase in own["phases"].values() for loss in phase["losses"].values()]
    by_reward = any(is_policy_gradient(resolve(loss["type"])) for loss in losses)
    if not by_reward and any(map(_hides, losses)):  # with RL noise has a price
        found.append("a free deviation grows until it hides the error of the mean")
    return found


def _hides(loss: Mapping[str, Any]) -> bool:
    params = loss.get("params") or {}
    whole = loss["type"] == "robodistill.methods.imitation:imitate_distribution"
    return whole and params.get("std", "free") == "free" and not params.get("at_most")


@pytest.mark.parametrize("method", METHODS)
def test_a_preset_keeps_clear_of_what_is_known_to_fail(method: str) -> None:
    assert mistakes(preset(method)) == []


@pytest.mark.parametrize(
    ("method", "word"),
    [
        ("sitt", "student.method.collect.freeze_normalizers_at=1.0"),
        ("dagger", "student.method.networks.student.params.init_std=1.0"),
        ("dagger_kl", "student.method.phases.imitate.losses.imitate_distribution.params.at_most=0"),
    ],
)
def test_the_check_finds_it(method: str, word: str) -> None:
    assert len(mistakes(preset(method, word))) == 1


@pytest.mark.parametrize("method", ["pi_distill", "opsd"])
def test_roles_that_begin_alike_do_not_steer_their_coefficient_away(method: str) -> None:
    own = preset(method)
    beta = Coefficient(own["networks"]["beta"]["params"]["start"])
    rule = own["phases"]["ppo"]["after"]["beta"]["params"]
    for _ in range(500):
        steer({"beta": beta}, {"kl_gap": torch.tensor(0.0)}, **rule)
    assert float(beta.value) == 0.25
    steer({"beta": beta}, {"kl_gap": torch.tensor(1.0)}, **rule)
    assert float(beta.value) > 0.25


@pytest.mark.parametrize(("method", "width"), [("estimator", 8), ("dreamwaq", 16), ("him", 16)])
def test_the_actor_sees_more_of_the_history_than_estimates(method: str, width: int) -> None:
    own = compose(["task=cartpole_balance", f"method@student.method={method}"], RunConfig)["student"]
    given = own["method"]["networks"]["student"]["params"].get("out_dim", own["policy"]["encoder"]["out_dim"])
    assert given == width
