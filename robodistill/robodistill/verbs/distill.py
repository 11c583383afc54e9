"""Distil a student, which sees only what the robot measures, from a run's teacher.

  robodistill distill run=mine

Reads   runs/<run>/teacher/checkpoints/last; architecture, statistics and
        interface of the teacher come from its checkpoint.
Writes  runs/<run>/student/: checkpoints/{last,best}, metrics.jsonl, tensorboard/, teacher_replay.json.

Keys    student.total_steps=1200000              environment steps
        student.policy.encoder.history=48        steps that a windowed memory (tcn, stack, transformer) sees
        student.method.collect.drivers.teacher=[0.5,0.0]   share of episodes the teacher drives, first and last
        resume=previous                          where the last checkpoint is damaged, go on from the one before

Before it learns, the teacher is replayed in the student's environment and its return is shown; a teacher trained on
other terms or joints is refused by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robodistill.session import work

if TYPE_CHECKING:
    from robodistill.settings import RunConfig

RESUMES = True
"""``resume=previous`` is understood."""


def run(config: RunConfig) -> int:
    """Run this stage; the ones that feed it must be done."""
    return work(config, "distill", only="student")
