"""The student's agreement with its labeller in the log: closed forms, on the steps that it drove itself."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from robodistill.agreement import ERROR, agreement
from robodistill.segment import Segment
from robodistill_deploy.spec import InterfaceSpec

PARTS = (SimpleNamespace(names=("hip", "knee")), SimpleNamespace(names=("wheel",)))
SPEC = cast(InterfaceSpec, SimpleNamespace(actions=PARTS))


def segment(drivers: tuple[str, ...] = ("teacher", "student"), **changed: Any) -> Segment:
    """Student off by (1, 2, 3) teacher's sigmas of 0.5 where it drives, by 100 where the teacher does."""
    role = torch.tensor([[0, 1], [1, 1]])
    off = torch.where((role == 1).unsqueeze(-1), torch.tensor([0.5, 1.0, 1.5]), torch.tensor(100.0))
    shape = (2, 2, 3)
    data = {
        "role": role, "mean": off, "log_std": torch.full(shape, math.log(0.25)), "label_mean": torch.zeros(shape),
        "label_log_std": torch.full(shape, math.log(0.5)), **changed,
    }  # fmt: skip
    return Segment({}, torch.zeros(2, 2, dtype=torch.bool), data, {}, drivers)


def test_errors_and_divergences_by_hand() -> None:
    found = agreement(segment(), SPEC, "student")
    assert [found[f"{ERROR}/{name}"] for name in ("hip", "knee", "wheel")] == pytest.approx([1.0, 2.0, 3.0])
    assert found[ERROR] == pytest.approx(math.sqrt(14.0 / 3.0))
    # ln(sS/sT) + (sT^2 + D^2) / (2 sS^2) - 1/2 over three dimensions, and the other way round
    squared = 0.25 + 1.0 + 2.25
    assert found["imitation/kl_teacher_student"] == pytest.approx(3 * (-math.log(2) + 2.0 - 0.5) + squared / 0.125)
    assert found["imitation/kl_student_teacher"] == pytest.approx(3 * (math.log(2) + 0.125 - 0.5) + squared / 0.5)


def test_nothing_is_said_of_what_was_not_seen() -> None:
    assert agreement(segment(role=torch.zeros(2, 2, dtype=torch.int64)), SPEC, "student") == {}
    assert agreement(segment(drivers=("teacher", "other")), SPEC, "student") == {}
    unlabelled = segment()
    del unlabelled.data["label_mean"]
    assert agreement(unlabelled, SPEC, "student") == {}


def test_a_perfect_student_is_at_zero() -> None:
    same = segment(mean=torch.zeros(2, 2, 3), log_std=torch.full((2, 2, 3), math.log(0.5)))
    assert all(abs(value) < 1e-6 for value in agreement(same, SPEC, "student").values())
