"""Draws: everything random about an episode, from counters: it depends on (seed, world, episode, step) alone."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import torch
from torch import Tensor

from robodistill_deploy.spec import InterfaceSpec
from robodistill_envs import rotations
from robodistill_envs.config import DrawConfig, TaskConfig
from robodistill_envs.motors import robot_nq
from robodistill_envs.random import WorldRandom


class Start(NamedTuple):
    """What the episodes of n worlds begin with."""

    parameters: Tensor
    """(n, all), in the task's order"""
    qpos: Tensor
    """(n, nq) float64"""
    qvel: Tensor
    """(n, nv) float64"""
    command: Tensor
    """(n, elements)"""
    push_in: Tensor
    """Control steps (n,) until the first push."""


class Draws:
    """The distributions of a task: parameters, initial states, commands, pushes."""

    def __init__(self, task: TaskConfig, model: mujoco.MjModel, spec: InterfaceSpec) -> None:
        self.task = task
        self._nq, self._nv = model.nq, model.nv
        self._robot_nq = robot_nq(model)
        """Without the rotors of motors with backlash, which the engine sets itself."""
        self._free = int(bool(task.reset.height))
        self._qpos0 = _default_qpos(task, model, spec)
        config = task.reset
        self._attitude = torch.tensor([config.tilt, config.tilt, torch.pi * float(config.yaw)], dtype=torch.float64)
        ranges = list(task.parameters.values())
        drawn = [p.draw or DrawConfig(p.low, p.high) for p in ranges]
        self._low = torch.tensor([v for d in drawn for v in d.low])
        self._gap_low = torch.tensor([v for d in drawn for v in d.gap_low or d.low])
        self._gap = torch.tensor([v for d in drawn for v in d.gap_high or d.low]) - self._gap_low
        self._gaps = bool(self._gap.any())
        self._width = torch.tensor([v for d in drawn for v in d.high]) - self._low - self._gap
        self._ranged = torch.tensor([int(model.joint(j).qposadr[0]) for j in config.joint_range], dtype=torch.int64)
        ends = torch.tensor(list(config.joint_range.values()), dtype=torch.float64).view(-1, 2)
        self._range_low, self._range_half = ends[:, 0], 0.5 * (ends[:, 1] - ends[:, 0])
        self._nominal = torch.tensor([v for p in ranges for v in p.nominal])
        if task.command:
            self._command_low = torch.tensor(task.command.lower)
            self._command_width = torch.tensor(task.command.upper) - self._command_low
        self._elements = len(task.command.elements) if task.command else 0

    def start(
        self, random: WorldRandom, counter: Tensor, size: Tensor, nominal: bool, default: bool
    ) -> Start:
        """Return what the worlds of ``random`` begin with, all from one draw.

        ``nominal``: parameters as without randomisation; ``default``: the default pose at rest. ``size`` as in
        ``command``. Columns of the draw: command, first push, then parameters and state, so that a task's commands
        do not depend on what it randomises.
        """
        at = self._elements + 2
        state = at + len(self._low)
        u = random.uniform("episode", counter, state + self._state_numbers)
        n = u.shape[0]
        return Start(
            self._nominal.repeat(n, 1) if nominal else self._parameters(u[:, at:state]),
            *self._state(None if default else u[:, state:], n),
            self._command(u[:, : at - 1], size),
            self._push_in(u[:, at - 1]),
        )

    def _parameters(self, u: Tensor) -> Tensor:
        """Return values from uniform numbers, (n, all) both; the gap of a range is jumped over."""
        values = self._low + self._width * u
        return values + self._gap * (values > self._gap_low) if self._gaps else values

    @property
    def _state_numbers(self) -> int:
        return 10 + self._robot_nq + self._nv - (self._nq - self._robot_nq)

    def _state(self, u: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
        """Return qpos (n, nq) and qvel (n, nv), float64, from uniform numbers; the default pose at rest for None."""
        config, free = self.task.reset, self._free
        if u is None:
            return self._qpos0.repeat(n, 1), torch.zeros(n, self._nv, dtype=torch.float64)
        nq, nv = self._robot_nq, self._nv - (self._nq - self._robot_nq)
        u = u.double().mul_(2.0).sub_(1.0)
        rest = self._qpos0.expand(n, -1)
        # nothing is written into a tensor in part: torch cannot compile that here
        qpos = [rest[:, 7 * free : nq] + u[:, 10 + 7 * free : 10 + nq] * config.joint_position, rest[:, nq:]]
        qvel = [u[:, 10 + nq + 6 * free :] * config.joint_velocity, u.new_zeros(n, self._nv - nv)]
        if free:
            turned = rotations.from_roll_pitch_yaw(*(u[:, :3] * self._attitude).unbind(1))
            qpos, qvel = [rest[:, :3], turned, *qpos], [u[:, 3:9] * config.base_velocity, *qvel]
        at = torch.cat(qpos, dim=1)
        if len(self._ranged):
            spread = self._range_half * (1.0 + u.index_select(1, 10 + self._ranged))
            at = at.index_copy(1, self._ranged, self._range_low + spread)
        return at, torch.cat(qvel, dim=1)

    def command(self, random: WorldRandom, counter: Tensor, size: Tensor) -> Tensor:
        """Return commands (n, k): zero with the task's probability, else uniform in ``size`` () times its range."""
        return self._command(random.uniform("command", counter, self._elements + 1), size)

    def _command(self, u: Tensor, size: Tensor) -> Tensor:
        config = self.task.command
        if config is None:
            return u[:, :0]
        k = self._elements
        wanted = (self._command_low + self._command_width * u[:, :k]) * size
        return wanted.masked_fill_((u[:, k] < config.zero_probability).unsqueeze(1), 0.0)

    def _push_in(self, u: Tensor) -> Tensor:
        if self.task.push is None:
            return torch.zeros(u.shape[0], dtype=torch.int64)
        low, high = self.task.push.interval_s
        return ((low + (high - low) * u) / self.task.control_dt).long()

    def push(self, random: WorldRandom, counter: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Return kicks (n, 2) [m/s], horizontal, in the world frame; and the control steps (n,) until the next."""
        assert self.task.push is not None
        u = random.uniforms({"push": 2, "push_in": 1}, counter)
        slowest, fastest = self.task.push.min_speed, self.task.push.max_speed
        angle, speed = 2.0 * torch.pi * u[:, 0], (slowest + (fastest - slowest) * u[:, 1]) * size
        kick = torch.stack((torch.cos(angle), torch.sin(angle)), dim=1) * speed.unsqueeze(1)
        return kick, self._push_in(u[:, 2])


def _default_qpos(task: TaskConfig, model: mujoco.MjModel, spec: InterfaceSpec) -> Tensor:
    qpos = torch.as_tensor(model.qpos0.copy())
    if task.reset.height:
        qpos[2] = task.reset.height
    for part in spec.actions:
        for joint, value in zip(part.names, part.default, strict=True):
            if part.kind == "joint_position" and not task.robot.own_actuators:
                qpos[model.joint(joint).qposadr[0]] = value
    return qpos
