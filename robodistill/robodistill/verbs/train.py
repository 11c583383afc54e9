"""Train a teacher by reinforcement learning with privileged simulator state.

  robodistill train task=go2_flat run=mine

Reads   the configuration: task (what to learn), recipe (how), method/ppo.
Writes  runs/<run>/teacher/: checkpoints/{last,best}, metrics.jsonl, tensorboard/, and its line in summary.json.

Keys    teacher.total_steps=4000000              environment steps, of all worlds together
        teacher.method.collect.num_envs=512      worlds stepped side by side
        teacher.method.phases.ppo.lr=1e-3        any key of the method; --config lists them
        seed=0                                   of everything random
        threads=2                                of physics and torch; 0 is all cores
        resume=previous                          where the last checkpoint is damaged, go on from the one before

Watch it: tensorboard --logdir runs. Stopped, the same command goes on from the last checkpoint.
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
    return work(config, "train", only="teacher")
