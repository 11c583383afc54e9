"""How far a student is from its labeller on the states that it drove itself into, for the log of every iteration."""

from __future__ import annotations

import torch

from robodistill import gaussian
from robodistill.segment import Segment
from robodistill_deploy.spec import InterfaceSpec

PREFIX = "imitation/"
ERROR = f"{PREFIX}error_over_sigma"
"""Root mean square of (mu_S - mu_T) / sigma_T over the student's own states and all actions, before the update."""


def action_names(spec: InterfaceSpec) -> list[str]:
    """Return the name of every element of the action, in order."""
    return [name for part in spec.actions for name in part.names]


def agreement(segment: Segment, spec: InterfaceSpec, student: str) -> dict[str, float]:
    """Return error over sigma, also by action, and both KL divergences [nat] on the steps that ``student`` drove.

    They are of the policy as it drove, so no step that was trained on flatters them; empty without labels, or where
    it drove nowhere.
    """
    if "label_mean" not in segment.data or student not in segment.drivers:
        return {}
    own = segment.data["role"] == segment.drivers.index(student)
    if not bool(own.any()):
        return {}
    mean, log_std, label, label_log_std = (
        segment.data[key][own] for key in ("mean", "log_std", "label_mean", "label_log_std")
    )
    squared = ((mean - label) * torch.exp(-label_log_std)).square().mean(0)
    by_action = zip(action_names(spec), squared.sqrt().tolist(), strict=True)
    return {
        ERROR: float(squared.mean().sqrt()),
        **{f"{ERROR}/{name}": value for name, value in by_action},
        f"{PREFIX}kl_teacher_student": float(gaussian.kl(label, label_log_std, mean, log_std).mean()),
        f"{PREFIX}kl_student_teacher": float(gaussian.kl(mean, log_std, label, label_log_std).mean()),
    }
