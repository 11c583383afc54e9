"""Check: the exported file in a plain single-world MuJoCo loop, beside the environment it was trained in.

The loop reads MuJoCo's sensors by name, steps and synchronises by itself: it shares none of VecEnv's code for that.
Numbers pass between it and the file under the names of joints and axes, as on a robot, so that another order shows.
Its state is set to the environment's after every tick: a difference shows where it arises, and contact chaos plays
no part.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from robodistill_deploy import runtime
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.spec import InterfaceSpec
from robodistill_envs.config import TaskConfig
from robodistill_envs.engines.mjbatch import MjbatchEngine
from robodistill_envs.model import MEASURED, model_field
from robodistill_envs.observation import SignalTerms
from robodistill_envs.vector import Disturbances, VecEnv
from robodistill_policies.normalizer import EPSILON
from robodistill_policies.policy import Policy

TOLERANCE = 1e-5
"""Largest accepted difference: of a term after the policy's normaliser, of a target in units of its scale."""

ROUNDING = 4.0 * float(np.finfo(np.float32).eps)
"""Difference of a term that float32 explains. Gravity's -1 on a level trunk varies so little that the normaliser
makes 1e-5 of the last bit alone."""

Targets = dict[str, dict[str, float]]
"""Action part -> joint -> target."""


@dataclass
class CheckResult:
    """Largest differences over all ticks."""

    terms: dict[str, float] = field(default_factory=dict)
    actions: dict[str, float] = field(default_factory=dict)
    onnx_vs_torch: float = 0.0
    """The file against the torch policy on identical inputs, in units of the action scale."""
    physics: float = 0.0
    """Largest |qpos| difference of one control step [m, rad]."""
    ticks: int = 0
    first: str = ""
    """What differed first, and when; empty if nothing did."""

    def note(self, kind: str, name: str, error: float, tick: int) -> None:
        """Take in one comparison."""
        table = self.terms if kind == "term" else self.actions
        table[name] = max(table.get(name, 0.0), error)
        if not error <= TOLERANCE and not self.first:
            self.first = f"{kind} {name!r} differs by {error:.2e} at tick {tick}"

    def to_dict(self) -> dict[str, Any]:
        """Return what ``check.json`` holds."""
        return {
            "terms": self.terms,
            "actions": self.actions,
            "onnx_vs_torch": self.onnx_vs_torch,
            "physics": self.physics,
            "ticks": self.ticks,
            "first_difference": self.first,
            "passed": not self.first and self.onnx_vs_torch <= TOLERANCE,
        }


class PlainRobot:
    """One world stepped with ``mj_step``: sensors by name in, joint targets by name out."""

    def __init__(
        self, model: mujoco.MjModel, task: TaskConfig, bias: dict[str, np.ndarray[Any, Any]]
    ) -> None:
        self.model, self.task, self.bias = model, task, bias
        self.data = mujoco.MjData(model)

    def synchronise(self, row: np.ndarray[Any, Any]) -> None:
        """Take over an integration state."""
        mujoco.mj_setState(self.model, self.data, row, mujoco.mjtState.mjSTATE_INTEGRATION)

    def read(self, command: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Return what the driver delivers: undisturbed but for the constant biases of this robot."""
        signals: dict[str, np.ndarray[Any, Any]] = {}
        for sensor in self.task.robot.sensors:
            values = [self.data.sensor(f"{MEASURED}{sensor.name}.{o}").data for o in sensor.objects]
            value = np.concatenate(values).astype(np.float32)
            bias = self.bias.get(sensor.name)
            if bias is not None:
                value = _tilted(value, bias) if len(value) == 4 else value + bias
            signals[sensor.name] = value.astype(np.float32)
        if self.task.command:
            signals[self.task.command.signal] = command
        return signals

    def elements(self, signal: str) -> tuple[str, ...]:
        """Return the names of a signal's numbers, in the order of ``read``."""
        command = self.task.command
        if command and signal == command.signal:
            return command.elements
        return next(sensor.elements for sensor in self.task.robot.sensors if sensor.name == signal)

    def step(self, targets: Targets) -> None:
        """Hold the targets for one control period."""
        for part in targets.values():
            for joint, value in part.items():
                self.data.actuator(joint).ctrl = value
        mujoco.mj_step(self.model, self.data, self.task.decimation)


def _tilted(quat: np.ndarray[Any, Any], tilt: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    angle = float(np.linalg.norm(tilt))
    error, result = np.array([1.0, 0.0, 0.0, 0.0]), np.empty(4)
    if angle > 0.0:
        mujoco.mju_axisAngle2Quat(error, tilt.astype(np.float64) / angle, angle)
    mujoco.mju_mulQuat(result, quat.astype(np.float64), error)
    return result


def _plain_copy(env: VecEnv) -> PlainRobot:
    """Return a plain robot with the model fields of world 0."""
    engine = env.engine
    assert isinstance(engine, MjbatchEngine)
    model = copy.copy(engine.model)
    for name, values in engine.expanded().items():
        target = model_field(model, name)
        target[:] = values[0].numpy().reshape(target.shape)
    mujoco.mj_setConst(model, mujoco.MjData(model))  # what follows from masses follows here too
    parameters = {k: v[0].numpy() for k, v in env.world.parameters.items()}
    bias = {name: parameters[s.bias] for name, s in env.task.signals.items() if s.bias}
    return PlainRobot(model, env.task, bias)


@torch.no_grad()
def check_policy(path: Path, policy: Policy, task: TaskConfig, seed: int, ticks: int = 500) -> CheckResult:
    """Drive one world with the file for ``ticks``; compare signals, terms and targets with the environment's."""
    file = runtime.load_policy(path)
    env = VecEnv(task, 1, seed=seed, threads=1, disturbances=Disturbances(noise=False, pushes=False))
    interface = file.spec.interface
    terms = SignalTerms(interface, "sensors")
    obs = env.reset()
    robot = _plain_copy(env)
    engine = env.engine
    assert isinstance(engine, MjbatchEngine)
    robot.synchronise(engine.row(0))
    mujoco.mj_forward(robot.model, robot.data)
    state = policy.initial_state(1)
    normalizer = policy.normalizers["sensors"]
    limits = _raw_limits(env.spec)
    deviation = (normalizer.get_buffer("var") + EPSILON).sqrt().float()
    result = CheckResult(ticks=ticks)
    for tick in range(ticks):
        signals = _by_name(robot, robot.read(env.world.command[0].numpy()), interface)
        internals = {i.name: torch.from_numpy(file.state(i.name)) for i in interface.internals}
        inputs = {k: torch.tensor([list(v.values())], dtype=torch.float32) for k, v in signals.items()} | internals
        start = 0
        for term, value in zip(interface.terms("sensors"), terms.values(inputs), strict=True):
            columns = slice(start, start + term.dim)
            theirs = obs["sensors"][0, columns]
            miss = (value[0] - theirs).abs() - ROUNDING * theirs.abs().clamp_min(1.0)
            result.note("term", term.name, float((miss.clamp_min(0.0) / deviation[columns]).max()), tick)
            start += term.dim
        answer = file.tick(signals)
        targets = {p.name: dict(zip(p.names, answer[p.name].tolist(), strict=True)) for p in interface.actions}
        output, state = policy.step(obs, state)
        raw = _raw(targets, env.spec)
        same = torch.clamp(output.mean[0], *limits)
        error = float((raw - same).abs().max())
        result.onnx_vs_torch = max(result.onnx_vs_torch, error)
        offset = 0
        for part in env.spec.actions:
            piece = slice(offset, offset + part.dim)
            result.note("action", part.name, float((raw[piece] - same[piece]).abs().max()), tick)
            offset += part.dim
        # the file drives; only where its target was clipped does torch say what lay beyond the limit
        clipped = same != output.mean[0]
        action = torch.where(clipped, output.mean[0], raw)
        robot.step(_held(action, env.spec))
        obs, _, terminated, truncated, _ = env.step(action.unsqueeze(0))
        if bool(terminated[0] | truncated[0]):
            file.reset()
            state = policy.initial_state(1)
            robot = _plain_copy(env)
            robot.synchronise(engine.row(0))
            mujoco.mj_forward(robot.model, robot.data)
            continue
        qpos = engine.state("qpos")[0].numpy()
        result.physics = max(result.physics, float(np.abs(robot.data.qpos - qpos).max()))
        robot.synchronise(engine.row(0))
    return result


def _by_name(
    robot: PlainRobot, signals: dict[str, np.ndarray[Any, Any]], interface: InterfaceSpec
) -> dict[str, dict[str, float]]:
    """Return what the file reads: each number under its name, in the file's order."""
    found: dict[str, dict[str, float]] = {}
    for signal in interface.signals:
        values = dict(zip(robot.elements(signal.name), signals[signal.name].tolist(), strict=True))
        for element in signal.elements:
            if element not in values:
                raise RobodistillError(f"check: signal {signal.name!r}: {unknown('element', element, values)}")
        found[signal.name] = {element: values[element] for element in signal.elements}
    return found


def _raw(targets: Targets, interface: InterfaceSpec) -> torch.Tensor:
    """Return the raw action (action_dim,) behind ``targets``, in the environment's order."""
    values = [
        (targets[part.name][joint] - default) / scale
        for part in interface.actions
        for joint, default, scale in zip(part.names, part.default, part.scale, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float32)


def _held(action: torch.Tensor, interface: InterfaceSpec) -> Targets:
    """Return the targets of a raw action (action_dim,): what both loops hold, to the last bit.

    A target's rounding to float32, 1e-7 rad, may grow a hundredfold within one control step on its feet.
    """
    values = iter(action.tolist())
    return {
        part.name: {
            joint: min(max(default + scale * next(values), low), high)
            for joint, default, scale, low, high in zip(
                part.names, part.default, part.scale, part.lower, part.upper, strict=True
            )
        }
        for part in interface.actions
    }


def _raw_limits(interface: InterfaceSpec) -> tuple[torch.Tensor, torch.Tensor]:
    low, high = (
        torch.tensor(
            [
                (v - d) / s
                for p in interface.actions
                for v, d, s in zip(getattr(p, end), p.default, p.scale, strict=True)
            ]
        )
        for end in ("lower", "upper")
    )
    return low, high
