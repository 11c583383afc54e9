"""Samples of the student's own states, taken while it is evaluated: what it did, and what others would have done."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robodistill.evaluation.drivers import TorchDriver
from robodistill.evaluation.statistics import Array, Interval, bootstrap, ratio, root_ratio
from robodistill_policies.encoders.base import State
from robodistill_policies.encoders.window import WindowEncoder
from robodistill_policies.policy import Policy

EVERY, OFFSET = 10, 5
"""Ticks between two samples, and the first one: at tick 0 nobody remembers anything."""
SKETCH = 128
"""Widest memory that is kept whole; a wider one is projected to so many random directions."""
KEPT = 32
"""Worlds whose policy state is kept whole at each sampled tick."""


@dataclass(frozen=True)
class Samples:
    """Rows of living worlds at some ticks; actions are raw means."""

    world: Tensor
    """(n,)"""
    tick: Tensor
    """(n,)"""
    student: Tensor
    """(n, A)"""
    teacher: Tensor
    """(n, A) for the same observations"""
    reset: Tensor | None
    """(n, A) of the student without its memory; None where it has none"""
    shuffled: Tensor | None
    """(n, A) of the student with its window in another order; None where it has no window"""
    inputs: Tensor
    """(n, d) what the student reads: present observation, latent, and its memory or a sketch of it"""
    kept: dict[str, Tensor]
    """Whole rows of a few worlds: ``tick`` (m,), groups (m, dim)"""
    kept_state: State
    """Policy state before those rows, (m, ...)"""

    def by_world(self, values: Tensor) -> tuple[Array, Array]:
        """Return the sum of ``values`` (n,) in each world that was sampled, and how many they are, (W,)."""
        _, index = self.world.unique(return_inverse=True)
        sums = torch.zeros(int(index.max()) + 1, dtype=torch.float64).index_add_(0, index, values.double())
        return sums.numpy(), index.bincount().double().numpy()

    def mean(self, values: Tensor, resamples: int) -> Interval:
        """Return the mean of ``values`` (n,) with its interval over worlds: ticks of one world are no new evidence."""
        return bootstrap(ratio, self.by_world(values), resamples)

    def rms(self, squared: Tensor, resamples: int) -> Interval:
        """Return the root of the mean of ``squared`` (n,), likewise."""
        return bootstrap(root_ratio, self.by_world(squared), resamples)


def has_window(policy: Policy) -> bool:
    """Return whether the policy remembers steps that have an order to lose."""
    return isinstance(policy.encoder, WindowEncoder) and policy.encoder.config.history > 2


def shuffled(state: State, generator: torch.Generator) -> State:
    """Return the state of a window with its past steps in a random order, another one in each world.

    What the next step pushes out stays where it is, so that all that is remembered still is.
    """
    history = state["history"]
    past = history[:, 1:]
    order = torch.rand(past.shape[:2], generator=generator).argsort(dim=1)
    mixed = past.gather(1, order.unsqueeze(-1).expand_as(past))
    return {**state, "history": torch.cat((history[:, :1], mixed), dim=1)}


class Watch:
    """Called in each tick of the student's rollout, after it acted: takes samples at some of them."""

    def __init__(self, driver: TorchDriver, teacher: Policy, seed: int = 0) -> None:
        self.driver, self.teacher = driver, teacher
        self._generator = torch.Generator().manual_seed(seed)
        self._rows: dict[str, list[Tensor]] = {}
        self._kept: dict[str, list[Tensor]] = {}
        self._kept_state: dict[str, list[Tensor]] = {}
        self._sketch: Tensor | None = None

    @torch.no_grad()
    def __call__(self, tick: int, obs: dict[str, Tensor], alive: Tensor) -> None:
        """Look at the tick for which the driver has just acted on ``obs``; ``alive`` (num_envs,) bool."""
        due = tick % EVERY == OFFSET and bool(alive.any())
        if tick == 0:
            self._teacher_state = self.teacher.initial_state(len(alive))
        if not due and not self._teacher_state:
            return  # a teacher with memory must see every tick
        label, self._teacher_state = self.teacher.step(obs, self._teacher_state)
        if not due:
            return
        ids = alive.nonzero()[:, 0]
        rows = {"world": ids, "tick": torch.full_like(ids, tick), "teacher": label.mean[ids]}
        rows |= self._of_student(obs, ids)
        for name, value in rows.items():
            self._rows.setdefault(name, []).append(value)
        self._keep(tick, obs, ids[:KEPT])

    def _of_student(self, obs: dict[str, Tensor], ids: Tensor) -> dict[str, Tensor]:
        policy, before = self.driver.policy, self.driver.before
        seen = {group: value[ids] for group, value in obs.items()}
        state = {key: value[ids] for key, value in before.items()}
        output, _ = policy.step(seen, state)
        rows = {"student": output.mean}
        memory = [value.flatten(1) for value in state.values()]
        if memory:
            rows["reset"] = policy.step(seen, policy.initial_state(len(ids)))[0].mean
        if has_window(policy):
            rows["shuffled"] = policy.step(seen, shuffled(state, self._generator))[0].mean
        present = [seen[group] for group in policy.config.reads]
        rows["inputs"] = torch.cat([*present, output.latent, *(self._sketched(memory))], dim=1)
        return rows

    def _sketched(self, memory: list[Tensor]) -> list[Tensor]:
        if not memory:
            return []
        whole = torch.cat(memory, dim=1)
        width = whole.shape[1]
        if width <= SKETCH:
            return [whole]
        sketch = self._sketch
        if sketch is None:
            sketch = self._sketch = torch.randn(width, SKETCH, generator=self._generator) / width**0.5
        return [whole @ sketch]

    def _keep(self, tick: int, obs: dict[str, Tensor], ids: Tensor) -> None:
        self._kept.setdefault("tick", []).append(torch.full_like(ids, tick))
        for group in self.driver.policy.config.reads:
            self._kept.setdefault(group, []).append(obs[group][ids].clone())
        for key, value in self.driver.before.items():
            self._kept_state.setdefault(key, []).append(value[ids].clone())

    def samples(self) -> Samples | None:
        """Return what was seen; None if no world lived to the first sampled tick."""
        if not self._rows:
            return None
        rows = {name: torch.cat(values) for name, values in self._rows.items()}
        kept, state = (
            {name: torch.cat(values) for name, values in found.items()} for found in (self._kept, self._kept_state)
        )
        return Samples(
            rows["world"], rows["tick"], rows["student"], rows["teacher"], rows.get("reset"), rows.get("shuffled"),
            rows["inputs"], kept, state,
        )  # fmt: skip
