"""How far the student's action is from the teacher's on the student's own states: by joint, and as divergences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robodistill import gaussian
from robodistill.agreement import action_names
from robodistill.evaluation.diagnostics.samples import Samples
from robodistill_deploy.spec import InterfaceSpec


def action_agreement(
    samples: Samples, student_log_std: Tensor, teacher_log_std: Tensor, spec: InterfaceSpec, resamples: int
) -> dict[str, Any]:
    """Return error over the teacher's sigma, in all and by action, and KL [nat] both ways; intervals over worlds.

    KL(T||S) = ln(sS/sT) + (sT^2 + D^2) / (2 sS^2) - 1/2 summed over actions. Where the student's deviation was never
    trained (imitation of means), the divergences tell of D in units of that deviation, and little else.
    """
    squared = ((samples.student - samples.teacher) * torch.exp(-teacher_log_std)).square()
    names = action_names(spec)
    forward = gaussian.kl(samples.teacher, teacher_log_std, samples.student, student_log_std)
    backward = gaussian.kl(samples.student, student_log_std, samples.teacher, teacher_log_std)
    return {
        "error_over_sigma": samples.rms(squared.mean(1), resamples),
        "by_action": {name: samples.rms(squared[:, i], resamples) for i, name in enumerate(names)},
        "kl_teacher_student": samples.mean(forward, resamples),
        "kl_student_teacher": samples.mean(backward, resamples),
        "rows": len(squared),
    }
