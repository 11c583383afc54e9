"""Drive a plain MuJoCo loop with policy.onnx and compare it, term by term, with the training environment.

  robodistill check run=mine

Reads   policy.onnx and the student's checkpoint of the run.
Writes  runs/<run>/check/check.json: the largest difference of each term and each action part.

Anything above 1e-5 of a normalised unit fails, and the first that differs is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robodistill.session import work

if TYPE_CHECKING:
    from robodistill.settings import RunConfig


def run(config: RunConfig) -> int:
    """Run this stage; the ones that feed it must be done."""
    return work(config, "check", only="check")
