"""k + (n-k) iterations are n, bit for bit; memory, roles and statistics are kept as they should be on the way."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robodistill.checkpoint import load_tree, save_tree
from robodistill.segment import Minibatch, Segment
from robodistill.settings import LossConfig
from robodistill.trainer import Trainer
from robodistill_envs.vector import NonFiniteError
from robodistill_policies.policy import Policy

Make = Callable[..., Trainer]


@pytest.fixture(params=["ppo", "dagger"])
def make(request: pytest.FixtureRequest, small: ModuleType, teacher: Path) -> tuple[str, Make]:
    """One of the two methods, and a function that makes its trainer for a seed."""
    if request.param == "ppo":
        return "ppo", lambda seed: small.ppo(seed=seed)
    return "dagger", lambda seed: small.dagger(teacher, seed=seed)


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """The paths at which two trees differ in any bit (NaN equals NaN)."""
    if isinstance(a, dict):
        assert isinstance(b, dict)
        if a.keys() != b.keys():
            return [f"{path}: {key}" for key in a.keys() ^ b.keys()]
        return [d for key in a for d in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}/{i}")]
    if isinstance(a, Tensor):
        same = a.dtype == b.dtype and torch.equal(torch.nan_to_num(a, 7e7), torch.nan_to_num(b, 7e7))
        return [] if same else [path]
    return [] if a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)) else [path]


def test_k_and_n_minus_k_are_n(small: ModuleType, make: tuple[str, Make]) -> None:
    _, trainer = make
    whole = trainer(1)
    start = small.iterate(whole, 2)
    saved = copy.deepcopy(whole.state_dict())
    expected = small.iterate(whole, 3)
    other = trainer(5)  # another seed: nothing may come from the constructor
    assert differences(other.state_dict()["networks"], saved["networks"])
    other.load_state_dict(copy.deepcopy(saved))
    assert differences(small.iterate(other, 3), expected) == []
    assert differences(other.state_dict(), whole.state_dict()) == []
    assert any("episode/return" in figures for figures in start + expected)  # episodes did end on the way
    # the control: without the environment's state the same weights go another way
    third = trainer(5)
    third.load_state_dict({**copy.deepcopy(saved), "collector": third.collector.state_dict()})
    assert differences(small.iterate(third, 3), expected)


def test_a_fresh_process_goes_on_from_the_files(
    small: ModuleType, make: tuple[str, Make], teacher: Path, tmp_path: Path
) -> None:
    kind, trainer = make
    whole = trainer(1)
    small.iterate(whole, 1)
    save_tree(tmp_path / "k", whole.state_dict())
    expected = small.iterate(whole, 2)
    subprocess.run(
        [sys.executable, str(small.__file__), kind, str(tmp_path / "k"), str(tmp_path / "n"), str(teacher), "2"],
        check=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found = load_tree(tmp_path / "n")
    assert differences(found["figures"], expected) == []
    save_tree(tmp_path / "here", whole.state_dict())
    assert differences(found["state"], load_tree(tmp_path / "here")) == []


def drive(small: ModuleType, teacher: Path, segments: int, **collect: Any) -> tuple[Trainer, list[Segment]]:
    """A student with memory whose actions are not tiny, and segments that it and the teacher drove."""
    trainer = small.dagger(teacher, small.changed(small.config().student, collect=collect))
    student = trainer.networks["student"]
    assert isinstance(student, Policy)
    small.enlarge(student)
    return trainer, [trainer.collector.collect(0.3)[0] for _ in range(segments)]


def test_unroll_gives_what_the_student_did_while_it_collected(small: ModuleType, teacher: Path) -> None:
    trainer, segments = drive(small, teacher, 4)
    student = trainer.networks["student"]
    assert isinstance(student, Policy)
    wrong = 0.0
    for segment in segments:
        drove = segment.data["role"] == segment.drivers.index("student")
        assert bool(drove.any())
        assert bool((~drove).any())
        assert bool(segment.resets[1:].any())
        with torch.no_grad():
            output, _ = student.unroll(segment.obs, segment.states["student"], segment.resets)
            stale, _ = student.unroll(segment.obs, segment.states["student"], torch.zeros_like(segment.resets))
        assert float((output.mean - segment.data["mean"])[drove].abs().max()) < 1e-5
        wrong = max(wrong, float((stale.mean - segment.data["mean"])[drove].abs().max()))
    assert wrong > 1e-3  # the control: memory that outlives its episode shows


def test_labels_are_the_teachers_mean_on_every_world(small: ModuleType, teacher: Path) -> None:
    trainer, segments = drive(small, teacher, 2)
    labeller = trainer.networks["teacher"]
    assert isinstance(labeller, Policy)
    for segment in segments:
        output, _ = labeller.unroll(segment.obs, {}, segment.resets)
        assert float((output.mean - segment.data["label_mean"]).abs().max()) < 1e-5
        assert float((output.latent - segment.data["label_latent"]).abs().max()) < 1e-5
        drove = segment.data["role"] == segment.drivers.index("teacher")
        assert torch.equal(segment.data["action"][drove], segment.data["label_mean"][drove])  # no noise of its own
        assert not torch.isclose(segment.data["action"], segment.data["mean"])[~drove].all()


def test_roles_are_held_for_a_whole_episode(small: ModuleType, teacher: Path) -> None:
    _, segments = drive(small, teacher, 12)
    role = torch.cat([segment.data["role"] for segment in segments])
    resets = torch.cat([segment.resets for segment in segments])
    changes = role[1:] != role[:-1]
    assert not bool((changes & ~resets[1:]).any())
    assert int(changes.sum()) > 5  # and drawn anew for the next one
    assert 0.3 < float(resets[1:].float().mean()) * small.config().task.max_steps < 3.0


def test_shares_of_the_drivers_go_from_beginning_to_end(small: ModuleType, teacher: Path) -> None:
    for progress, share in ((0.0, 1.0), (1.0, 0.0)):
        collect = {"drivers": {"student": (0.0, 1.0), "teacher": (1.0, 0.0)}}
        trainer = small.dagger(teacher, small.changed(small.config().student, collect=collect))
        trainer.collector.collect(progress)
        late = [trainer.collector.collect(progress)[0] for _ in range(4)][-1]  # older episodes have ended by now
        assert float((late.data["role"] == 1).float().mean()) == share


def counts(trainer: Trainer) -> dict[str, float]:
    return {n: float(b) for n, b in trainer.networks.named_buffers() if n.endswith("count")}


def test_statistics_take_in_each_segment_once(small: ModuleType) -> None:
    trainer = small.ppo(small.changed(small.config().teacher, {"epochs": 4}))
    names = {"teacher.normalizers.sensors.count", "teacher.normalizers.privileged.count", "critic.normalizer.count"}
    start = counts(trainer)
    assert start == dict.fromkeys(names, small.WORLDS)  # the very first observations
    small.iterate(trainer, 3)
    assert counts(trainer) == dict.fromkeys(names, small.WORLDS + 3 * small.WORLDS * small.STEPS)


def test_the_ratio_is_1_before_the_first_step(small: ModuleType) -> None:
    # statistics that moved between collecting and learning would show here as a step that nobody made
    trainer = small.ppo(small.changed(small.config().teacher, {"lr": 1e-12, "schedule": "constant"}))
    for figures in small.iterate(trainer, 2):
        assert figures["policy/kl"] == pytest.approx(0.0, abs=1e-7)
        assert figures["policy/clipped"] == 0.0
        assert figures["loss/surrogate"] == pytest.approx(0.0, abs=1e-4)  # centred advantages


def test_statistics_stand_still_once_frozen(small: ModuleType, teacher: Path) -> None:
    trainer = small.dagger(teacher, small.changed(small.config().student, collect={"freeze_normalizers_at": 0.5}))
    seen = [counts(trainer)["student.normalizers.sensors.count"]]
    for _ in range(small.ITERATIONS):
        small.iterate(trainer, 1)
        seen.append(counts(trainer)["student.normalizers.sensors.count"])
    steps = small.WORLDS * small.STEPS
    assert seen == [small.WORLDS + min(i, small.ITERATIONS // 2) * steps for i in range(small.ITERATIONS + 1)]


def not_a_number(batch: Minibatch) -> Tensor:
    """A loss that fails."""
    return batch.output("teacher").mean.sum() * float("nan")


def test_a_nan_in_a_loss_stops_with_phase_and_loss_named(
    small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configured = small.config().teacher
    phase = configured.method.phases["ppo"]
    added = {**phase.losses, "mine": LossConfig(f"{__name__}:not_a_number")}
    trainer = small.ppo(small.changed(configured, {"losses": added}))
    before = copy.deepcopy(trainer.networks.state_dict())
    with pytest.raises(NonFiniteError, match=r"phase 'ppo': loss/mine is not finite \(inputs not finite: none"):
        small.iterate(trainer, 1)
    assert differences(before, trainer.networks.state_dict()) == []  # nothing was trained on it


def test_a_nan_in_the_data_or_the_weights_is_traced_to_it(
    small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = small.ppo()
    segment, _ = trainer.collector.collect(0.0)
    segment.data["return"][3, 5] = float("nan")
    (phase,) = trainer.phases.values()
    place = r"at step 3 of the segment, world 5: loss/value is not finite \(inputs not finite: return;"
    with pytest.raises(NonFiniteError, match=place):
        phase.run(segment, 0.0, trainer.generator)
    assert np.isnan(np.load(tmp_path / "nonfinite_ppo.npz")["return"]).sum() == 1  # the minibatch, to look into
    trainer = small.ppo()
    segment, _ = trainer.collector.collect(0.0)
    trainer.networks.get_parameter("critic.net.0.bias").data[0] = float("inf")
    (phase,) = trainer.phases.values()
    with pytest.raises(NonFiniteError, match=r"weights not finite: critic\.net\.0\.bias"):
        phase.run(segment, 0.0, trainer.generator)
