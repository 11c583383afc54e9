"""What a constraint solver costs on the Go2, and how far one control step of it is from the converged answer.

    python benchmarks/solver_accuracy.py

Solvers take turns, so that other work on the machine hits all alike; the median of the rounds is printed.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from robodistill.config import compose, decode
from robodistill_envs.config import PhysicsConfig, TaskConfig
from robodistill_envs.model import build_model

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
Vector = npt.NDArray[np.float64]


def variants(base: PhysicsConfig) -> dict[str, PhysicsConfig]:
    """Return the settings to compare; the first is the reference."""

    def change(**values: Any) -> PhysicsConfig:
        return dataclasses.replace(base, timestep=0.005, **values)

    exact = change(solver="Newton", iterations=100, ls_iterations=50, tolerance=1e-10)
    return {
        "Newton, converged": exact,
        "Newton, 20 iterations, tolerance 1e-5": change(
            solver="Newton", iterations=20, ls_iterations=20, tolerance=1e-5
        ),
        "Newton, 2 iterations": change(solver="Newton", iterations=2, ls_iterations=6),
        "Newton, 1 iteration": change(solver="Newton", iterations=1, ls_iterations=6),
        "PGS, 5 iterations": change(solver="PGS", iterations=5),
        "CG, 10 iterations": change(solver="CG", iterations=10, ls_iterations=6),
        "CG, 4 iterations": change(solver="CG", iterations=4, ls_iterations=6),
        "CG, 2 iterations": change(solver="CG", iterations=2, ls_iterations=6),
        "CG, 1 iteration": change(solver="CG", iterations=1, ls_iterations=6),
        "Newton, converged, 3 steps of 6.7 ms": dataclasses.replace(exact, timestep=0.02 / 3),
        "Newton, converged, 2 steps of 10 ms": dataclasses.replace(exact, timestep=0.01),
    }


def stand(model: mujoco.MjModel, pose: Vector) -> mujoco.MjData:
    """Return the robot in its default pose above the floor."""
    data = mujoco.MjData(model)
    data.qpos[2], data.qpos[7:], data.ctrl[:] = 0.32, pose, pose
    return data


def states(model: mujoco.MjModel, pose: Vector, count: int) -> list[Vector]:
    """Return states of the robot shuffling its feet at random."""
    rng, data, found = np.random.default_rng(0), stand(model, pose), []
    while len(found) < count:
        data.ctrl[:] = pose + 0.2 * rng.normal(size=len(pose))
        mujoco.mj_step(model, data, 4)
        row = np.empty(mujoco.mj_stateSize(model, STATE))
        mujoco.mj_getState(model, data, row, STATE)
        found.append(row)
        if data.qpos[2] < 0.15:
            data = stand(model, pose)
    return found


def error(model: mujoco.MjModel, reference: mujoco.MjModel, rows: list[Vector]) -> Vector:
    """Return the largest joint velocity error [rad/s] after one control step from each state."""
    data, truth, errors = mujoco.MjData(model), mujoco.MjData(reference), []
    for row in rows:
        for m, d in ((model, data), (reference, truth)):
            mujoco.mj_setState(m, d, row, STATE)
            mujoco.mj_step(m, d, 4)
        errors.append(float(np.abs(data.qvel - truth.qvel)[6:].max()))
    return np.array(errors)


def seconds(model: mujoco.MjModel, pose: Vector, ticks: int) -> float:
    """Return the CPU time [s] of a control step of 20 ms."""
    data, rng = stand(model, pose), np.random.default_rng(1)
    mujoco.mj_step(model, data, 100)
    start = time.process_time()
    for _ in range(ticks):
        data.ctrl[:] = pose + 0.2 * rng.normal(size=len(pose))
        mujoco.mj_step(model, data, round(0.02 / model.opt.timestep))
    return (time.process_time() - start) / ticks


def main() -> None:
    """Print the table."""
    task = decode(TaskConfig, compose(["task=go2_flat"])["task"])
    pose = np.array(task.robot.actions[0].default)
    models = {
        name: build_model(dataclasses.replace(task, physics=p)) for name, p in variants(task.physics).items()
    }
    reference = next(iter(models.values()))
    rows = states(reference, pose, 200)
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(7):
        for name, model in models.items():
            times[name].append(seconds(model, pose, 200))
    base = statistics.median(times[next(iter(models))])
    print(
        f"{'solver':<42}{'us per control step':>20}{'of converged':>14}{'joint speed error rad/s: median, 90 %':>44}"
    )
    for name, model in models.items():
        cost = statistics.median(times[name])
        same_step = model.opt.timestep == reference.opt.timestep
        errors = error(model, reference, rows) if same_step else np.array([np.nan])
        shown = f"{np.median(errors):.4f}, {np.percentile(errors, 90):.3f}" if same_step else "another step"
        print(f"{name:<42}{1e6 * cost:>20.0f}{cost / base:>14.2f}{shown:>44}")


if __name__ == "__main__":
    main()
