"""Trainer: runs the iterations that a method describes, and can stop and go on bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from robodistill.checkpoint import LAST, has_tree, load_tree, save_tree
from robodistill.files import sync, writing
from robodistill.networks import CRITIC, checkpoint_texts
from robodistill.phases import Phase
from robodistill.resume import conditions, warn_of_changes
from robodistill.runs import RunFolder
from robodistill.settings import TrainConfig
from robodistill.sources import make_source
from robodistill.symmetry import Mirror, declared
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_envs.vector import VecEnv
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy

Report = Callable[[int, int, dict[str, float]], None]
"""Called after each iteration with its number, the env steps so far and the figures."""


@runtime_checkable
class Normalizing(Protocol):
    """A network with statistics of its own: policies, critics, and what a method adds."""

    def update_normalizer(self, obs: dict[str, torch.Tensor]) -> None:
        """Take in observations (groups (..., dim))."""


JUDGED = 20
"""Evenly spread iterations after which ``best`` may change: fixed ones, whenever the run was stopped."""


class Trainer:
    """Trains the networks of one TrainConfig in one VecEnv."""

    def __init__(
        self,
        config: TrainConfig,
        env: VecEnv,
        networks: nn.ModuleDict,
        seed: int,
        saved: str,
        recording: Path | None = None,
    ) -> None:
        self.config, self.env, self.networks = config, env, networks
        self.saved = saved
        """The policy whose architecture its checkpoints spell out."""
        self.threads = 0
        """Threads of the physics as configured, for the checkpoint to remember."""
        self.compiled = False
        """Whether the environment's functions are compiled, likewise."""
        self.generator = torch.Generator().manual_seed(seed)
        wanted = any(p.mirror for p in config.method.phases.values())
        mirror = Mirror(env.spec) if wanted or declared(env.spec) else None
        self.phases = {n: Phase(n, p, networks, mirror) for n, p in config.method.phases.items()}
        self.collector = make_source(config.method, env, dict(networks.items()), self.generator, recording)
        self.iteration = 0
        self.best_return = self.recent_return = float("-inf")
        self._update_normalizers(self.collector.obs)

    @property
    def env_steps(self) -> int:
        """Return the environment steps made so far, of all worlds together."""
        collect = self.config.method.collect
        return self.iteration * collect.num_envs * collect.steps

    @property
    def progress(self) -> float:
        """Return the share of the training that is done, in [0, 1]."""
        return self.iteration / self.config.iterations

    def iterate(self) -> dict[str, float]:
        """Make one iteration and return its figures."""
        started = time.perf_counter()
        progress = self.progress
        segment, figures = self.collector.collect(progress)
        collected = time.perf_counter()
        for phase in self.phases.values():
            if phase.due(self.iteration, progress):
                figures |= phase.run(segment, progress, self.generator)
        # once per segment and after the phases: in between, the ratio's two policies would not see the same input
        collect = self.config.method.collect
        if progress < collect.freeze_normalizers_at:  # of several segments side by side the newest is the last one
            self._update_normalizers({group: seen[:, -collect.num_envs :] for group, seen in segment.obs.items()})
        self.iteration += 1
        learned = time.perf_counter()
        steps = segment.resets.numel()
        figures |= {"time/collect_s": collected - started, "time/learn_s": learned - collected}
        figures["time/steps_per_s"] = steps / (learned - started)
        for name, network in self.networks.items():
            if isinstance(network, Policy) and name in self.config.method.collect.drivers:
                figures[f"policy/std_{name}"] = float(network.log_std.detach().exp().mean())
        return figures

    def _update_normalizers(self, obs: dict[str, torch.Tensor]) -> None:
        for name in self.config.method.collect.update_normalizers:
            network = dict(self.networks.items()).get(name)
            if not isinstance(network, Normalizing):
                legal = [n for n, other in self.networks.items() if isinstance(other, Normalizing)]
                raise RobodistillError(f"collect.update_normalizers: {unknown('network', name, legal)}")
            network.update_normalizer(obs)

    def resume(self, folder: RunFolder) -> None:
        """Go on from the last checkpoint in ``folder``, if there is one."""
        self.env.repro_folder = folder.path
        for phase in self.phases.values():
            phase.repro_folder = folder.path
        if has_tree(folder.checkpoint(LAST)):
            state = load_tree(folder.checkpoint(LAST))
            warn_of_changes(state.pop("conditions", {}), conditions(self.threads, self.compiled))
            self.load_state_dict(state)

    def run(self, folder: RunFolder, report: Report) -> None:
        """Train to the end; ``last`` is the latest checkpoint, ``best`` the judged one of highest smoothed return."""
        saved = time.monotonic()
        while self.iteration < self.config.iterations:
            figures = self.iterate()
            report(self.iteration, self.env_steps, figures)
            self.follow(figures)
            if self._judged or time.monotonic() - saved > self.config.checkpoint_every_s:
                self._save(folder)
                saved = time.monotonic()

    @property
    def _judged(self) -> bool:
        """Return whether this iteration is one of those that may be the best; the last one always is."""
        now, before = (i * JUDGED // self.config.iterations for i in (self.iteration, self.iteration - 1))
        return now > before

    def follow(self, figures: dict[str, float]) -> None:
        """Smooth the return of the episodes that the trained policy drove itself, at the task's full size.

        Where it has no episodes of its own, as in ``bc``, that of all has to do.
        """
        drivers = self.config.method.collect.drivers
        own_episodes = len(drivers) > 1 and max(drivers.get(self.saved, (0.0, 0.0))) > 0.0
        own = figures.get(f"episode/return_{self.saved}" if own_episodes else "episode/return")
        if own is None or figures["collect/curriculum"] < 1.0:
            return
        self.recent_return = own if math.isinf(self.recent_return) else 0.9 * self.recent_return + 0.1 * own

    def _save(self, folder: RunFolder) -> None:
        policy = self.networks[self.saved]
        assert isinstance(policy, Policy)
        critic = dict(self.networks.items()).get(CRITIC)
        texts = checkpoint_texts(policy, self.env.spec, critic if isinstance(critic, Critic) else None)
        if folder.metrics_path.exists():
            with writing(folder.metrics_path):
                sync(folder.metrics_path)  # after a power cut the log must reach as far as the checkpoint
        names = [LAST]
        if self._judged and self.recent_return > self.best_return:
            self.best_return = self.recent_return
            names = ["best", LAST]
        state = {**self.state_dict(), "conditions": conditions(self.threads, self.compiled)}
        for name in names:
            save_tree(folder.checkpoint(name), state, texts)

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimisers, collector, environment, random state and counters."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "phases": {name: phase.state_dict() for name, phase in self.phases.items()},
            "collector": self.collector.state_dict(),
            "generator": self.generator.get_state(),
            "iteration": self.iteration,
            "best_return": self.best_return,
            "recent_return": self.recent_return,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, phase in self.phases.items():
            phase.load_state_dict(state["phases"][name])
        self.collector.load_state_dict(state["collector"])
        self.generator.set_state(state["generator"])
        self.iteration = state["iteration"]
        self.best_return, self.recent_return = state["best_return"], state["recent_return"]
