"""Learning decided on problems whose solution is known, over several seeds, each with a control that must fail."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from robodistill.settings import CollectConfig, PhaseConfig
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.encoders.base import State
from robodistill_policies.policy import Obs, Policy, PolicyOutput

SEEDS = range(4)
ENCODERS = "robodistill_policies.encoders."


def never(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.bool)


def linear_map(policy: Policy) -> tuple[Tensor, Tensor]:
    """Weights (A, dim) and offsets (A,) of a policy without hidden layers, its normaliser included."""
    (layer,) = policy.actor
    assert isinstance(layer, torch.nn.Linear)
    means = torch.cat([policy.normalizers[g].get_buffer("mean") for g in policy.config.groups]).float()
    variances = torch.cat([policy.normalizers[g].get_buffer("var") for g in policy.config.groups]).float()
    weight = layer.weight.data * torch.rsqrt(variances + 1e-4)
    return weight, layer.bias.data - weight @ means


# -- PPO ---------------------------------------------------------------------------------------


def identity_error(toys: ModuleType, seed: int, credit: bool) -> float:
    """Mean squared error after PPO on: act as observed, episodes of one step. Without credit: others' rewards."""
    torch.manual_seed(seed)
    shuffle = torch.Generator().manual_seed(seed + 100)

    def begin(n: int, generator: torch.Generator) -> State:
        return {"x": 2.0 * torch.rand(n, 1, generator=generator) - 1.0}

    def move(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        reward = -(action - state["x"]).square().sum(1)
        if not credit:
            reward = reward[torch.randperm(len(reward), generator=shuffle)]
        return state, reward, ~never(len(reward))

    toy = toys.Toy(128, 1, begin, lambda s: {"sensors": s["x"]}, move, seed)
    teacher = Policy(PolicyConfig(actor_hidden=(16,), init_std=0.5), {"sensors": 1}, 1)
    collect = CollectConfig({"teacher": (1.0, 1.0)}, 128, 8, critic="critic", update_normalizers=("teacher", "critic"))
    losses = {"s": toys.loss("surrogate", policy="teacher"), "v": toys.loss("value", critic="critic")}
    phase = PhaseConfig(losses, ("teacher", "critic"), 1e-2, schedule="adaptive_kl", lr_range=(1e-4, 2e-2))
    toys.train(toy, {"teacher": teacher, "critic": Critic({"sensors": 1}, (16,))}, collect, phase, 10, seed)
    x = torch.linspace(-1.0, 1.0, 101).unsqueeze(1)
    return float((teacher.act_mean({"sensors": x}, {})[0] - x).square().mean())


def test_ppo_learns_the_identity(toys: ModuleType) -> None:
    learned = [identity_error(toys, seed, credit=True) for seed in SEEDS]
    control = [identity_error(toys, seed, credit=False) for seed in SEEDS]
    # doing nothing has an error of 1/3
    assert max(learned) < 0.02
    assert min(control) > 0.1
    assert toys.p_value(learned, control) < 0.05


def endless_value(toys: ModuleType, time_outs_kill: bool) -> float:
    """The value learned for reward 1 at each step without end, seen in episodes of 8 steps, gamma 0.9."""

    def move(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        return state, torch.ones(len(action)), never(len(action))

    toy = toys.Toy(
        32, 8, lambda n, g: {"one": torch.ones(n, 1)}, lambda s: {"sensors": s["one"]}, move,
        time_outs_kill=time_outs_kill,
    )  # fmt: skip
    policy, critic = Policy(PolicyConfig(actor_hidden=()), {"sensors": 1}, 1), Critic({"sensors": 1}, ())
    collect = CollectConfig({"teacher": (1.0, 1.0)}, 32, 8, critic="critic", gamma=0.9)
    phase = PhaseConfig({"v": toys.loss("value", critic="critic")}, ("critic",), 0.1, schedule="linear", final_lr=0.01)
    toys.train(toy, {"teacher": policy, "critic": critic}, collect, phase, 40, 0)
    with torch.no_grad():
        return float(critic.value({"sensors": torch.ones(1, 1)}))


def test_a_time_out_is_no_end_of_the_world(toys: ModuleType) -> None:
    assert endless_value(toys, time_outs_kill=False) == pytest.approx(10.0, rel=0.02)
    assert endless_value(toys, time_outs_kill=True) < 7.0


def test_time_outs_are_valued_by_the_observation_they_ended_with(toys: ModuleType) -> None:
    class Reader(Critic):
        """Values a state by its one observation."""

        def value(self, obs: Obs) -> Tensor:
            return obs["sensors"][..., 0]

    def move(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        return {"x": state["x"] + 1.0}, torch.zeros(len(action)), never(len(action))

    # x counts 100, 101, 102, then the episode ends at 103 and begins again at 100
    toy = toys.Toy(4, 3, lambda n, g: {"x": torch.full((n, 1), 100.0)}, lambda s: {"sensors": s["x"]}, move)
    policy, critic = Policy(PolicyConfig(actor_hidden=()), {"sensors": 1}, 1), Reader({"sensors": 1}, ())
    collect = CollectConfig({"teacher": (1.0, 1.0)}, 4, 7, critic="critic", gamma=1.0, lam=0.0)
    phase = PhaseConfig({"v": toys.loss("value", critic="critic")}, ("teacher",), 1e-3)
    trainer = toys.make_trainer(toy, {"teacher": policy, "critic": critic}, collect, phase, 1, 0)
    segment, _ = trainer.collector.collect(0.0)
    # each step led to a state one higher, in the last step of an episode and of the segment too
    assert torch.equal(segment.data["advantage"], torch.ones(7, 4))
    assert bool(segment.data["done"].any())
    assert not bool(segment.data["terminated"].any())


# -- distillation ------------------------------------------------------------------------------


def imitate(
    toys: ModuleType, toy: Any, networks: dict[str, Policy], drivers: Any, iterations: int, **phase: Any
) -> None:
    """Train networks["student"] on the labels of networks["teacher"]."""
    collect = CollectConfig(drivers, toy.num_envs, 16, deterministic=("teacher",), labeller="teacher")
    settings = {"lr": 0.03, "schedule": "cosine", "final_lr": 3e-4, "epochs": 2, "minibatches": 2, **phase}
    config = PhaseConfig({"a": toys.loss("imitate_action", policy="student")}, ("student",), split="world", **settings)
    toys.train(toy, networks, collect, config, iterations, 0)


def frozen(policy: Policy) -> Policy:
    for parameter in policy.parameters():
        parameter.requires_grad_(False)
    return policy


def test_a_linear_teacher_is_recovered_and_what_the_student_cannot_see_becomes_its_mean(toys: ModuleType) -> None:
    # the teacher also reads p = s_0 / 2 + e, e of variance 1/4; best is then to put the half of its weight on s_0
    def begin(n: int, generator: torch.Generator) -> State:
        draw = torch.randn(n, 4, generator=generator)
        return {"s": draw[:, :3], "p": 0.5 * draw[:, :1] + 0.5 * draw[:, 3:]}

    def move(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        return state, torch.zeros(len(action)), ~never(len(action))

    look = lambda s: {"sensors": s["s"], "privileged": s["p"]}  # noqa: E731
    toy = toys.Toy(256, 1, begin, look, move, actions=("x", "y"))
    dims = {"sensors": 3, "privileged": 1}
    teacher = Policy(PolicyConfig(("sensors", "privileged"), actor_hidden=()), dims, 2)
    (layer,) = teacher.actor
    layer.get_parameter("weight").data = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.3, 0.0, 1.0, 2.0]])
    layer.get_parameter("bias").data = torch.tensor([0.1, -0.2])
    student = Policy(PolicyConfig(actor_hidden=(), init_std=0.1), dims, 2)
    untrained, _ = linear_map(student)
    drivers = {"student": (1.0, 1.0)}
    imitate(toys, toy, {"student": student, "teacher": frozen(teacher)}, drivers, 60)
    weight, offset = linear_map(student)
    expected = torch.tensor([[1.0, -2.0, 0.5], [1.3, 0.0, 1.0]])
    assert torch.allclose(weight, expected, atol=0.04)
    assert torch.allclose(offset, torch.tensor([0.1, -0.2]), atol=0.04)
    assert not torch.allclose(untrained, expected, atol=0.5)
    # and what remains of the error is what nobody can know: none, and 2^2 times the variance of e
    obs = toy.look(begin(20_000, torch.Generator().manual_seed(9)))
    error = (student.act_mean(obs, {})[0] - teacher.act_mean(obs, {})[0]).square().mean(0)
    assert torch.allclose(error, torch.tensor([0.0, 1.0]), atol=0.05)


GAINS = torch.tensor([[-5.0, -6.0]])


def push_cart(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
    x, v = state["x"][:, :1], state["x"][:, 1:]
    moved = torch.cat((x + 0.1 * v, v + 0.1 * action), dim=1)
    return {"x": moved}, -x[:, 0].square(), never(len(action))


def drift_cost(toys: ModuleType, seed: int, drivers: Any, on_the_line: bool) -> float:
    """Cost of driving alone after imitating a teacher that brings a cart to rest.

    Left alone the teacher stays on the line v = -x, on which positions and velocities cannot be told apart: what
    fits there best turns unstable off the line, and only who has been off it has labels there.
    """
    torch.manual_seed(seed)

    def begin(n: int, generator: torch.Generator) -> State:
        draw = 2.0 * torch.rand(n, 2, generator=generator) - 1.0
        return {"x": torch.cat((draw[:, :1], -draw[:, :1]), dim=1) if on_the_line else draw}

    toy = toys.Toy(64, 40, begin, lambda s: {"sensors": s["x"]}, push_cart, seed)
    teacher, student = (Policy(PolicyConfig(actor_hidden=(), init_std=0.1), {"sensors": 2}, 1) for _ in range(2))
    (layer,) = teacher.actor
    layer.get_parameter("weight").data = GAINS.clone()
    imitate(toys, toy, {"student": student, "teacher": frozen(teacher)}, drivers, 30, lr=0.1, final_lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    line = 2.0 * torch.rand(200, 1, generator=generator) - 1.0
    state = {"x": torch.cat((line, -line), dim=1) + 0.05 * torch.randn(200, 2, generator=generator)}
    cost = 0.0
    for _ in range(100):
        state, reward, _ = push_cart(state, student.act_mean({"sensors": state["x"]}, {})[0])
        cost -= float(reward.mean()) / 100
    return cost


def test_dagger_beats_behaviour_cloning_where_errors_add_up(toys: ModuleType) -> None:
    alone, watching = {"student": (1.0, 1.0)}, {"teacher": (1.0, 1.0)}
    dagger = [drift_cost(toys, seed, alone, on_the_line=True) for seed in SEEDS]
    cloning = [drift_cost(toys, seed, watching, on_the_line=True) for seed in SEEDS]
    assert max(dagger) < 0.05
    assert min(cloning) > 10.0 * max(dagger)
    assert toys.p_value(dagger, cloning) < 0.05
    # the control: where the teacher starts off the line too, watching it is enough
    assert drift_cost(toys, 0, watching, on_the_line=False) < 1.1 * max(dagger)


class Sign(Policy):
    """A teacher that knows the hidden sign: a = sign * x."""

    def step(self, obs: Obs, state: State) -> tuple[PolicyOutput, State]:
        mean = obs["privileged"] * obs["sensors"][:, :1]
        return PolicyOutput(mean, self.log_std, mean[:, :0]), state


def memory_error(toys: ModuleType, encoder: EncoderConfig, seed: int, always: bool) -> float:
    """Error of a student that must act by a sign shown in the first tick of an episode only, or always."""
    torch.manual_seed(seed)
    xs = torch.Generator().manual_seed(seed + 50)

    def begin(n: int, generator: torch.Generator) -> State:
        sign = 2.0 * torch.randint(0, 2, (n, 1), generator=generator) - 1.0
        return {"sign": sign, "cue": sign.clone(), "x": torch.randn(n, 1, generator=generator)}

    def look(state: State) -> dict[str, Tensor]:
        cue = state["sign"] if always else state["cue"]
        return {"sensors": torch.cat((state["x"], cue), dim=1), "privileged": state["sign"]}

    def move(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        n = len(action)
        after = {"sign": state["sign"], "cue": torch.zeros(n, 1), "x": torch.randn(n, 1, generator=xs)}
        return after, torch.zeros(n), never(n)

    toy = toys.Toy(64, 8, begin, look, move, seed)
    dims = {"sensors": 2, "privileged": 1}
    teacher = frozen(Sign(PolicyConfig(("sensors", "privileged"), actor_hidden=()), dims, 1))
    config = PolicyConfig(encoder=encoder, actor_hidden=(24,), activation="relu", init_std=0.1)
    student = Policy(config, dims, 1)
    imitate(toys, toy, {"student": student, "teacher": teacher}, {"student": (1.0, 1.0)}, 20)
    late = toys.Toy(500, 8, begin, look, move, seed + 1)
    obs, state, errors = late.reset(), student.initial_state(500), []
    for _ in range(8):
        mean, state = student.act_mean(obs, state)
        errors.append((mean - teacher.act_mean(obs, {})[0]).square().mean())
        obs = late.step(mean)[0]
    return float(torch.stack(errors[1:-1]).mean())


def test_memory_beats_none_where_something_hidden_must_be_remembered(toys: ModuleType) -> None:
    gru = EncoderConfig(ENCODERS + "gru:GRUEncoder", ("sensors",), (12,), 4)
    mlp = EncoderConfig(ENCODERS + "mlp:MLPEncoder", ("sensors",), (24,), 4)
    remembering = [memory_error(toys, gru, seed, always=False) for seed in SEEDS]
    forgetting = [memory_error(toys, mlp, seed, always=False) for seed in SEEDS]
    assert max(remembering) < 0.2
    assert min(forgetting) > 0.8  # the variance of x: nothing better than zero can be done
    assert toys.p_value(remembering, forgetting) < 0.05
    # the control: with the sign in sight no memory is needed
    assert memory_error(toys, mlp, 0, always=True) < 0.2
