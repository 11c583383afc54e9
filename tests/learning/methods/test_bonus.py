"""The dense reward to learn by: what it reads, its closed form, and that evaluation never sees it."""

from __future__ import annotations

import math

import pytest
import torch

from robodistill.config import compose
from robodistill.decode import decode
from robodistill.methods.bonus import approach, near
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


def test_near_is_full_on_the_target_with_a_cusp_there_and_nothing_from_the_width_on() -> None:
    x = torch.tensor([[[1.0], [1.02], [0.98], [1.5], [3.0], [-4.0]]])
    params = {"group": "sensors", "element": 0, "target": 1.0, "width": 2.0}
    found = near(segment_of(x), {}, **params, power=0.5)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.9, 0.9, 0.5, 0.0, 0.0]]))
    torch.testing.assert_close(near(segment_of(x), {}, **params)[0, 3], torch.tensor(0.75))
    for wrong in ({"width": 0.0}, {"power": 0.0}):
        with pytest.raises(RobodistillError, match="width and power must be above 0"):
            near(segment_of(x), {}, **{**params, **wrong})


@pytest.mark.parametrize(
    ("change", "message"),
    [({"group": "sensor"}, "did you mean 'sensors'"), ({"element": 2}, r"elements 0\.\.1, not 2"),
     ({"element": -1}, "not -1"), ({"high": -1.0}, "must differ")],
)  # fmt: skip
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    params = {"group": "sensors", "element": 1, "low": -1.0, "high": 1.0, **change}
    with pytest.raises(RobodistillError, match=message):
        approach(segment_of(torch.zeros(2, 3, 2)), {}, **params)


def test_the_suites_recipes_read_the_elements_that_they_mean() -> None:
    """They count elements of a group; here these are looked up by the term's name. Their weights end at 0."""
    pytest.importorskip("dm_control")
    wanted = {
        "dmc_pendulum": {"energy": ("energy", "swing_energy", 0), "upright": ("sensors", "orientation", 1)},
        "dmc_finger": {"spin": ("sensors", "joint_vel", 2), "stand": ("sensors", "joint_pos", 0)},
    }
    for task, hooks in wanted.items():
        config = decode(RunConfig, compose([f"task={task}"]))
        spec, shape = VecEnv(config.task, 1, threads=1).spec, config.teacher.method.shape
        assert set(shape) == set(hooks)
        for name, (group, term, offset) in hooks.items():
            terms = spec.terms(group)
            at = {each.name: sum(other.dim for other in terms[:i]) for i, each in enumerate(terms)}
            params = shape[name].params
            assert (params["group"], params["element"]) == (group, at[term] + offset)
            if name == "spin":  # full at the speed that the task asks for, in the group's scale
                (scale,) = {s for each in terms if each.name == term for s in each.scale}
                (spinning,) = config.task.rewards
                assert params["high"] == pytest.approx(-spinning.params["speed"] * scale)
            assert shape[name].weight_at(0.0) > 0.0
            assert shape[name].weight_at(1.0) == 0.0
            assert shape[name].end < 1.0  # the last part of the training is by the suite's reward alone
