"""Tasks and environments for the tests of this folder, small and on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robodistill.config import compose, decode
from robodistill_deploy.spec import ActionKind
from robodistill_envs.config import TaskConfig
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.model import TRUE, build_model, sensor_slice
from robodistill_envs.motor_config import MotorConfig
from robodistill_envs.robot_config import ActionConfig, RobotConfig, SensorConfig
from robodistill_envs.vector import Disturbances, VecEnv
from robodistill_envs.world import World

LoadTask = Callable[..., TaskConfig]
MakeEnv = Callable[..., VecEnv]


@lru_cache
def _load(name: str, *overrides: str) -> TaskConfig:
    return decode(TaskConfig, compose([f"task={name}", *overrides])["task"])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def load_task() -> LoadTask:
    """``load_task(name, *overrides)``: a task as the command line would compose it."""
    return _load


def hold_all_but(task: TaskConfig, names: Sequence[str]) -> TaskConfig:
    """Return ``task`` with every parameter but ``names`` held at its nominal value."""
    held = {
        name: config if name in names else replace(config, low=config.nominal, high=config.nominal)
        for name, config in task.parameters.items()
    }
    return replace(task, parameters=held)


@pytest.fixture(scope="session")
def make_env() -> MakeEnv:
    """``make_env(task or name, num_envs, **more)``: an environment on one thread.

    ``quiet=True`` switches every disturbance off; ``only=("payload",)`` leaves just the draw of these parameters.
    """

    def make(
        task: TaskConfig | str, num_envs: int, quiet: bool = False, only: Sequence[str] = (), **more: Any
    ) -> VecEnv:
        task = _load(task) if isinstance(task, str) else task
        if quiet:
            more["disturbances"] = Disturbances(parameters=False, noise=False, pushes=False, reset=False)
        if only:
            task = hold_all_but(task, only)
            more["disturbances"] = Disturbances(noise=False, pushes=False, reset=False)
        return VecEnv(task, num_envs, **{"threads": 1, **more})

    return make


LEVER = """<mujoco><worldbody><body><joint name="lever" axis="0 1 0" armature="0.01"/>
<inertial pos="0 0 0" mass="1" diaginertia="0.02 0.02 0.02"/></body></worldbody></mujoco>"""


@pytest.fixture
def lever(tmp_path: Path) -> Callable[..., MjbatchEngine]:
    """``lever(motors, kind, worlds, dt)``: levers of 0.03 kg m^2 without gravity, a third of it the motor's rotor."""

    def make(
        motors: MotorConfig, kind: ActionKind = "joint_effort", worlds: int = 1, dt: float = 0.001
    ) -> MjbatchEngine:
        (tmp_path / "lever.xml").write_text(LEVER)
        action = ActionConfig(
            name="drive", kind=kind, names=("lever",), default=(0.0,), scale=(1.0,), lower=(-9.0,), upper=(9.0,),
            unit="1", effort_limit=(20.0,), velocity_limit=(30.0,), kp=(50.0,), kd=(1.0,),
        )  # fmt: skip
        sensors = tuple(
            SensorConfig(name, kind_of, "joint", ("lever",), ("lever",), "rad", "joint")
            for name, kind_of in (("joint_pos", "jointpos"), ("joint_vel", "jointvel"))
        )
        link = (SensorConfig("link", "jointpos", "joint", ("lever",), ("lever",), "rad", "joint"),)
        robot = RobotConfig("lever", str(tmp_path / "lever.xml"), False, (action,), sensors, link, motors=motors)
        base = _load("pendulum_swingup")
        physics = replace(base.physics, timestep=dt)
        task = replace(base, robot=robot, physics=physics, control_dt=dt, delayed=False, effects=())
        return MjbatchEngine(build_model(task), worlds, 1)

    return make


class EngineRig:
    """Go2 engines whose worlds differ in mass, friction, delays and pose; world i is delayed by i physics steps."""

    def __init__(self, task: TaskConfig) -> None:
        self.task = task
        self.model = build_model(task)
        self.pose = torch.tensor(self.model.qpos0)
        self.pose[2] = 0.32
        self.pose[7:] = torch.tensor(task.robot.actions[0].default)

    def fresh(self, threads: int = 1, n: int = 3) -> MjbatchEngine:
        engine = MjbatchEngine(self.model, n, threads)
        rank = torch.arange(n, dtype=torch.float64)
        engine.field("body_mass")[:, 1] += rank
        engine.field("geom_friction")[:, self.model.geom("floor").id, 0] = 0.4 + 0.2 * rank
        late = (rank * self.model.opt.timestep).view(-1, 1)
        engine.field("actuator_delay")[:] = late
        delayed = torch.tensor(self.model.sensor_history[:, 0] > 0)
        engine.field("sensor_delay")[:] = late * delayed
        engine.update_constants(torch.arange(n))
        self.begin(engine, list(range(n)))
        return engine

    def begin(self, engine: MjbatchEngine, ids: list[int], seed: int = 0) -> None:
        """Put worlds ``ids`` into poses of their own."""
        n = len(ids)
        generator = torch.Generator().manual_seed(seed)
        qpos = self.pose.repeat(n, 1)
        qpos[:, 7:] += 0.1 * torch.randn(n, 12, generator=generator, dtype=torch.float64)
        qvel = 0.3 * torch.randn(n, 18, generator=generator, dtype=torch.float64)
        engine.reset(torch.tensor(ids), qpos, qvel, self.pose[7:].repeat(n, 1))

    def controls(self, steps: int, n: int = 3) -> Tensor:
        """Return (steps, n, 12) joint targets that keep the robot busy."""
        generator = torch.Generator().manual_seed(1)
        return self.pose[7:] + 0.3 * torch.randn(steps, n, 12, generator=generator, dtype=torch.float64)

    def drive(self, engine: MjbatchEngine, targets: Tensor) -> list[Tensor]:
        """Return the sensors after each of the control steps."""
        seen: list[Tensor] = []
        for target in targets:
            engine.state("ctrl").copy_(target)
            engine.step(self.task.decimation)
            seen.append(engine.sensordata.clone())
        return seen

    def rows(self, engine: MjbatchEngine) -> list[bytes]:
        return [engine.row(i).tobytes() for i in range(engine.num_envs)]

    def sensor(self, engine: MjbatchEngine, name: str, prefix: str = TRUE) -> Tensor:
        (config,) = (s for s in (*self.task.robot.sensors, *self.task.robot.truth) if s.name == name)
        return engine.sensordata[:, sensor_slice(engine.model, config, prefix)]


@pytest.fixture(scope="session")
def rig() -> EngineRig:
    return EngineRig(_load("go2_flat"))


@pytest.fixture(scope="session")
def dog(make_env: MakeEnv) -> World:
    env = make_env("go2_flat", 1, quiet=True)
    env.reset(0)
    return env.world


@pytest.fixture
def say(dog: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """``say(sensor=[...], command=..., phase=...)``: one world whose sensors read these values, zero-padded."""

    def make(
        command: tuple[float, float, float] = (0.0, 0.0, 0.0),
        phase: float = 0.0,
        **sensors: list[float] | Tensor,
    ) -> World:
        values = {
            name: torch.as_tensor(value, dtype=torch.float32).view(1, -1) for name, value in sensors.items()
        }

        def true(name: str) -> Tensor:
            width = World.true(dog, name).shape[1]
            value = values[name]
            return torch.cat((value, torch.zeros(1, width - value.shape[1])), dim=1)

        monkeypatch.setattr(dog, "true", true)
        monkeypatch.setattr(dog, "_memo", {})  # what other sensors said does not count
        monkeypatch.setattr(dog, "command", torch.tensor([command]))
        monkeypatch.setitem(dog.internals, "gait_phase", torch.tensor([[phase]]))
        return dog

    return make
