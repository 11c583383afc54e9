"""Reinforcement learning of policies with memory, and of a critic beside an imitating student, on solvable toys."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from robodistill.settings import CollectConfig, LossConfig, PhaseConfig
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.encoders.base import State
from robodistill_policies.policy import Policy

SEEDS = range(4)
ENCODERS = "robodistill_policies.encoders."


def recall_error(toys: ModuleType, encoder: EncoderConfig, seed: int) -> float:
    """Error after PPO on: act, in the second tick of an episode, by the sign that was shown in the first."""
    torch.manual_seed(seed)

    def begin(n: int, generator: torch.Generator) -> State:
        sign = 2.0 * torch.randint(0, 2, (n, 1), generator=generator) - 1.0
        return {"sign": sign, "late": torch.zeros(n, 1)}

    def look(state: State) -> dict[str, Tensor]:
        shown = state["sign"] * (1.0 - state["late"])
        return {"sensors": torch.cat((shown, state["late"]), dim=1), "privileged": state["sign"]}

    def move(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        late = state["late"][:, 0] > 0
        reward = -torch.where(late, (action - state["sign"]).square().sum(1), action.square().sum(1))
        return {"sign": state["sign"], "late": torch.ones_like(state["late"])}, reward, late

    toy = toys.Toy(128, 4, begin, look, move, seed)
    config = PolicyConfig(encoder=encoder, actor_hidden=(16,), init_std=0.4)
    dims = {"sensors": 2, "privileged": 1}
    networks: dict[str, nn.Module] = {"student": Policy(config, dims, 1), "critic": Critic(dims, (16,))}
    collect = CollectConfig({"student": (1.0, 1.0)}, 128, 8, critic="critic", gamma=0.9)
    losses = {"s": toys.loss("surrogate", policy="student"), "v": toys.loss("value", critic="critic")}
    phase = PhaseConfig(
        losses, ("student", "critic"), 1e-2, schedule="adaptive_kl", lr_range=(1e-3, 2e-2), split="world"
    )
    toys.train(toy, networks, collect, phase, 25, seed)
    student = networks["student"]
    assert isinstance(student, Policy)
    sign = torch.tensor([[1.0], [-1.0]])
    _, state = student.act_mean(look({"sign": sign, "late": torch.zeros(2, 1)}), student.initial_state(2))
    second, _ = student.act_mean(look({"sign": sign, "late": torch.ones(2, 1)}), state)
    return float((second - sign).square().mean())


@pytest.mark.slow
def test_ppo_of_a_policy_with_memory_learns_to_remember(toys: ModuleType) -> None:
    gru = EncoderConfig(ENCODERS + "gru:GRUEncoder", ("sensors",), (12,), 4)
    mlp = EncoderConfig(ENCODERS + "mlp:MLPEncoder", ("sensors",), (12,), 4)
    remembering = [recall_error(toys, gru, seed) for seed in SEEDS]
    forgetting = [recall_error(toys, mlp, seed) for seed in SEEDS]
    assert max(remembering) < 0.1
    assert min(forgetting) > 0.8  # nothing better than zero can be done: an error of 1
    assert toys.p_value(remembering, forgetting) < 0.05


def test_the_critic_beside_an_imitating_student_values_the_students_own_episodes(toys: ModuleType) -> None:
    """Both see the same state; only the teacher is paid. Which return a critic learns depends on the role it asks."""

    def move(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        n = len(action)
        return {"x": torch.ones(n, 1)}, (action[:, 0] > 0.5).float(), torch.ones(n, dtype=torch.bool)

    found: dict[str, float] = {}
    for role in ("student", "teacher", ""):
        torch.manual_seed(0)
        toy = toys.Toy(64, 1, lambda n, g: {"x": torch.ones(n, 1)}, lambda s: {"sensors": s["x"]}, move)
        teacher, student = (Policy(PolicyConfig(actor_hidden=(), init_std=0.05), {"sensors": 1}, 1) for _ in range(2))
        teacher.actor[0].get_parameter("bias").data.fill_(1.0)
        shares = {"student": (0.5, 0.5), "teacher": (0.5, 0.5)}
        collect = CollectConfig(
            shares, 64, 8, deterministic=("teacher",), labeller="teacher", critic="critic"
        )
        loss = {"v": LossConfig("robodistill.losses:value", params={"critic": "critic", "role": role})}
        phase = PhaseConfig(loss, ("critic",), 0.1, schedule="linear", final_lr=1e-3)
        critic = Critic({"sensors": 1}, ())
        toys.train(toy, {"student": student, "teacher": teacher, "critic": critic}, collect, phase, 20, 0)
        with torch.no_grad():
            found[role] = float(critic.value({"sensors": torch.ones(1, 1)}))
    assert found["student"] == pytest.approx(0.0, abs=0.02)
    assert found["teacher"] == pytest.approx(1.0, abs=0.02)
    assert found[""] == pytest.approx(0.5, abs=0.1)
