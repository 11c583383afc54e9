"""Imitation of action and latent with a head copied from the teacher (Lee et al. 2020, arXiv 2010.11251, eq. 1).

    L = || mu_T(o, s_p) - mu_S(h) ||^2 + || l_T(s_p) - l_S(h) ||^2

Squared lengths: sums over the dimensions, mean over the steps, on episodes that the student drives (DAgger).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError


def squared_length(batch: Minibatch, *, policy: str, of: Literal["action", "latent"]) -> Tensor:
    """Return the mean over steps of the squared distance to the label, summed over the dimensions."""
    output = batch.output(policy)
    ours, label = (output.mean, batch["label_mean"]) if of == "action" else (output.latent, batch["label_latent"])
    if ours.shape != label.shape:
        shapes = f"{tuple(ours.shape)} and {tuple(label.shape)}"
        raise RobodistillError(f"loss: {of} and label have shapes {shapes}; they must be the same")
    return (ours - label).square().sum(-1).mean()
