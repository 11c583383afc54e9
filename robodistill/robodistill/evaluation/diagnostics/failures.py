"""Whose fault is a failure? Worlds in which the teacher fails too are beyond what imitation can mend.

An episode is failed when it ended early, or when its return lies nearer to what doing nothing returns than to what the
teacher does, both on average: tasks whose episodes never end early have failures too. Where nothing was not
rolled out, or the teacher returns no more than it, only early ends count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from robodistill.evaluation.compare import ZERO
from robodistill.evaluation.rollout import Rollout
from robodistill.evaluation.statistics import wilson
from robodistill.networks import STUDENT, TEACHER


def failures(rollouts: Mapping[str, Rollout]) -> dict[str, Any]:
    """Return ``shared_failures`` of student and teacher, and ``half_way``, the return below which an episode failed."""
    student, teacher, nothing = rollouts[STUDENT], rollouts[TEACHER], rollouts.get(ZERO)
    reached = float(teacher.returns.mean())
    idle = reached if nothing is None else float(nothing.returns.mean())
    half_way = 0.5 * (reached + idle) if reached > idle else -math.inf
    failed = (rollout.fell | (rollout.returns < half_way) for rollout in (student, teacher))
    return {**shared_failures(*failed), "half_way": half_way if reached > idle else None}


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
