"""The dense reward to learn by: what it reads, its closed form, and that evaluation never sees it."""

from __future__ import annotations

import math

import pytest
import torch

from robodistill.config import compose
from robodistill.decode import decode
from robodistill.methods.bonus import approach, swing_energy, swing_work
from robodistill.segment import Segment
from robodistill.settings import RunConfig
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv


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


def test_energy_is_full_on_every_way_that_ends_at_rest_on_top() -> None:
    """From any angle the speed that just reaches the top, w0 sqrt(2 (1 - cos)), by energy conservation."""
    angle = torch.linspace(-math.pi, math.pi, 9)
    speed = torch.sqrt(2.0 * (1.0 - angle.cos())) / 1.5
    segment = segment_of(torch.stack((angle.cos(), speed), dim=-1).unsqueeze(0))
    params = {"group": "sensors", "cosine": 0, "speed": 1, "unit": 1.5}
    torch.testing.assert_close(swing_energy(segment, {}, **params), torch.ones(1, 9))
    # hanging at rest, turning over fast, and half of the energy on the way up
    others = segment_of(torch.tensor([[[-1.0, 0.0], [1.0, 2.0], [0.0, 0.0]]]))
    found = swing_energy(others, {}, **{**params, "unit": 1.0})
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0, 0.5]]))


def test_work_is_the_gain_in_energy_and_none_across_a_reset() -> None:
    cosines = torch.tensor([-1.0, -0.5, 0.5, -1.0, 0.0]).view(5, 1)
    segment = segment_of(torch.stack((cosines, torch.zeros(5, 1)), dim=-1))
    segment.resets[3] = True
    found = swing_work(segment, {}, group="sensors", cosine=0, speed=1, unit=1.0)
    torch.testing.assert_close(found, torch.tensor([0.25, 0.5, 0.0, 0.5, 0.0]).view(5, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"group": "sensor"}, "did you mean 'sensors'"), ({"element": 2}, r"elements 0\.\.1, not 2"),
     ({"element": -1}, "not -1"), ({"high": -1.0}, "must differ")],
)  # fmt: skip
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    params = {"group": "sensors", "element": 1, "low": -1.0, "high": 1.0, **change}
    with pytest.raises(RobodistillError, match=message):
        approach(segment_of(torch.zeros(2, 3, 2)), {}, **params)


def test_the_pendulums_recipe_reads_the_elements_that_it_means() -> None:
    """It counts elements of a group; here they are looked up by the term's name. Its weights end at 0."""
    pytest.importorskip("dm_control")
    config = decode(RunConfig, compose(["task=dmc_pendulum"]))
    terms = VecEnv(config.task, 1, threads=1).spec.terms("sensors")
    at = {term.name: sum(other.dim for other in terms[:i]) for i, term in enumerate(terms)}
    (speed,) = (term for term in terms if term.name == "joint_vel")
    shape = config.teacher.method.shape
    assert shape["upright"].params["element"] == shape["energy"].params["cosine"] == at["orientation"] + 1
    assert shape["energy"].params["speed"] == at["joint_vel"]
    assert shape["energy"].params["unit"] == pytest.approx(1.0 / speed.scale[0] / math.sqrt(9.81 / 0.5), rel=0.01)
    for hook in shape.values():
        assert hook.weight_at(0.0) > 0.0
        assert hook.weight_at(1.0) == 0.0
        assert hook.end < 1.0  # the last part of the training is by the suite's reward alone
