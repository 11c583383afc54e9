"""Rewards and observations compiled: torch.compile makes one C++ function of the hundreds of operations of a step.

It pays where a run is long and its worlds are few, for the time that it saves in each step does not depend on how many
there are (docs/benchmarks.md). Results differ from the uncompiled in the last bits.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from robodistill_deploy.errors import RobodistillError
from robodistill_envs.random import WorldRandom
from robodistill_envs.world import World

Rewards = Callable[[World], Tensor]
"""World -> weighted rewards (n, terms)."""
Seen = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Observation groups, and the signals behind them."""
Look = Callable[[World, WorldRandom, Tensor, bool, "Tensor | None"], Seen]
"""(world, random, counter, noise, ids) as in ``World.measure`` -> what is seen."""


def require_compiler() -> None:
    """Refuse a machine without the C++ compiler that torch.compile calls."""
    named = os.environ.get("CXX", "")
    if not any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"])):
        raise RobodistillError(
            f"compile=true needs a C++ compiler, {named or 'g++'} was not found: install one (apt install g++), "
            "name one in CXX, or leave compile out"
        )


def compiled(world: World, rewards: Rewards, look: Look) -> tuple[Rewards, Look]:
    """Return the same two functions, compiled at their first call for any number of worlds."""
    require_compiler()
    template = world.made_of(_rows(world))

    def rewards_of(rows: dict[str, Tensor]) -> Tensor:
        return rewards(template.made_of(rows))

    def seen_in(rows: dict[str, Tensor], random: WorldRandom, counter: Tensor, noise: bool, ids: Tensor) -> Seen:
        return look(template.made_of(rows), random, counter, noise, ids)

    # dynamic: worlds whose episode ended are rows of their own, a different number in each step
    fast_rewards = torch.compile(rewards_of, dynamic=True)
    fast_look = torch.compile(seen_in, dynamic=True)
    everyone = torch.arange(world.num_envs)

    def compiled_look(world: World, random: WorldRandom, counter: Tensor, noise: bool, ids: Tensor | None) -> Seen:
        return fast_look(_rows(world), random, counter, noise, everyone if ids is None else ids)

    return lambda world: fast_rewards(_rows(world)), compiled_look


def _rows(world: World) -> dict[str, Tensor]:
    """Return the rows of ``world`` in one layout, whatever it is made of: a second one would be compiled again."""
    rows = world.rows()
    # a state that is the action itself would be one input instead of two
    rows |= {name: value.clone() for name, value in rows.items() if name.startswith("internals.")}
    rows["_sensordata"] = rows["_sensordata"].contiguous()
    if "last_joint_vel" not in rows and "joint_vel" in {s.name for s in world.task.robot.sensors}:
        rows["last_joint_vel"] = torch.zeros_like(world.true("joint_vel")).contiguous()
    return rows
