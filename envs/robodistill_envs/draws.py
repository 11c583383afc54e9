"""Draws: everything random about an episode, from counters: it depends on (seed, world, episode, step) alone."""

from __future__ import annotations

import mujoco
import torch
from torch import Tensor

from robodistill_deploy.spec import InterfaceSpec
from robodistill_envs import rotations
from robodistill_envs.config import DrawConfig, TaskConfig
from robodistill_envs.motors import robot_nq
from robodistill_envs.random import WorldRandom


class Draws:
    """The distributions of a task: parameters, initial states, commands, pushes."""

    def __init__(self, task: TaskConfig, model: mujoco.MjModel, spec: InterfaceSpec) -> None:
        self.task = task
        self._nq, self._nv = model.nq, model.nv
        self._robot_nq = robot_nq(model)
        """Without the rotors of motors with backlash, which the engine sets itself."""
        self._free = int(bool(task.reset.height))
        self._qpos0 = _default_qpos(task, model, spec)
        ranges = list(task.parameters.values())
        drawn = [p.draw or DrawConfig(p.low, p.high) for p in ranges]
        self._low = torch.tensor([v for d in drawn for v in d.low])
        self._gap_low = torch.tensor([v for d in drawn for v in d.gap_low or d.low])
        self._gap = torch.tensor([v for d in drawn for v in d.gap_high or d.low]) - self._gap_low
        self._width = torch.tensor([v for d in drawn for v in d.high]) - self._low - self._gap
        self._joint_range = {int(model.joint(j).qposadr[0]): span for j, span in task.reset.joint_range.items()}
        self._nominal = torch.tensor([v for p in ranges for v in p.nominal])
        if task.command:
            self._command_low = torch.tensor(task.command.lower)
            self._command_width = torch.tensor(task.command.upper) - self._command_low

    def parameters(
        self, random: WorldRandom, counter: Tensor, ids: Tensor, nominal: bool = False
    ) -> dict[str, Tensor]:
        """Return every physical parameter of worlds ``ids``, (n, k) each; ``nominal`` ones on demand."""
        if nominal or not len(self._low):
            flat = self._nominal.expand(len(ids), -1)
        else:
            u = random.uniform("parameters", counter, len(self._low), ids)
            flat = self._low + self._width * u
            flat += self._gap * (flat > self._gap_low)
        sizes = [len(p.low) for p in self.task.parameters.values()]
        return dict(zip(self.task.parameters, flat.split(sizes, dim=1), strict=True)) if sizes else {}

    def state(
        self, random: WorldRandom, counter: Tensor, ids: Tensor, default: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return qpos (n, nq) and qvel (n, nv), float64, to begin with; ``default`` is the default pose at rest."""
        config, free = self.task.reset, self._free
        qpos = self._qpos0.repeat(len(ids), 1)
        qvel = torch.zeros(len(ids), self._nv, dtype=torch.float64)
        if default:
            return qpos, qvel
        nq, nv = self._robot_nq, self._nv - (self._nq - self._robot_nq)
        u = random.uniform("reset", counter, 10 + nq + nv, ids).double().mul_(2.0).sub_(1.0)
        if free:
            angles = u[:, :3] * torch.tensor([config.tilt, config.tilt, torch.pi * float(config.yaw)])
            qpos[:, 3:7] = rotations.from_roll_pitch_yaw(*angles.unbind(1))
            qvel[:, :6] = u[:, 3:9] * config.base_velocity
        qpos[:, 7 * free : nq] += u[:, 10 + 7 * free : 10 + nq] * config.joint_position
        qvel[:, 6 * free : nv] += u[:, 10 + nq + 6 * free :] * config.joint_velocity
        for i, (low, high) in self._joint_range.items():
            qpos[:, i] = low + 0.5 * (high - low) * (1.0 + u[:, 10 + i])
        return qpos, qvel

    def command(self, random: WorldRandom, counter: Tensor, ids: Tensor, size: float) -> Tensor:
        """Return commands (n, k): zero with the task's probability, else uniform in ``size`` times its range."""
        config = self.task.command
        if config is None:
            return torch.zeros(len(ids), 0)
        k = len(config.elements)
        u = random.uniform("command", counter, k + 1, ids)
        wanted = (self._command_low + self._command_width * u[:, :k]) * size
        return wanted.masked_fill_((u[:, k] < config.zero_probability).unsqueeze(1), 0.0)

    def push_in(self, random: WorldRandom, counter: Tensor, ids: Tensor) -> Tensor:
        """Return the control steps (n,) until the next push."""
        assert self.task.push is not None
        low, high = self.task.push.interval_s
        u = random.uniform("push_in", counter, 1, ids)[:, 0]
        return ((low + (high - low) * u) / self.task.control_dt).long()

    def kick(self, random: WorldRandom, counter: Tensor, ids: Tensor, size: float) -> Tensor:
        """Return horizontal velocity kicks (n, 2) [m/s] in the world frame."""
        assert self.task.push is not None
        u = random.uniform("push", counter, 2, ids)
        slowest, fastest = self.task.push.min_speed, self.task.push.max_speed
        angle, speed = 2.0 * torch.pi * u[:, 0], (slowest + (fastest - slowest) * u[:, 1]) * size
        return torch.stack((torch.cos(angle), torch.sin(angle)), dim=1) * speed.unsqueeze(1)


def _default_qpos(task: TaskConfig, model: mujoco.MjModel, spec: InterfaceSpec) -> Tensor:
    qpos = torch.as_tensor(model.qpos0.copy())
    if task.reset.height:
        qpos[2] = task.reset.height
    for part in spec.actions:
        for joint, value in zip(part.names, part.default, strict=True):
            if part.kind == "joint_position" and not task.robot.own_actuators:
                qpos[model.joint(joint).qposadr[0]] = value
    return qpos
