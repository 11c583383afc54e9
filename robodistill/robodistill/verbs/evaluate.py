"""Compare teacher, student, exported file and zero action on the same seeds.

  robodistill evaluate run=mine

Reads   the checkpoints and policy.onnx of the run.
Writes  runs/<run>/evaluation/: evaluation.json (figures with 95 % intervals), episodes.npz, trajectories.npz.

Keys    evaluate.episodes=512                    paired episodes
        evaluate.seed=1000003                    of the evaluation's worlds, kept apart from training

Score = (R - R_zero) / (R_teacher - R_zero) on the same episodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robodistill.session import work

if TYPE_CHECKING:
    from robodistill.settings import RunConfig


def run(config: RunConfig) -> int:
    """Run this stage; the ones that feed it must be done."""
    return work(config, "evaluate", only="evaluation")
