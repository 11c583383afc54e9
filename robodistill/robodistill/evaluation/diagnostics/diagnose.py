"""All diagnostics of one student against its teacher, as ``evaluation.json`` holds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from robodistill.agreement import action_names
from robodistill.evaluation.diagnostics.actions import action_agreement
from robodistill.evaluation.diagnostics.failures import failures
from robodistill.evaluation.diagnostics.gap import irreducible_gap
from robodistill.evaluation.diagnostics.growth import TICKS, WORLDS, closed_loop_growth
from robodistill.evaluation.diagnostics.history import ablations, history_use
from robodistill.evaluation.diagnostics.samples import Samples, Watch
from robodistill.evaluation.diagnostics.sensitivity import sensitivity
from robodistill.evaluation.drivers import TorchDriver
from robodistill.evaluation.rollout import Rollout, roll_out
from robodistill.networks import STUDENT, TEACHER
from robodistill.settings import EvaluateConfig
from robodistill_envs.vector import VecEnv
from robodistill_policies.policy import Policy

ABLATION_WORLDS = 96
"""Worlds in which the student is rolled out again without its memory: the first ones of the evaluation."""

Figures = dict[str, Any]
Make = Callable[[int], VecEnv]


class Diagnosis:
    """Watches the student while ``compare`` rolls it out, then makes the few rollouts more that it takes."""

    def __init__(self, student: TorchDriver, teacher: TorchDriver, config: EvaluateConfig) -> None:
        self.student, self.teacher, self.config = student.policy, teacher.policy, config
        self._sigma, self._own_sigma = (p.log_std.detach() for p in (self.teacher, self.student))
        self.watch = Watch(student, teacher.policy, config.seed)
        self._drivers = ablations(student.policy)

    def ticks(self, max_steps: int) -> int:
        """Return how often ``figures`` will tell of progress, where an episode has so many ticks."""
        return len(self._drivers) * max_steps + 2 * min(TICKS, max_steps)

    def figures(self, make: Make, rollouts: Mapping[str, Rollout], progress: Callable[[int], None]) -> Figures:
        """Return every diagnostic; ``make`` gives the evaluation's environment with so many of its worlds."""
        started, done = time.monotonic(), 0

        def tick_done(tick: int) -> None:
            nonlocal done
            done += 1
            progress(done)

        result: Figures = {"failures": failures(rollouts)}
        env = make(min(ABLATION_WORLDS, self.config.episodes))
        samples = self.watch.samples()
        if samples is not None:
            result |= self._of_samples(samples, env)
            result["history"] = self._history(samples, env, rollouts[STUDENT], tick_done)
        result["growth"] = self._growth(make, tick_done)
        result["wall_s"] = round(time.monotonic() - started, 3)
        return result

    def _of_samples(self, samples: Samples, env: VecEnv) -> Figures:
        sigma, resamples = self._sigma, self.config.bootstrap
        residual = (samples.teacher - samples.student) / sigma.exp()
        gap = irreducible_gap(samples.inputs, residual, samples.world, resamples)
        if gap:
            gap["by_action"] = dict(zip(action_names(env.spec), gap["by_action"], strict=True))
        return {
            "agreement": action_agreement(samples, self._own_sigma, sigma, env.spec, resamples),
            "gap": gap,
            "sensitivity": sensitivity(samples, self.student, sigma, env.spec),
        }

    def _history(
        self, samples: Samples, env: VecEnv, student: Rollout, tick_done: Callable[[int], None]
    ) -> Figures:
        config = replace(self.config, episodes=env.num_envs, record=0, record_by="")

        def roll(driver: TorchDriver) -> Rollout:
            return roll_out(env, driver, config, tick_done)

        return history_use(samples, self._sigma, student, roll, self._drivers, self.config.bootstrap)

    def _growth(self, make: Make, tick_done: Callable[[int], None]) -> Figures:
        policies: dict[str, Policy] = {TEACHER: self.teacher, STUDENT: self.student}
        worlds = min(WORLDS, self.config.episodes)
        return {
            name: closed_loop_growth(
                lambda: make(worlds), lambda p=policy: TorchDriver(p), self.config.seed, tick_done
            ).summary(self.config.bootstrap)
            for name, policy in policies.items()
        }
