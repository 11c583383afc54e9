"""Export a run's student as one policy.onnx with its contract inside.

  robodistill export run=mine

Reads   runs/<run>/student/checkpoints/last.
Writes  runs/<run>/policy.onnx: graph, PolicySpec, self-test and digest in one file.
        `robodistill-run inspect` prints it.

The file needs numpy and onnxruntime to run, no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robodistill.session import work

if TYPE_CHECKING:
    from robodistill.settings import RunConfig


def run(config: RunConfig) -> int:
    """Run this stage; the ones that feed it must be done."""
    return work(config, "export", only="export")
