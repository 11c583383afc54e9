"""Growth of differences in the closed loop, against the eigenvalues of a pendulum upright and hanging."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from robodistill.config import compose
from robodistill.decode import decode
from robodistill.evaluation.diagnostics.diagnose import Diagnosis
from robodistill.evaluation.diagnostics.growth import Growth, closed_loop_growth, names_of_freedom
from robodistill.evaluation.drivers import Driver, TorchDriver, ZeroDriver
from robodistill.evaluation.rollout import roll_out
from robodistill.files import finite_or_none
from robodistill.networks import group_dims
from robodistill.settings import EvaluateConfig, RunConfig
from robodistill_envs.config import ResetConfig, TaskConfig
from robodistill_envs.vector import Disturbances, VecEnv
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.policy import Policy


@functools.lru_cache(maxsize=1)
def pendulum() -> TaskConfig:
    return decode(RunConfig, compose(["task=pendulum_swingup", "task.episode_s=4.0"])).task


class Held(Driver):
    """A torque proportional to angle and speed of the true state."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def start(self, env: VecEnv) -> None:
        """Nothing to begin."""

    def act(self, env: VecEnv, obs: dict[str, torch.Tensor]) -> torch.Tensor:
        return -self.gain * (env.engine.state("qpos") + 0.3 * env.engine.state("qvel")).float()


def eigenvalue(env: VecEnv) -> float:
    """Return the largest real part of the linearised upright pendulum without torque [1/s], from MuJoCo's own terms."""
    model = env.engine.model
    data = mujoco.MjData(model)
    slopes = []
    for kind in ("qpos", "qvel"):
        pulls = []
        for moved in (1e-4, -1e-4):
            mujoco.mj_resetData(model, data)
            getattr(data, kind)[0] = moved
            mujoco.mj_forward(model, data)
            pulls.append(float(data.qacc[0]))
        slopes.append((pulls[0] - pulls[1]) / 2e-4)
    pull, damping = slopes[0], -slopes[1]
    return 0.5 * (-damping + math.sqrt(max(0.0, damping**2 + 4.0 * pull)))


def growth(angle: float, driver: Driver) -> tuple[dict[str, Any], float]:
    task = dataclasses.replace(pendulum(), reset=ResetConfig(joint_position=0.0, joint_velocity=0.0))
    quiet = Disturbances(parameters=False, noise=False)
    made: list[VecEnv] = []

    def make() -> VecEnv:
        env = VecEnv(task, 4, seed=0, threads=1, disturbances=quiet)
        begin = env.reset

        def at_angle(seed: int | None = None, stagger: bool = False) -> dict[str, torch.Tensor]:
            obs = begin(seed, stagger)
            env.engine.state("qpos")[:] = angle
            return obs

        env.reset = at_angle
        made.append(env)
        return env

    return closed_loop_growth(make, lambda: driver, 0, lambda tick: None).summary(100), eigenvalue(made[0])


def test_an_upright_pendulum_parts_at_the_rate_of_its_eigenvalue() -> None:
    found, expected = growth(0.0, ZeroDriver())
    assert expected > 1.0
    # later than that the worlds themselves have fallen
    assert np.mean(found["median"][3:8]) == pytest.approx(expected, rel=0.02)
    assert found["direction"] == {name: pytest.approx([1.0] * len(found["time_s"])) for name in found["direction"]}


def test_a_hanging_pendulum_and_a_held_one_come_together() -> None:
    assert growth(math.pi, ZeroDriver())[0]["rate"]["mean"] < 0.1
    assert growth(0.0, Held(5.0))[0]["rate"]["mean"] < -1.0


def test_worlds_that_ended_are_left_out() -> None:
    nan = math.nan
    found = Growth(0.2, ["a", "b"])
    found.rates = [np.array([1.0, nan]), np.array([2.0, nan]), np.array([3.0, nan]), np.array([nan, nan])]
    found.shares = [np.array([[0.25, 0.75], [nan, nan]])] * 4
    summary = found.summary(50)
    assert summary["median"] == [1.0, 2.0, 3.0]
    assert summary["time_s"] == pytest.approx([0.1, 0.3, 0.5])
    assert summary["direction"] == {"a": [0.25] * 3, "b": [0.75] * 3}
    assert summary["rate"]["mean"] == 3.0  # the first two only turn the direction
    assert Growth(0.2, []).summary(50) == {}


def test_names_of_degrees_of_freedom() -> None:
    body = '<body><{}/><geom size="0.1"/></body>'
    joints = ("freejoint", 'joint type="ball" name="neck"', 'joint name="knee"')
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody>{''.join(body.format(j) for j in joints)}</worldbody></mujoco>"
    )
    names = names_of_freedom(model)
    assert len(names) == model.nv
    assert names == ["base x", "base y", "base z", "base roll", "base pitch", "base yaw",
                     "neck x", "neck y", "neck z", "knee"]  # fmt: skip


@pytest.mark.slow
def test_a_student_that_is_its_teacher_shows_no_difference() -> None:
    """All diagnostics on real worlds; the ablation's worlds are the first ones of the evaluation."""
    task = dataclasses.replace(pendulum(), episode_s=1.6)
    config = EvaluateConfig(episodes=24, seed=5, bootstrap=50, record=0)

    def make(worlds: int) -> VecEnv:
        return VecEnv(task, worlds, seed=config.seed, threads=1)

    env = make(24)
    encoder = EncoderConfig("robodistill_policies.encoders.gru:GRUEncoder", ("sensors",), hidden=(8,), out_dim=4)
    torch.manual_seed(0)
    config_of_policy = PolicyConfig(encoder=encoder, actor_hidden=(8,), init_std=0.5)
    policy = Policy(config_of_policy, group_dims(env.spec), env.action_dim)
    student, teacher = TorchDriver(policy), TorchDriver(policy)
    diagnosis = Diagnosis(student, teacher, config)
    rollouts = {
        "student": roll_out(env, student, config, lambda tick: None, diagnosis.watch),
        "teacher": roll_out(env, teacher, config, lambda tick: None),
    }
    small = dataclasses.replace(config, episodes=8)
    assert torch.equal(roll_out(make(8), student, small, lambda tick: None).returns, rollouts["student"].returns[:8])
    told: list[int] = []
    found = finite_or_none(diagnosis.figures(make, rollouts, told.append))
    assert told == list(range(1, diagnosis.ticks(task.max_steps) + 1))
    assert set(found) == {"failures", "agreement", "gap", "sensitivity", "history", "growth", "wall_s"}
    assert found["agreement"]["error_over_sigma"]["mean"] < 1e-5  # also a teacher with memory sees every tick
    assert found["gap"]["at_most"]["mean"] < 1e-9
    assert found["history"]["reset"]["action_change"]["mean"] > 1e-4
    assert "shuffled" not in found["history"]  # a GRU has no window
    assert found["growth"]["student"] == found["growth"]["teacher"]
