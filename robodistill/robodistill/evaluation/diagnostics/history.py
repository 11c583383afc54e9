"""Does the student use its history? It is evaluated with its memory emptied in each tick, and with it out of order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from robodistill.evaluation import statistics
from robodistill.evaluation.diagnostics.samples import Samples, has_window, shuffled
from robodistill.evaluation.drivers import TorchDriver
from robodistill.evaluation.rollout import Rollout
from robodistill_envs.vector import VecEnv
from robodistill_policies.policy import Policy


class ForgetfulDriver(TorchDriver):
    """Begins anew in each tick: a window is full of the present observation, a recurrent state is zero."""

    @torch.no_grad()
    def act(self, env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
        """Return the mean action of a first tick."""
        return self.policy.step(obs, self.policy.initial_state(env.num_envs))[0].mean


class ShuffledDriver(TorchDriver):
    """Remembers what the policy does, but reads the past steps of its window in a random order."""

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        super().__init__(policy)
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def act(self, env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
        """Return the mean action; the state that goes on is the ordered one."""
        mixed = shuffled(self.state, self._generator)
        _, self.state = self.policy.step(obs, self.state)
        return self.policy.step(obs, mixed)[0].mean


def ablations(policy: Policy) -> dict[str, TorchDriver]:
    """Return the drivers that tell whether ``policy`` uses its history; none for a policy without memory."""
    if not policy.initial_state(1):
        return {}
    found: dict[str, TorchDriver] = {"reset": ForgetfulDriver(policy)}
    if has_window(policy):
        found["shuffled"] = ShuffledDriver(policy)
    return found


def history_use(
    samples: Samples,
    teacher_log_std: Tensor,
    student: Rollout,
    roll: Callable[[TorchDriver], Rollout],
    drivers: dict[str, TorchDriver],
    resamples: int,
) -> dict[str, Any]:
    """Return what each ablation of ``drivers``, rolled out by ``roll``, costs on the first worlds of ``student``.

    ``return_lost`` is of pairs, world by world; ``action_change`` is the root mean square change of the action on the
    student's own states, in the teacher's sigma. Both are zero for a student that ignores its history.
    """
    result: dict[str, Any] = {"memory": bool(drivers)}
    for name, driver in drivers.items():
        rollout = roll(driver)
        count = len(rollout.returns)
        normal, without = (r.returns[:count].double().numpy() for r in (student, rollout))
        changed = samples.reset if name == "reset" else samples.shuffled
        result[name] = {
            "return": statistics.bootstrap(statistics.mean, (without,), resamples),
            "return_lost": statistics.bootstrap(statistics.mean, (normal - without,), resamples),
            "share_fallen": float(rollout.fell.float().mean()),
        }
        if changed is not None:
            squared = ((changed - samples.student) * torch.exp(-teacher_log_std)).square().mean(1)
            result[name]["action_change"] = samples.rms(squared, resamples)
        result |= {"worlds": count, "share_fallen": float(student.fell[:count].float().mean())}
        result["return"] = statistics.bootstrap(statistics.mean, (normal,), resamples)
    return result
