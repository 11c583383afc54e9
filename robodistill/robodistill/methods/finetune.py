"""Reinforcement learning that begins with a distilled student and lets go of its teacher by and by.

    L = L_ppo + lambda(t) KL(pi_S || anchor)          lambda falls to 0

The anchor is the teacher (Radosavovic et al. 2024, arXiv 2303.03381, whose annealed term this is) or, with
``collect.labeller: start``, the student as it began; it labels, and ``imitation:imitate_distribution`` is the term. Two
things undo a good student within a few iterations: a critic that knows nothing yet, so the critic learns alone at first
(the ``begin`` of the phase ``ppo``), and more noise than it can bear, so the deviation starts low. Statistics of
observations stand still. Until the first step of ``ppo`` the student acts as it was distilled.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

from robodistill import builders
from robodistill.builders import Build
from robodistill.networks import CRITIC, STUDENT, check_same_interface, load_critic, load_policy
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy


def student(build: Build, *, start: str = "", init_std: float) -> Policy:
    """Return the student of the checkpoint ``start``, or a new one; a distilled one deviates by ``init_std`` at most.

    A checkpoint is a folder such as ``runs/<run>/student/checkpoints/last``; its architecture is taken over. A new
    student that no other phase distils first has to explore, and keeps the deviation that students begin with.
    """
    if not start and not _distilled_here(build):
        return builders.student(build)
    if start:
        saved = load_policy(Path(start), STUDENT)
        check_same_interface(saved.spec, build.spec, saved.policy.config.reads, f"student {start}")
        policy = copy.deepcopy(saved.policy).train().requires_grad_(True)
    else:
        policy = builders.student(build)
    config = policy.config
    if not config.min_std <= init_std <= config.max_std:
        bounds = f"[{config.min_std}, {config.max_std}]"
        raise RobodistillError(f"finetune: init_std {init_std} is outside the student's {bounds}; choose one within")
    policy.config = replace(config, init_std=min(init_std, config.init_std))
    policy.raw_log_std.data.clamp_(max=math.log(init_std))  # a head copied from the teacher has brought the teacher's
    return policy


def _distilled_here(build: Build) -> bool:
    """Return whether the method has more phases that move the student than that of reinforcement learning."""
    named = [phase.networks for phase in build.train.method.phases.values()]
    return sum(any(name.partition(".")[0] == STUDENT for name in names) for names in named) > 1


def critic(build: Build, *, start: str = "") -> Critic:
    """Return the critic of the checkpoint ``start``, such as ``dagger_value`` leaves it, or a new one, to be trained.

    Its layers are taken over. Rewards and discount must be those that it was trained with: else it would first have to
    forget.
    """
    if not start:
        return builders.critic(build)
    saved, collect = load_critic(Path(start), CRITIC), build.train.method.collect
    check_same_interface(load_policy(Path(start), STUDENT).spec, build.spec, saved.groups, f"critic {start}")
    for name in ("gamma", "reward_scale"):
        theirs, ours = getattr(saved, name), getattr(collect, name)
        if theirs != ours:
            raise RobodistillError(
                f"finetune: the critic of {start} was trained with {name} {theirs}, not {ours}; "
                f"set student.method.collect.{name}={theirs}"
            )
    saved.normalizer.freeze(False)
    return saved.train().requires_grad_(True)
