"""What a method's file must say: left out, the method learns worse and no figure says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from robodistill.cells.plan import methods_of
from robodistill.config import compose, groups
from robodistill.losses import is_policy_gradient
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
        found.append("a student that imitates drives with the noise of one that explores")
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
def test_a_coefficient_that_is_steered_never_falls_below_its_papers(method: str) -> None:
    """Two roles of one network begin alike: a rule that lowers it then would have turned it off before they differ."""
    own = preset(method)
    steer = own["phases"]["ppo"]["after"]["beta"]["params"]
    assert steer["bounds"][0] == own["networks"]["beta"]["params"]["start"] == 0.25
