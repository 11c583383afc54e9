"""Everything in one command: teacher, student, export, evaluation, check, report.

  robodistill pipeline task=go2_flat run=demo

Reads   the configuration (configs/, changed by key=value words); with run=<name> alone, the one the run was
        made with.
Writes  runs/<run>/: policy.onnx, report.html, summary.json, config.yaml, and a folder for each stage with its
        checkpoints, metrics.jsonl and tensorboard files.

Each stage runs once. Stopped at any point, the same command goes on from the last checkpoint; finished, it shows the
result again. A run is never overwritten: another configuration needs another name.

Keys    task=<name>             what to learn; robodistill list tasks
        run=<name>              folder below runs/
        seed=0                  of everything random
        pipeline=<name>         another list of stages; robodistill list pipelines
        pipeline.reuse=<run>    copy from another run each finished stage that would come out the same
        quiet=true              no progress bars
        resume=previous         where a last checkpoint is damaged, go on from the one before it

Example: change the evaluation, keep the teacher and the student
  robodistill pipeline task=go2_flat run=demo2 evaluate.episodes=2048 pipeline.reuse=demo
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robodistill.session import work

if TYPE_CHECKING:
    from robodistill.settings import RunConfig

RESUMES = True
"""``resume=previous`` is understood."""


def run(config: RunConfig) -> int:
    """Run the configured pipeline and show what it made."""
    return work(config, "pipeline")
