"""The suite's tasks on our engine: its own models, observations and rewards, under hidden dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from robodistill_deploy.errors import SpecError
from robodistill_envs import model as models
from robodistill_envs.config import TaskConfig
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.model import build_model, mjcf_path
from robodistill_envs.scene import load_scene
from robodistill_envs.terms.dmc import at_least
from robodistill_envs.vector import VecEnv

suite = pytest.importorskip("dm_control.suite")

MakeEnv = Callable[..., VecEnv]
LoadTask = Callable[..., TaskConfig]
SUITE = {
    "dmc_pendulum": ("pendulum", "swingup"), "dmc_finger": ("finger", "spin"), "dmc_quadruped": ("quadruped", "walk")
}  # fmt: skip
NAMES = sorted(SUITE)
PHYSICS = (
    "body_mass", "body_inertia", "body_pos", "dof_damping", "dof_frictionloss", "dof_armature", "jnt_range",
    "jnt_stiffness", "geom_friction", "geom_solref", "geom_solimp", "geom_size", "geom_contype", "geom_conaffinity",
    "actuator_gear", "actuator_gainprm", "actuator_biasprm", "actuator_dynprm", "actuator_ctrlrange", "eq_solref",
)  # fmt: skip


def theirs(name: str) -> Any:
    return suite.load(*SUITE[name], task_kwargs={"random": 3})


def colliding(model: mujoco.MjModel, field: str) -> Any:
    """Return a field of the geoms that can collide, and are no planes, whose size is only how they are drawn."""
    keep = (model.geom_contype > 0) | (model.geom_conaffinity > 0)
    keep &= (model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE) | (field != "geom_size")
    return getattr(model, field)[keep]


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_the_suites(name: str, load_task: LoadTask) -> None:
    """Everything that moves and touches, but for the damping that the suite sets at each start of the spin task."""
    env = theirs(name)
    own, their = build_model(load_task(name)), env.physics.model.ptr
    for field in PHYSICS:
        a, b = (colliding(m, field) if field.startswith("geom") else getattr(m, field) for m in (own, their))
        assert a.shape == b.shape, field
        assert np.allclose(a, b), field
    assert (own.opt.gravity == their.opt.gravity).all()
    assert own.opt.disableflags == their.opt.disableflags
    assert [own.actuator(i).name for i in range(own.nu)] == [their.actuator(i).name for i in range(their.nu)]


def observed(name: str, env: VecEnv) -> dict[str, Tensor]:
    """Return the suite's observation, as far as the groups have it, from our terms and before their scale."""
    obs = env.observe()
    values: dict[str, Tensor] = {}
    for group in env.spec.groups:
        start = 0
        for term in env.spec.terms(group):
            values[term.name] = obs[group][0, start : start + term.dim] / torch.tensor(term.scale)
            start += term.dim
    if name == "dmc_pendulum":
        return {"orientation": values["orientation"].flip(0), "velocity": values["joint_vel"]}
    if name == "dmc_finger":
        position = torch.cat((values["joint_pos"], values["tip_position"]))
        return {"position": position, "velocity": values["joint_vel"], "touch": values["touch"]}
    return {
        "egocentric_state": torch.cat((values["joint_pos"], values["joint_vel"])),
        "torso_velocity": values["torso_velocity"], "torso_upright": -values["projected_gravity"][2:],
        "imu": torch.cat((values["imu_accel"], values["imu_gyro"])),
        "force_torque": torch.cat((values["toe_force"], values["toe_torque"])),
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_observation_and_reward_are_the_suites_along_a_trajectory(name: str, make_env: MakeEnv) -> None:
    """The suite drives; our world is put into its state at every step, so that no difference can add up."""
    env, other = make_env(name, 1, quiet=True), theirs(name)
    other.reset()
    env.reset(0)
    random, physics = np.random.default_rng(0), other.physics
    rewards: list[float] = []
    bounds = other.action_spec()
    for _ in range(60):
        action = random.uniform(bounds.minimum, bounds.maximum)
        other.step(action)
        # sensors of forces are a substep old in the suite; and our resets begin with filters at rest
        physics.data.act[:] = 0.0
        mujoco.mj_forward(physics.model.ptr, physics.data.ptr)
        state = [torch.tensor(np.array(v))[None] for v in (physics.data.qpos, physics.data.qvel, physics.data.ctrl)]
        env.engine.reset(torch.tensor([0]), *state)
        expected = other.task.get_observation(physics)
        for key, value in observed(name, env).items():
            there = np.atleast_1d(np.asarray(expected[key], np.float32))[: len(value)]
            assert value.numpy() == pytest.approx(there, rel=2e-3, abs=2e-3), key
        (reward,) = (float(function(env.world)[0]) for _, function in env.functions.rewards)
        assert reward == pytest.approx(other.task.get_reward(physics), abs=1e-4)
        rewards.append(reward)
    if name == "dmc_quadruped":
        assert max(rewards) - min(rewards) > 0.1  # it did differ from state to state


@pytest.mark.parametrize(
    ("name", "bad", "good"), [("dmc_pendulum", 0.2, 0.1), ("dmc_finger", -14.9, -15.1)]
)
def test_sparse_rewards_switch_where_the_suites_do(name: str, bad: float, good: float, make_env: MakeEnv) -> None:
    env, other = make_env(name, 1, quiet=True), theirs(name)
    other.reset()
    env.reset(0)
    for value, expected in ((bad, 0.0), (good, 1.0)):
        with other.physics.reset_context():
            named = other.physics.named.data
            named.qpos[:] = 0.0 if name == "dmc_pendulum" else [-1.5, 0.0, 0.0]
            (named.qpos if name == "dmc_pendulum" else named.qvel)["hinge"] = value
        data = other.physics.data
        state = [torch.tensor(np.array(v))[None] for v in (data.qpos, data.qvel, data.ctrl)]
        env.engine.reset(torch.tensor([0]), *state)
        (reward,) = (float(function(env.world)[0]) for _, function in env.functions.rewards)
        assert reward == expected == other.task.get_reward(other.physics)


def test_the_sigmoid_is_the_suites() -> None:
    from dm_control.utils import rewards

    x = np.linspace(-3.0, 3.0, 101)
    for bound, margin, value in ((0.5, 0.5, 0.5), (1.0, 2.0, 0.0), (0.3, 0.0, 0.0)):
        expected = rewards.tolerance(
            x, (bound, float("inf")), margin=margin, sigmoid="linear", value_at_margin=value
        )
        assert at_least(torch.tensor(x), bound, margin, value).numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_is_worth_at_most_1000(name: str, load_task: LoadTask) -> None:
    task = load_task(name)
    assert task.max_steps == 1000
    assert sum(reward.weight for reward in task.rewards) * task.control_dt == pytest.approx(1.0)
    assert task.terminations == ()


def test_a_finger_begins_without_touching(make_env: MakeEnv) -> None:
    env = make_env("dmc_finger", 400)
    env.reset(0)
    engine, data = env.engine, mujoco.MjData(env.engine.model)
    assert isinstance(engine, MjbatchEngine)
    contacts = []
    for i in range(400):
        mujoco.mj_setState(engine.model, data, engine.row(i), mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(engine.model, data)
        contacts.append(data.ncon)
    assert max(contacts) == 0
    proximal = env.engine.state("qpos")[:, 0]
    assert float(proximal.max() - proximal.min()) > 0.5


# -- hidden dynamics ---------------------------------------------------------------------------


def test_gravity_pulls_as_drawn(make_env: MakeEnv) -> None:
    env = make_env("dmc_pendulum", 6, only=("gravity",))
    env.reset(0)
    side = torch.full((6, 1), 0.5 * torch.pi, dtype=torch.float64)
    env.engine.reset(torch.arange(6), side, torch.zeros_like(side), torch.zeros_like(side))
    env.engine.step(1)
    drawn = env.world.parameter("gravity")[:, 0].double()
    assert float(drawn.max() - drawn.min()) > 0.1
    # a point-like mass on a rod of 0.5 m: nearly g / l
    speed = env.engine.state("qvel")[:, 0]
    assert torch.allclose(speed / speed.mean(), drawn / drawn.mean(), rtol=1e-3)


def test_a_free_swing_keeps_its_energy_whatever_gravity_was_drawn(make_env: MakeEnv) -> None:
    env = make_env("dmc_pendulum", 6, only=("gravity",))
    env.reset(0)
    env.engine.field("dof_damping")[:] = 0.0
    start = torch.full((6, 1), 2.0, dtype=torch.float64)
    env.engine.reset(torch.arange(6), start, torch.full_like(start, -7.0), torch.zeros_like(start))
    seen, wrong = [], []
    for _ in range(60):
        obs, *_ = env.step(torch.zeros(6, 1))
        seen.append(obs["energy"][:, 0])
        turns = env.world.true("joint_vel") / 4.42
        wrong.append((0.5 * turns.square() + torch.cos(env.world.true("joint_pos")))[:, 0])
    kept, drifts = (torch.stack(found).std(dim=0) for found in (seen, wrong))
    assert (kept < 0.02).all(), kept
    assert drifts.max() > 4.0 * kept.max(), "with another gravity it would not be kept"


def test_actuators_push_as_drawn(make_env: MakeEnv) -> None:
    env = make_env("dmc_pendulum", 6, only=("actuator_gain",))
    env.reset(0)
    zero = torch.zeros(6, 1, dtype=torch.float64)
    env.engine.reset(torch.arange(6), zero, zero, torch.ones_like(zero))
    env.engine.step(1)
    speed, drawn = env.engine.state("qvel")[:, 0], env.world.parameter("actuator_gain")[:, 0].double()
    assert float(drawn.max() - drawn.min()) > 0.05
    assert torch.allclose(speed / speed.mean(), drawn / drawn.mean(), rtol=1e-3)


def test_the_spinner_is_damped_as_drawn(make_env: MakeEnv) -> None:
    env = make_env("dmc_finger", 6, only=("hinge_damping",))
    env.reset(0)
    hinge = env.engine.model.joint("hinge").dofadr[0]
    drawn = env.world.parameter("hinge_damping")[:, 0].double()
    assert torch.allclose(env.engine.field("dof_damping")[:, hinge], drawn)
    qpos, qvel = env.engine.state("qpos").clone(), torch.zeros(6, 3, dtype=torch.float64)
    qpos[:, 0], qvel[:, hinge] = -1.5, 20.0
    env.engine.reset(torch.arange(6), qpos, qvel, torch.zeros(6, 2, dtype=torch.float64))
    env.engine.step(20)
    left = env.engine.state("qvel")[:, hinge]
    assert (left[drawn.argsort()].diff() < -1e-3).all()  # the more damping, the slower


# -- the model file of another package ---------------------------------------------------------


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"dm_control\.suite.*pip install 'robodistill\[dmc\]'"):
        mjcf_path("dm_control.suite:pendulum.xml")


def test_a_wrong_removal_is_named(load_task: LoadTask) -> None:
    path = mjcf_path("dm_control.suite:quadruped.xml")
    for bad, message in (("body:bal", "did you mean 'ball'"), ("bodies:ball", "'body'")):
        with pytest.raises(SpecError, match=message):
            models.load_spec(path, [bad])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_is_what_was_simulated(name: str, load_task: LoadTask) -> None:
    task = load_task(name)
    shown, simulated = load_scene(mjcf_path(task.robot.mjcf), remove=task.robot.remove), build_model(task)
    assert shown.nq == simulated.nq
    assert [shown.joint(i).name for i in range(shown.njnt)] == [simulated.joint(i).name for i in range(simulated.njnt)]
