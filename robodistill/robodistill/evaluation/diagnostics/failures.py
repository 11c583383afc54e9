"""Whose fault is a failure? Worlds in which the teacher fails too are beyond what imitation can mend."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from robodistill.evaluation.statistics import wilson


def shared_failures(student: Tensor, teacher: Tensor) -> dict[str, Any]:
    """Return how often the teacher fails where the student does and where it does not; both (E,) bool, paired worlds.

    Shares with their 95 % Wilson intervals; nan where there is nothing to divide by. Where both shares are alike, the
    failures fall together by chance alone.
    """
    both, alone = int((student & teacher).sum()), int((student & ~teacher).sum())
    spared, neither = int((teacher & ~student).sum()), int((~student & ~teacher).sum())
    return {
        "both": both, "student_only": alone, "teacher_only": spared, "neither": neither,
        "teacher_fails_where_student_fails": _share(both, both + alone),
        "teacher_fails_where_student_does_not": _share(spared, spared + neither),
    }  # fmt: skip


def _share(count: int, of: int) -> dict[str, Any]:
    mean, low, high = wilson(count, of)
    return {"mean": mean, "ci95": [low, high]}
