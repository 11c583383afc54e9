"""What motors that are not ideal cost in speed, and which of them a trained student feels.

    python benchmarks/actuators.py                    # what they cost, and what a physics step makes of them
    python benchmarks/actuators.py run=runs/demo      # and how the student of a run does with them

Speed is ``Batch.step`` alone: 512 Go2 shuffling their feet, each option beside the robot without it, in turns, in
processor time of both threads, which other work on the machine disturbs less than wall time. The student drives
zero-shot: trained without any of them, on the same 256 seeds with and without.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
import torch
import yaml
from mjbatch import Batch

from robodistill.config import compose, decode
from robodistill.evaluation.drivers import TorchDriver
from robodistill.evaluation.rollout import Rollout, roll_out
from robodistill.evaluation.statistics import root_ratio
from robodistill.networks import STUDENT, load_policy
from robodistill.settings import EvaluateConfig
from robodistill_envs.config import SignalConfig, TaskConfig
from robodistill_envs.model import build_model
from robodistill_envs.motors import set_dc_motor
from robodistill_envs.vector import VecEnv

WORLDS, ROUNDS, EPISODES, SEED, RESAMPLES = 512, 15, 256, 4242, 2000
TICKS = 8
"""Control steps of a turn"""
FINE = 0.002
"""[s] physics step at which teeth that meet are resolved"""
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Condition:
    """One robot to compare with the one that has all options off."""

    name: str
    motors: dict[str, Any] = field(default_factory=dict)
    signals: dict[str, SignalConfig] = field(default_factory=dict)
    timestep: float = 0.0
    """[s]; 0: the task's. The robot to compare with takes the same."""

    def applied(self, task: TaskConfig) -> TaskConfig:
        """Return ``task`` with the options of this condition."""
        physics = replace(task.physics, timestep=self.timestep or task.physics.timestep)
        robot = replace(task.robot, motors=replace(task.robot.motors, **self.motors))
        return replace(task, robot=robot, physics=physics, signals={**task.signals, **self.signals})


def line(task: TaskConfig, share: float) -> dict[str, Any]:
    """Return the torque-speed line with both its speeds at a ``share`` of the published ones."""
    action, motors = task.robot.actions[0], task.robot.motors
    return {
        "torque_speed": True,
        "corner_speed": tuple(share * v for v in motors.corner_speed),
        "no_load_speed": tuple(share * v for v in action.velocity_limit),
    }


def counting(task: TaskConfig, quantum: float, rate: float = 500.0) -> dict[str, SignalConfig]:
    """Return encoders with this ``quantum`` [rad] and speeds from differences at ``rate`` [Hz]."""
    return {
        "joint_pos": replace(task.signals["joint_pos"], quantum=quantum),
        "joint_vel": replace(task.signals["joint_vel"], quantum=quantum * rate),
    }


def speed_conditions(task: TaskConfig) -> list[Condition]:
    """Return what the speed table compares."""
    return [
        Condition("torque-speed limit", line(task, 1.0)),
        Condition("static and viscous friction of its own", {"friction": (0.4,), "damping": (0.2,)}),
        Condition("backlash", {"backlash": (0.01,)}),
        Condition("all of these", {**line(task, 1.0), "friction": (0.4,), "damping": (0.2,), "backlash": (0.01,)}),
    ]


def student_conditions(task: TaskConfig) -> list[Condition]:
    """Return what the student is evaluated on: realistic and twice as strong, and some beyond."""
    return [
        Condition("torque-speed limit, published", line(task, 1.0)),
        Condition("torque-speed limit, speeds halved", line(task, 0.5)),
        Condition("torque-speed limit, speeds at a quarter", line(task, 0.25)),
        Condition("static friction 0.2 N m, as trained but creeping less", {"friction": (0.2,)}),
        Condition("static friction 0.4 N m", {"friction": (0.4,)}),
        Condition("static friction 0.8 N m", {"friction": (0.8,)}),
        Condition("viscous friction 0.2 N m s/rad", {"damping": (0.2,)}),
        Condition("viscous friction 0.4 N m s/rad", {"damping": (0.4,)}),
        Condition("viscous friction 2 N m s/rad", {"damping": (2.0,)}),
        Condition("both frictions drawn x 0.5..2", {"friction_scale": (0.5, 2.0), "damping_scale": (0.5, 2.0)}),
        Condition("both frictions drawn x 0.5..4", {"friction_scale": (0.5, 4.0), "damping_scale": (0.5, 4.0)}),
        Condition("backlash 0.01 rad", {"backlash": (0.01,)}),
        Condition("backlash 0.02 rad", {"backlash": (0.02,)}),
        Condition("backlash 0.01 rad, steps of 2 ms", {"backlash": (0.01,)}, timestep=FINE),
        Condition("backlash 0.02 rad, steps of 2 ms", {"backlash": (0.02,)}, timestep=FINE),
        Condition("encoder of 12 bits at the joint", signals=counting(task, 2.0 * np.pi / 4096)),
        Condition("encoder of 11 bits at the joint", signals=counting(task, 2.0 * np.pi / 2048)),
    ]  # fmt: skip


# -- speed -------------------------------------------------------------------------------------


class Shuffle:
    """512 robots in the default pose, targets drawn anew in each control step."""

    def __init__(self, task: TaskConfig) -> None:
        model = build_model(task)
        self.pose, self.steps = np.array(task.robot.actions[0].default), task.decimation
        self.batch = Batch(model, WORLDS, 0)
        self.qpos, self.ctrl = self.batch.bind("qpos"), self.batch.bind("ctrl")
        self.rng = np.random.default_rng(0)
        self.qpos[:, 2] = task.reset.height
        self.qpos[:, 7:19] = self.pose
        self.qpos[:, 19:] = np.tile(self.pose, (self.qpos.shape[1] - 19) // 12)
        self.seconds(20)

    def seconds(self, ticks: int) -> float:
        """Return the processor time [s] of ``Batch.step`` in this many control steps."""
        total = 0.0
        for _ in range(ticks):
            self.ctrl[:] = self.pose + 0.1 * self.rng.normal(size=(WORLDS, 12))
            start = time.process_time()
            self.batch.step(nstep=self.steps)
            total += time.process_time() - start
        return total


def speed_table(task: TaskConfig) -> list[str]:
    """Return the Markdown rows of what each option costs."""
    rows = ["| option | us per control step without | with | cost [quartiles of the rounds] |", "|---|---|---|---|"]
    for condition in speed_conditions(task):
        off, on = Shuffle(task), Shuffle(condition.applied(task))
        times = [(off.seconds(TICKS), on.seconds(TICKS)) for _ in range(ROUNDS)]
        spent = [1e6 * statistics.median(column) / (TICKS * WORLDS) for column in zip(*times, strict=True)]
        low, middle, high = statistics.quantiles([b / a for a, b in times], n=4)
        rows.append(
            f"| {condition.name} | {spent[0]:.0f} | {spent[1]:.0f} | {middle:.2f} [{low:.2f}, {high:.2f}] |"
        )
    return rows


# -- the size of a physics step ----------------------------------------------------------------


def overshoot(task: TaskConfig, gap: float) -> tuple[float, float]:
    """Return median and 90 % of how far [rad] teeth lie beyond their stops, over all joints and physics steps."""
    robot = replace(task.robot, motors=replace(task.robot.motors, backlash=(gap,)))
    model, pose = build_model(replace(task, robot=robot)), np.array(task.robot.actions[0].default)
    data, rng, beyond = mujoco.MjData(model), np.random.default_rng(0), []
    data.qpos[2], data.qpos[7:] = task.reset.height, np.tile(pose, 2)
    for _ in range(200):
        data.ctrl[:] = pose + 0.1 * rng.normal(size=12)
        for _ in range(task.decimation):
            mujoco.mj_step(model, data)
            beyond.append(np.maximum(np.abs(data.qpos[19:] - data.qpos[7:19]) - gap / 2.0, 0.0))
    return float(np.median(beyond)), float(np.percentile(beyond, 90.0))


def saturated(task: TaskConfig, inertia: float) -> float:
    """Return the largest speed error [rad/s] after a step of a knee that its motor drives from the corner, saturated.

    The closed form is an exponential: inertia dw/dt = a (w0 - w).
    """
    action, knee = task.robot.actions[0], 2
    corner, no_load = task.robot.motors.corner_speed[knee], action.velocity_limit[knee]
    spec = mujoco.MjSpec()
    spec.option.timestep, spec.option.integrator = task.physics.timestep, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    body = spec.worldbody.add_body(mass=1.0, inertia=[inertia] * 3, explicitinertial=True)
    body.add_joint(name="knee", axis=[0, 1, 0])
    actuator = spec.add_actuator(name="knee", target="knee", trntype=mujoco.mjtTrn.mjTRN_JOINT)
    set_dc_motor(actuator, action, knee, (corner, no_load))
    model = spec.compile()
    data, errors = mujoco.MjData(model), []
    data.qvel[0], data.ctrl[0] = corner, 100.0
    rate = action.effort_limit[knee] / (no_load - corner) / inertia
    for _ in range(30):
        mujoco.mj_step(model, data)
        errors.append(data.qvel[0] - (no_load - (no_load - corner) * math.exp(-rate * data.time)))
    return float(np.abs(errors).max())


def step_table(task: TaskConfig) -> list[str]:
    """Return the Markdown rows of what a physics step makes of teeth and of a saturated motor."""
    rows = ["| physics step | teeth beyond a gap of 10 mrad: median, 90 % [mrad] | saturated knee [rad/s] |"]
    rows.append("|---|---|---|")
    for dt in (task.control_dt / 3, 0.005, FINE, 0.001):
        finer = replace(task, physics=replace(task.physics, timestep=dt))
        middle, high = overshoot(finer, 0.01)
        rows.append(f"| {1e3 * dt:.1f} ms | {1e3 * middle:.2f}, {1e3 * high:.2f} | {saturated(finer, 0.016):.2f} |")
    return rows


# -- the student -------------------------------------------------------------------------------


def paired(statistic: Callable[[list[Vector]], Vector], here: list[Vector], there: list[Vector]) -> str:
    """Return "difference [95 % interval]" of a statistic of columns (E,), episodes drawn in pairs."""
    rows = np.random.default_rng(0).integers(0, EPISODES, size=(EPISODES, RESAMPLES))
    difference = float(statistic(here) - statistic(there))
    draws = statistic([c[rows] for c in here]) - statistic([c[rows] for c in there])
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def figures(rollout: Rollout, dt: float) -> dict[str, list[Vector]]:
    """Return the columns (E,) behind each figure of the table."""
    def columns(name: str) -> list[Vector]:
        return [value.numpy().astype(np.float64) for value in rollout.sums[name]]

    minutes = rollout.lengths.numpy() * dt / 60.0
    return {
        "return": [rollout.returns.numpy().astype(np.float64)],
        "velocity RMSE [m/s]": columns("velocity_rmse"),
        "yaw rate RMSE [rad/s]": columns("yaw_rate_rmse"),
        "falls per minute": [rollout.fell.numpy().astype(np.float64), minutes.astype(np.float64)],
    }  # fmt: skip


STATISTICS: dict[str, Callable[[list[Vector]], Any]] = {
    "return": lambda c: c[0].mean(axis=0),
    "velocity RMSE [m/s]": lambda c: root_ratio(c[0], c[1]),
    "yaw rate RMSE [rad/s]": lambda c: root_ratio(c[0], c[1]),
    "falls per minute": lambda c: c[0].sum(axis=0) / c[1].sum(axis=0),
}


def student_table(task: TaskConfig, run: Path) -> list[str]:
    """Return the Markdown rows of how the student does under each option, against without."""
    settings = EvaluateConfig(episodes=EPISODES, seed=SEED)
    student = TorchDriver(load_policy(run / "student" / "checkpoints" / "best", STUDENT).policy)

    def drive(condition: Condition) -> dict[str, list[Vector]]:
        env = VecEnv(condition.applied(task), EPISODES, seed=SEED)
        print(f"... {condition.name}", file=sys.stderr, flush=True)
        return figures(roll_out(env, student, settings, lambda tick: None), task.control_dt)

    rows = [f"| student drives with | {' | '.join(STATISTICS)} |", f"|---|{'---|' * len(STATISTICS)}"]
    ideal: dict[float, dict[str, list[Vector]]] = {}
    for condition in student_conditions(task):
        dt = condition.timestep
        if dt not in ideal:
            ideal[dt] = drive(Condition(f"all off{f', steps of {1e3 * dt:.0f} ms' if dt else ''}", timestep=dt))
            values = [f"{float(s(ideal[dt][name])):.3f}" for name, s in STATISTICS.items()]
            rows.append(f"| all off{f', steps of {1e3 * dt:.0f} ms' if dt else ''} | {' | '.join(values)} |")
        found = drive(condition)
        cells = [paired(s, found[name], ideal[dt][name]) for name, s in STATISTICS.items()]
        rows.append(f"| {condition.name} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    if set(words) - {"run"}:
        sys.exit("usage: python benchmarks/actuators.py [run=<folder of a go2_flat run>]")
    task = decode(TaskConfig, compose(["task=go2_flat"])["task"])
    print("\n".join([*speed_table(task), "", *step_table(task)]), flush=True)
    if "run" in words:
        run = Path(words["run"])
        trained = yaml.safe_load((run / "config.yaml").read_text())["task"]
        print("\n" + "\n".join(student_table(decode(TaskConfig, _with_motors(trained, task)), run)))


def _with_motors(trained: dict[str, Any], task: TaskConfig) -> dict[str, Any]:
    """Return a run's task with the speeds of its motors, which runs from before these options do not hold."""
    speeds = {"corner_speed": list(task.robot.motors.corner_speed)}
    return {**trained, "robot": {**trained["robot"], "motors": speeds}}


if __name__ == "__main__":
    main()
