"""Export a run's student as one policy.onnx with its contract inside.

  robodistill export run=mine
  robodistill export run=mine format=unitree_rl_lab

Reads   runs/<run>/student/checkpoints/last.
Writes  runs/<run>/policy.onnx: graph, PolicySpec, self-test and digest in one file.
        `robodistill-run inspect` prints it.

Keys    format=policy           the file above; mjlab, unitree_rl_lab or leapp write a second, classic one from it
                                for that stack's runtime, below runs/<run>/<format>

The file needs numpy and onnxruntime to run, no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robodistill.session import work

if TYPE_CHECKING:
    from robodistill.settings import RunConfig


SECTION = "export"
"""Keys of this part of the configuration can be written without its name."""


def run(config: RunConfig) -> int:
    """Run this stage; the ones that feed it must be done."""
    if config.export.format == "policy":
        return work(config, "export", only="export")
    from rich.console import Console

    from robodistill.interop.write import write_interop

    console = Console(highlight=False)
    for path in write_interop(config):
        console.print(f"{config.export.format:<16}{path.resolve()}", soft_wrap=True)
    return 0
