"""Train a student, which sees only what the robot measures, as its method says; most learn from the run's teacher.

  robodistill distill run=mine

Reads   runs/<run>/teacher/checkpoints/last; architecture, statistics and
        interface of the teacher come from its checkpoint.
Writes  runs/<run>/student/: checkpoints/{last,best}, metrics.jsonl, tensorboard/, teacher_replay.json.

Keys    student.total_steps=1200000              environment steps
        student.policy.encoder.history=48        steps that a windowed memory (tcn, stack, transformer) sees
        task=<name> method@student.method=bc     another method (robodistill list methods)
        student.method.collect.drivers.teacher=[0.5,0.0]   share of episodes the teacher drives, first and last
        resume=previous                          where the last checkpoint is damaged, go on from the one before

Before it learns, the teacher is replayed in the student's environment and its return is shown; a teacher trained on
other terms or joints is refused by name. Methods without a trained teacher (ppo_dr, ppo_asym, ...) wait for none.
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
