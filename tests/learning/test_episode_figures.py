"""Figures of episodes count whole episodes only: worlds begin staggered, in the middle of one."""

from __future__ import annotations

from types import ModuleType
from typing import cast

import torch

from robodistill.collect import Collector
from robodistill.settings import CollectConfig, MethodConfig
from robodistill_envs.vector import VecEnv
from robodistill_policies.config import PolicyConfig
from robodistill_policies.policy import Policy

LENGTH, WORLDS = 10, 64


def test_one_a_step_returns_the_length_of_an_episode(toys: ModuleType) -> None:
    toy = toys.Toy(
        WORLDS, LENGTH,
        begin=lambda n, generator: {"x": torch.zeros(n, 1)},
        look=lambda state: {"sensors": state["x"]},
        move=lambda state, action: (state, torch.ones(WORLDS), torch.zeros(WORLDS, dtype=torch.bool)),
    )  # fmt: skip
    policy = Policy(PolicyConfig(actor_hidden=()), {"sensors": 1}, 1)
    config = CollectConfig(drivers={"student": (1.0, 1.0)}, num_envs=WORLDS, steps=4)
    method, generator = MethodConfig("m", config, {}), torch.Generator().manual_seed(0)
    collector = Collector(method, cast(VecEnv, toy), {"student": policy}, generator)
    returns = [figures.get("episode/return") for _, figures in (collector.collect(0.0) for _ in range(8))]
    assert returns[0] is None  # only parts of episodes have ended
    told = [value for value in returns if value is not None]
    assert len(told) >= 4
    assert set(told) == {LENGTH}
