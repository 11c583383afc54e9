"""The dense reward to learn by: what it reads, its closed form, and that evaluation never sees it."""

from __future__ import annotations

import math

import pytest
import torch

from robodistill.config import compose
from robodistill.decode import decode
from robodistill.methods.bonus import approach
from robodistill.segment import Segment
from robodistill.settings import RunConfig
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import Disturbances, VecEnv

ENDS = {
    "dmc_pendulum": ("orientation", 1, -1.0, 1.0),
    "dmc_finger": ("joint_vel", 2, 0.0, -2.0),
}
"""Task -> term, element of it, where the bonus is 0 and where it is 1."""


def segment_of(values: torch.Tensor) -> Segment:
    """Return a segment whose group ``sensors`` holds ``values`` (T, N, dim)."""
    return Segment({"sensors": values}, torch.zeros(values.shape[:2], dtype=torch.bool), {})


def test_the_cosine_of_an_angle_becomes_its_uprightness() -> None:
    angle = torch.linspace(-math.pi, math.pi, 10).view(5, 2)
    segment = segment_of(torch.stack((angle.sin(), angle.cos()), dim=-1))
    found = approach(segment, {}, group="sensors", element=1, low=-1.0, high=1.0)
    torch.testing.assert_close(found, 0.5 * (1.0 + angle.cos()))
    assert not torch.allclose(approach(segment, {}, group="sensors", element=0, low=-1.0, high=1.0), found)


def test_it_ends_at_both_ends_and_may_go_down() -> None:
    speed = torch.tensor([[[3.0], [0.0], [-0.5], [-2.0], [-5.0]]])
    found = approach(segment_of(speed), {}, group="sensors", element=0, low=0.0, high=-2.0)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0, 0.25, 1.0, 1.0]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"group": "sensor"}, "did you mean 'sensors'"), ({"element": 2}, r"elements 0\.\.1, not 2"),
     ({"element": -1}, "not -1"), ({"high": -1.0}, "must differ")],
)  # fmt: skip
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    params = {"group": "sensors", "element": 1, "low": -1.0, "high": 1.0, **change}
    with pytest.raises(RobodistillError, match=message):
        approach(segment_of(torch.zeros(2, 3, 2)), {}, **params)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", sorted(ENDS))
def test_the_recipes_read_the_element_that_they_mean(name: str) -> None:
    """The recipe counts elements of a group; here they are looked up by the term's name, and the weight ends at 0."""
    pytest.importorskip("dm_control")
    config = decode(RunConfig, compose([f"task={name}"]))
    (hook,) = config.teacher.method.shape.values()
    env = VecEnv(config.task, 1, threads=1, disturbances=Disturbances(False, False, False, False))
    term, element, low, high = ENDS[name]
    start = 0
    for each in env.spec.terms("sensors"):
        if each.name == term:
            break
        start += each.dim
    assert hook.params == {"group": "sensors", "element": start + element, "low": low, "high": high}
    assert hook.weight_at(0.0) > 0.0
    assert hook.weight_at(1.0) == 0.0
    assert hook.end < 1.0  # the last part of the training is by the suite's reward alone
