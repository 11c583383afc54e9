"""What these methods ask of collection: who drives when, what a step led to, the noise of a Gaussian latent."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from robodistill import gaussian
from robodistill.segment import Segment
from robodistill.settings import CollectConfig, LossConfig, PhaseConfig
from robodistill.trainer import Trainer
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.latent import NOISE
from robodistill_policies.policy import Policy

NOBODY = Path("no teacher is needed")


def collect(trainer: Trainer, count: int = 1) -> list[Segment]:
    return [trainer.collector.collect(0.0)[0] for _ in range(count)]


def log_ratio(trainer: Trainer, segment: Segment, name: str = "student") -> Tensor:
    policy = trainer.networks[name]
    assert isinstance(policy, Policy)
    output, _ = policy.unroll(segment.obs, segment.states.get(name, {}), segment.resets)
    return gaussian.log_prob(output.mean, output.log_std, segment.data["action"]) - segment.data["log_prob"]


def test_the_student_takes_over_in_each_nth_iteration_and_its_memory_goes_on(contract: ModuleType) -> None:
    trainer = contract.make("roa", NOBODY, takeover={"student": 3})
    segments = collect(trainer, 7)
    assert [set(s.data["role"].flatten().tolist()) for s in segments] == [{1}, {0}, {0}, {1}, {0}, {0}, {1}]
    for segment, driver, other in ((segments[3], "student", "teacher"), (segments[4], "teacher", "student")):
        assert float(log_ratio(trainer, segment, driver).detach().abs().max()) < 1e-5
        assert float(log_ratio(trainer, segment, other).detach().abs().max()) > 1e-4


def test_a_takeover_goes_on_counting_after_resume(contract: ModuleType) -> None:
    trainer = contract.make("roa", NOBODY, takeover={"student": 3})
    collect(trainer, 2)
    other = contract.make("roa", NOBODY, takeover={"student": 3})
    other.collector.load_state_dict(trainer.collector.state_dict())
    assert [int(s.data["role"][0, 0]) for s in collect(other, 2)] == [0, 1]


def test_ppo_never_learns_from_what_the_student_drove_in_roa(contract: ModuleType) -> None:
    trainer = contract.make("roa", NOBODY)
    ran = [
        {name for name in trainer.phases if f"policy/lr_{name}" in figures}
        for figures in contract.iterate(trainer, 3)
    ]
    assert ran == [{"adapter"}, {"ppo"}, {"ppo"}]


def test_next_obs_is_where_the_step_led_and_not_where_a_reset_put_the_world(contract: ModuleType) -> None:
    trainer = contract.make("dreamwaq", NOBODY)
    step, finals = trainer.env.step, []

    def watched(action: Tensor) -> tuple[Any, ...]:
        result = step(action)
        finals.append(result[4]["final_obs"]["sensors"].clone())
        return result

    trainer.env.step = watched
    segments = collect(trainer, 2)
    seen = torch.cat([s.obs["sensors"] for s in segments])
    following = torch.cat([s.data["next_sensors"] for s in segments])
    done = torch.cat([s.data["done"] for s in segments])
    assert bool(done[:-1].any())
    inside = ~done[:-1]
    assert torch.equal(following[:-1][inside], seen[1:][inside])
    assert torch.equal(following[done], torch.stack(finals)[done])
    # an observation of the step itself, or of the next episode, would be another
    assert not torch.equal(following[:-1][inside], seen[:-1][inside])
    assert not torch.equal(following[:-1][done[:-1]], seen[1:][done[:-1]])


def test_noise_is_stored_and_the_ratio_is_1_before_the_first_step(contract: ModuleType, small: ModuleType) -> None:
    trainer = contract.make("hib", NOBODY)
    small.enlarge(trainer.networks["student"])
    (segment,) = collect(trainer)
    noise = segment.obs[NOISE]
    assert noise.shape == (*segment.shape, trainer.networks["student"].layout.implicit)
    assert float(noise.std()) == pytest.approx(1.0, abs=0.1)
    assert float(log_ratio(trainer, segment).detach().abs().max()) < 1e-4
    # drawn anew, the update would compare other policies
    segment.obs[NOISE] = torch.randn_like(noise)
    assert float(log_ratio(trainer, segment).detach().abs().max()) > 1e-2
    assert NOISE not in collect(contract.make("estimator", NOBODY))[0].obs


@pytest.mark.parametrize("method", ["roa", "cts", "estimator", "dreamwaq", "him", "hib", "hib_cosine", "hib_infonce"])
def test_statistics_stand_still_before_the_student_is_exported(contract: ModuleType, method: str) -> None:
    trainer = contract.make(method, NOBODY)
    student = trainer.networks["student"]
    assert isinstance(student, Policy)
    mean = student.normalizers["sensors"].get_buffer("mean")
    start = mean.clone()
    contract.iterate(trainer, 1)
    assert not torch.equal(mean, start)
    trainer.config = dataclasses.replace(trainer.config, total_steps=trainer.config.total_steps * 100)
    trainer.iteration = round(0.95 * trainer.config.iterations)
    before = mean.clone()
    contract.iterate(trainer, 1)
    assert torch.equal(mean, before)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"takeover": {"studnet": 5}}, "collect.takeover: unknown driver 'studnet'"),
        ({"takeover": {"student": 0}}, "collect.takeover.student: must be above 0"),
        ({"takeover": {"student": 5}, "source": "buffer"}, "collect.source=buffer: its segments are of several"),
        ({"takeover": {"student": 5}, "source": "file"}, "collect.source=file: its segments are of several"),
    ],
)
def test_a_takeover_of_nobody_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RobodistillError, match=message):
        CollectConfig(drivers={"student": (1.0, 1.0)}, **fields)


@pytest.mark.parametrize("value", [1, -2])
def test_a_phase_that_never_runs_is_refused(value: int) -> None:
    with pytest.raises(RobodistillError, match="skip_every"):
        PhaseConfig({"v": LossConfig("robodistill.losses:value")}, ("critic",), 1e-3, skip_every=value)
