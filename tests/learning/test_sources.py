"""Where segments come from: a ring that holds only what was collected, and recordings that policies remember along."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from robodistill.builders import student_networks
from robodistill.checkpoint import load_tree, save_tree
from robodistill.collect import Collector
from robodistill.networks import load_policy
from robodistill.segment import Segment
from robodistill.settings import TrainConfig
from robodistill.sources import Recording, Ring, record
from robodistill.trainer import Trainer
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv
from robodistill_policies.policy import Policy


def train(small: ModuleType, **collect: Any) -> TrainConfig:
    return small.changed(small.config().student, collect=collect)


def clone(segment: Segment) -> Segment:
    return copy.deepcopy(segment)


def equal(a: Segment, b: Segment) -> bool:
    same = torch.equal(a.resets, b.resets) and all(torch.equal(a.obs[g], b.obs[g]) for g in b.obs)
    return same and all(torch.equal(a.data[k], b.data[k]) for k in b.data)


def worlds(segment: Segment, first: int, count: int) -> Segment:
    part = slice(first, first + count)
    return Segment(
        {g: v[:, part] for g, v in segment.obs.items()}, segment.resets[:, part],
        {k: v[:, part] for k, v in segment.data.items()},
        {n: {k: v[part] for k, v in s.items()} for n, s in segment.states.items()}, segment.drivers,
    )  # fmt: skip


# -- the ring ----------------------------------------------------------------------------------


def test_a_ring_holds_the_last_segments_and_nothing_that_was_never_collected(small: ModuleType, teacher: Path) -> None:
    trainer = small.dagger(teacher, train(small, source="buffer", buffer=3))
    ring, size = trainer.collector, small.WORLDS
    assert isinstance(ring, Ring)
    collected: list[Segment] = []
    inner = ring.collector.collect

    def noted(progress: float) -> tuple[Segment, dict[str, float]]:
        segment, figures = inner(progress)
        collected.append(clone(segment))
        return segment, figures

    ring.collector.collect = noted
    for count in (1, 2, 3, 3, 3):
        segment, figures = ring.collect(0.0)
        assert figures["collect/segments"] == count
        assert segment.shape == (small.STEPS, count * size)  # a ring allocated at full size would have zero rows
        for i, expected in enumerate(collected[-count:]):
            part = worlds(segment, i * size, size)
            assert equal(part, expected)
            assert all(
                torch.equal(part.states[n][k], v) for n, state in expected.states.items() for k, v in state.items()
            )
    assert not equal(worlds(segment, 0, size), collected[0])  # the oldest gave way


def test_statistics_take_in_each_segment_once(
    small: ModuleType, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a segment stays in the ring, and is trained on, for several iterations."""
    trainer = small.dagger(teacher, train(small, source="buffer", buffer=3, update_normalizers=("student",)))
    ring, student = trainer.collector, trainer.networks["student"]
    assert isinstance(ring, Ring)
    collected: list[Tensor] = []
    taken: list[Tensor] = []
    inner = ring.collector.collect

    def noted(progress: float) -> tuple[Segment, dict[str, float]]:
        segment, figures = inner(progress)
        collected.append(segment.obs["sensors"].clone())
        return segment, figures

    ring.collector.collect = noted
    monkeypatch.setattr(student, "update_normalizer", lambda obs: taken.append(obs["sensors"].clone()))
    for _ in range(4):
        trainer.iterate()
    assert len(collected) == len(taken) == 4
    assert all(torch.equal(a, b) for a, b in zip(collected, taken, strict=True))


def test_what_a_phase_does_to_advantages_stays_out_of_the_ring(small: ModuleType) -> None:
    trainer = small.ppo(small.changed(small.config().teacher, collect={"source": "buffer", "buffer": 2}))
    segment, _ = trainer.collector.collect(0.0)
    before = segment.data["advantage"].clone()
    (phase,) = trainer.phases.values()
    phase.run(segment, 0.0, trainer.generator)
    assert torch.equal(segment.data["advantage"], before)
    assert "at" not in segment.data


@pytest.mark.parametrize("source", ["buffer", "file"])
def test_sources_resume_bit_for_bit(small: ModuleType, teacher: Path, tmp_path: Path, source: str) -> None:
    config = train(small, source=source, buffer=2)
    make = recorded(small, teacher, config, tmp_path / "segments")[0] if source == "file" else None

    def trainer(seed: int) -> Trainer:
        return make(seed) if make else small.dagger(teacher, config, seed)

    whole = trainer(1)
    small.iterate(whole, 3)
    save_tree(tmp_path / "k", whole.state_dict())
    expected = small.iterate(whole, 2)
    other = trainer(5)
    other.load_state_dict(load_tree(tmp_path / "k"))
    assert small.iterate(other, 2) == expected
    theirs, ours = whole.networks.state_dict(), other.networks.state_dict()
    assert all(torch.equal(theirs[k], ours[k]) for k in theirs)
    third = trainer(5)  # the control: without the ring, or the place in the recording, it goes another way
    third.load_state_dict({**load_tree(tmp_path / "k"), "collector": trainer(5).collector.state_dict()})
    assert small.iterate(third, 2) != expected


# -- recordings --------------------------------------------------------------------------------


def recorded(small: ModuleType, teacher: Path, config: TrainConfig, folder: Path) -> tuple[Any, list[Segment]]:
    """Record with drivers of ``config``; return what makes a trainer on it, and the segments as collected."""
    saved = load_policy(teacher, "teacher")
    torch.manual_seed(3)
    env = VecEnv(small.config().task, small.WORLDS, seed=3, threads=1)
    networks = dict(student_networks(config, env.spec, saved.policy.config, saved).items())
    collector = Collector(config.method, env, networks, torch.Generator().manual_seed(3))
    segments: list[Segment] = []
    inner = collector.collect

    def noted(progress: float) -> tuple[Segment, dict[str, float]]:
        segment, figures = inner(progress)
        segments.append(clone(segment))
        return segment, figures

    collector.collect = noted
    counts: list[int] = []
    record(collector, config.method.collect.buffer, folder, counts.append)
    assert counts == list(range(1, config.method.collect.buffer + 1))

    def make(seed: int) -> Trainer:
        torch.manual_seed(seed)
        again = load_policy(teacher, "teacher")
        own = VecEnv(small.config().task, small.WORLDS, seed=seed, threads=1)
        made = student_networks(config, own.spec, again.policy.config, again)
        return Trainer(config, own, made, seed, saved="student", recording=folder)

    make.networks = networks  # pyright: ignore[reportFunctionMemberAccess]
    return make, segments


def test_a_recording_is_what_was_collected_and_memory_goes_along(
    small: ModuleType, teacher: Path, tmp_path: Path
) -> None:
    config = train(small, source="file", buffer=3)
    make, segments = recorded(small, teacher, config, tmp_path)
    networks = make.networks
    student = networks["student"]
    assert isinstance(student, Policy)
    recording = Recording(tmp_path, config.method, networks)
    for lap in range(2):
        for i, expected in enumerate(segments):
            found, figures = recording.collect(0.0)
            assert equal(found, expected), (lap, i)
            assert figures["collect/segments"] == 3
            # an unchanged student arrives at each segment with the memory that it had when it was recorded
            for key, value in found.states["student"].items():
                torch.testing.assert_close(value, expected.states["student"][key], atol=1e-5, rtol=1e-5)
    assert any(bool(v.abs().max() > 0.01) for v in segments[1].states["student"].values())  # and that is not nothing
    # a student that learned meanwhile has a memory of its own: the recorded one is not used
    for parameter in student.encoder.parameters():
        parameter.data.mul_(2.0)
    recording = Recording(tmp_path, config.method, networks)
    recording.collect(0.0)
    second, _ = recording.collect(0.0)
    theirs = segments[1].states["student"]
    assert any(not torch.allclose(v, theirs[k], atol=1e-2) for k, v in second.states["student"].items())


def test_a_recording_is_trained_on_without_a_step_of_the_environment(
    small: ModuleType, teacher: Path, tmp_path: Path
) -> None:
    make, _ = recorded(small, teacher, train(small, source="file", buffer=2), tmp_path)
    trainer = make(1)
    before = {k: v.clone() for k, v in trainer.networks.state_dict().items()}
    steps: list[Tensor] = []
    trainer.env.step = steps.append
    small.iterate(trainer, 3)
    after = trainer.networks.state_dict()
    moved = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    assert moved == {"student"}
    assert steps == []


def test_recordings_that_do_not_fit_are_refused(small: ModuleType, teacher: Path, tmp_path: Path) -> None:
    config = train(small, source="file", buffer=2)
    with pytest.raises(RobodistillError, match=r"no recording.*pipeline=offline"):
        small.dagger(teacher, config)
    with pytest.raises(RobodistillError, match=r"those of whoever drove then.*source=live"):
        small.changed(small.config().teacher, collect={"source": "file"})
    with pytest.raises(RobodistillError, match=r"segments of \(0, 0\)"):
        Recording(tmp_path, config.method, {})
    recorded(small, teacher, config, tmp_path)
    longer = dataclasses.replace(config.method, collect=dataclasses.replace(config.method.collect, steps=9))
    with pytest.raises(RobodistillError, match=r"segments of \(8, 16\).*9 and 16"):
        Recording(tmp_path, longer, {})
