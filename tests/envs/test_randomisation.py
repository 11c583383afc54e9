"""What is drawn for each world and episode: whole ranges, independent, and gone when switched off."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robodistill.config import groups
from robodistill_envs.config import TaskConfig
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.model import model_field
from robodistill_envs.vector import Disturbances, VecEnv

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
TASKS = sorted(groups()["task"])
N = 192


def shares(task: TaskConfig, drawn: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return each drawn element (worlds,) as a share of its range; elements without one are left out."""
    found: dict[str, Tensor] = {}
    for name, config in task.parameters.items():
        for i, (low, high) in enumerate(zip(config.low, config.high, strict=True)):
            if high > low:
                found[f"{name}[{i}]"] = (drawn[name][:, i].double() - low) / (high - low)
            else:
                assert (drawn[name][:, i] == low).all()
    return found


def next_episode(env: VecEnv) -> None:
    """End every world's episode by its time limit."""
    env.world.steps[:] = env.task.max_steps - 1
    _, _, terminated, truncated, _ = env.step(torch.zeros(env.num_envs, env.action_dim))
    assert (terminated | truncated).all()


@pytest.mark.parametrize("name", TASKS)
def test_ranges_are_covered_and_independent(name: str, make_env: MakeEnv) -> None:
    env = make_env(name, N)
    env.reset(0)
    first = shares(env.task, {k: v.clone() for k, v in env.world.parameters.items()})
    next_episode(env)
    second = shares(env.task, env.world.parameters)
    for key in first:
        assert not torch.equal(first[key], second[key]), key
    columns = [*first.values(), *second.values()]
    for key, u in zip([*first, *second], columns, strict=True):
        assert -1e-6 <= float(u.min()) < 0.05, key
        assert 0.95 < float(u.max()) <= 1.0 + 1e-6, key
        gap = (u.sort().values - (torch.arange(N) + 0.5) / N).abs().max()
        assert float(gap) < 2.4 / math.sqrt(N), key  # Kolmogorov-Smirnov, p < 2e-5
    correlation = torch.corrcoef(torch.stack(columns)).fill_diagonal_(0.0)
    assert float(correlation.abs().max()) < 5.5 / math.sqrt(N)


@pytest.mark.parametrize("name", TASKS)
def test_the_nominal_robot_is_the_model(name: str, make_env: MakeEnv) -> None:
    """With parameters off, effects write the template's own values, and no delay."""
    env = make_env(name, 2, quiet=True)
    env.reset(0)
    engine = env.engine
    assert isinstance(engine, MjbatchEngine)
    for key, config in env.task.parameters.items():
        assert torch.allclose(env.world.parameter(key), torch.tensor(config.nominal).expand(2, -1))
    expanded = engine.expanded()
    assert {"actuator_gainprm"} | ({"actuator_delay"} if env.task.delayed else set()) <= set(expanded)
    for key, values in expanded.items():
        template = torch.tensor(model_field(engine.model, key))
        wanted = torch.zeros_like(template) if key.endswith("_delay") else template
        for effect in env.task.effects:  # a quantity drawn in its own unit replaces the model file's, whatever that is
            if effect.type.endswith(":joint_field") and effect.params["field"] == key:
                dof = engine.model.joint(effect.params["joint"]).dofadr[0]
                wanted[dof] = env.task.parameters[effect.params["parameter"]].nominal[0]
        assert torch.allclose(values, wanted.expand_as(values), rtol=1e-6), key


@pytest.mark.parametrize("name", TASKS)
def test_effects_do_not_pile_up(name: str, make_env: MakeEnv) -> None:
    """The physics of a later episode is the one its own parameters give, whatever came before."""
    env = make_env(name, 4)
    env.reset(0)
    for _ in range(3):
        next_episode(env)
    other = make_env(name, 4)
    other.reset(0)
    other.episode[:] = env.episode - 1
    other.world.steps[:] = other.task.max_steps - 1
    next_episode(other)
    assert isinstance(env.engine, MjbatchEngine)
    assert isinstance(other.engine, MjbatchEngine)
    for key, values in env.engine.expanded().items():
        assert torch.equal(values, other.engine.expanded()[key]), key
    assert torch.equal(env.engine.state("qpos"), other.engine.state("qpos"))
    assert all(torch.equal(v, other.world.parameters[k]) for k, v in env.world.parameters.items())


STEPS = 150


def differ(reference: VecEnv, env: VecEnv, action: Tensor) -> bool:
    """Step both by the same action (num_envs, >= action_dim); return whether any sensor tells them apart."""
    for each in (reference, env):
        each.step(action[:, : each.action_dim])
    signals = [s.name for s in env.task.robot.sensors]
    return any(not torch.equal(reference.world.signals[s], env.world.signals[s]) for s in signals)


@pytest.mark.parametrize("name", TASKS)
def test_every_parameter_reaches_physics_or_sensors(name: str, make_env: MakeEnv) -> None:
    """Drawing one parameter alone changes what is measured."""
    reference = make_env(name, 2, disturbances=Disturbances(False, False, False, True))
    for key in reference.task.parameters:
        env = make_env(name, 2, only=(key,), disturbances=None)
        env.disturbances = Disturbances(noise=False, pushes=False)
        for each in (reference, env):
            each.reset(5)
        generator = torch.Generator().manual_seed(0)
        # long enough for what shows in a contact or in speed to show, where no contact is made at the start
        actions = 0.7 * torch.randn(STEPS, 2, 12, generator=generator)
        assert any(differ(reference, env, action) for action in actions), key


def test_the_start_is_drawn_within_its_ranges(make_env: MakeEnv) -> None:
    env = make_env("go2_flat", N)
    env.reset(0)
    reset, qpos, qvel = env.task.reset, env.engine.state("qpos"), env.engine.state("qvel")
    default = torch.tensor(env.spec.actions[0].default, dtype=torch.float64)
    for value, limit in (
        (qpos[:, 7:] - default, reset.joint_position),
        (qvel[:, 6:], reset.joint_velocity),
        (qvel[:, :6], reset.base_velocity),
    ):
        assert 0.95 * limit < float(value.abs().max()) <= limit
    assert (qpos[:, 2] == reset.height).all()
    w, x, y, z = qpos[:, 3:7].unbind(1)
    heading = torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    assert float(heading.min()) < -0.9 * math.pi
    assert float(heading.max()) > 0.9 * math.pi
    tilt = torch.acos(1.0 - 2.0 * (x * x + y * y))
    assert 0.8 * reset.tilt < float(tilt.max()) <= math.sqrt(2.0) * reset.tilt + 1e-6


def test_commands_cover_their_ranges_and_stand_still_sometimes(make_env: MakeEnv) -> None:
    env = make_env("go2_flat", 400)
    env.reset(0)
    config = env.task.command
    assert config is not None
    command = env.world.command.clone()
    still = (command == 0.0).all(dim=1)
    assert abs(float(still.float().mean()) - config.zero_probability) < 0.06
    moving = command[~still]
    low, high = torch.tensor(config.lower), torch.tensor(config.upper)
    share = (moving - low) / (high - low)
    assert (share >= 0.0).all()
    assert (share <= 1.0).all()
    assert (share.amin(dim=0) < 0.03).all()
    assert (share.amax(dim=0) > 0.97).all()
    env.progress = 0.5  # the curriculum scales them
    env.reset(0)
    assert torch.allclose(env.world.command, 0.5 * command)


def command_in(env: VecEnv, obs: dict[str, Tensor]) -> Tensor:
    names = [name for t in env.spec.terms("sensors") for name in [t.name] * t.dim]
    return obs["sensors"][:, [i for i, name in enumerate(names) if name == "command"]]


def test_the_last_observation_shows_the_command_that_was_held(make_env: MakeEnv) -> None:
    """Also where the time is up at the tick of a change."""
    env = make_env("go2_flat", 3, quiet=True)
    env.reset(0)
    held = env.world.command.clone()
    env.world.steps[:2] = env.task.max_steps - 1
    obs, *_, info = env.step(torch.zeros(3, 12))
    assert info["done_ids"].tolist() == [0, 1]
    assert torch.equal(command_in(env, info["final_obs"]), held)
    assert not torch.equal(command_in(env, obs)[:2], held[:2])


def test_the_command_is_held_and_drawn_again(make_env: MakeEnv) -> None:
    env = make_env("go2_flat", 3, quiet=True)
    env.reset(0)
    assert env.task.command is not None
    hold = round(env.task.command.hold_s / env.task.control_dt)
    env.world.steps[:] = hold - 3
    before = env.world.command.clone()
    ages: list[int] = []
    for step in range(5):
        obs, *_ = env.step(torch.zeros(3, 12))
        changed = (env.world.command != before).any(dim=1)
        assert changed.all() if step >= 2 else not changed.any()
        assert torch.equal(command_in(env, obs), env.world.command)
        ages.append(int(env.command_age[0]))
    assert ages[2:] == [0, 1, 2]
