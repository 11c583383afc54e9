"""The simulated machine: the task's model, a PD law at every physics step, and a watchdog of its own."""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.config import TaskConfig
from robodistill_envs.model import FLOOR, build_model
from robodistill_envs.robot_config import spread
from robodistill_envs.simrobot.excursions import Excursions
from robodistill_envs.simrobot.options import Robot
from robodistill_envs.simrobot.sensing import Sensing
from robodistill_envs.simrobot.track import TrackWriter

Array = NDArray[np.float64]
_SETTLE_S = 2.0
"""[s] of physics before a run begins: the robot stands, or lies, at rest."""


class SimRobot:
    """One robot. ``take`` a command when there is one, ``step``, ``read``; nothing here knows a clock."""

    def __init__(self, task: TaskConfig, options: Robot) -> None:
        self._options, self._dt = options, options.timestep
        self.model = robot_model(task, options)
        self.data = mujoco.MjData(self.model)
        self.joints = robot_order(task)
        rng = np.random.default_rng(options.seed)
        self._pushes = np.random.default_rng([options.seed, 1])  # apart: with other noise come the same pushes
        self._free = task.reset.height > 0.0
        self._gather(task)
        self._sensing = Sensing(task, self.model, self.joints, options, rng)
        self.elements = self._sensing.elements
        """Signal -> its elements, in this robot's order."""
        self._offset = self._sensing.encoder_offset(self.joints)
        self._limp = _limp(len(self.joints), options.watchdog_kd)
        self._hold = self._limp if options.lying else self._stand
        self._active, self._taken_at = self._hold, 0
        self._pending: deque[tuple[int, Command]] = deque()
        self.torque = np.zeros(len(self.joints))
        """(joints,) [N m] of the last step"""
        self.commands = self.watchdog_trips = self.tick = 0
        self.damped = False
        """Whether the watchdog has taken over."""
        self.excursions = Excursions(task, self.model, self._effort_limit)
        self._begin(task, rng)
        self.excursions = Excursions(task, self.model, self._effort_limit)
        self._track = TrackWriter(Path(options.record), self.model, self.joints) if options.record else None

    @property
    def time(self) -> float:
        """Return the robot's own time [s]."""
        return self.tick * self._dt

    def take(self, command: Command) -> None:
        """Feed the watchdog with ``command``, which acts after the delay."""
        self.commands += 1
        self._taken_at, self.damped = self.tick, False
        self._pending.append((self.tick + round(self._options.delay / self._dt), command))

    def step(self) -> None:
        """Advance by one physics step; the PD law is computed anew from what the encoders say now."""
        while self._pending and self._pending[0][0] <= self.tick:
            self._active = self._pending.popleft()[1]
        self._watch()
        self._push()
        self._advance(self._active)
        self.tick += 1
        error = self._active.position - self._position if self._active.kp.any() else None
        self.excursions.note(self.data, self.torque, error, self.time, self._dt)
        if self._track:
            self._track.add(
                self.data, self.torque, self._active, time=self.time, tick=self.tick, damped=self.damped
            )

    def read(self) -> Reading:
        """Return what the sensors say now."""
        return Reading(self.time, self.tick, self._sensing.measure(self.data, self.torque))

    def report(self) -> dict[str, Any]:
        """Return the run's figures as plain values; whoever reads them finds the file of ``record`` up to date."""
        if self._track:
            self._track.flush()
        return {
            "simulated_s": self.time, "commands": self.commands, "watchdog_trips": self.watchdog_trips,
            "damped": self.damped, "joints": list(self.joints), **self.excursions.to_dict(),
        }  # fmt: skip

    def close(self) -> None:
        """End the file of ``record``."""
        if self._track:
            self._track.close()

    def _gather(self, task: TaskConfig) -> None:
        """Find each joint's actuator, encoder and limits, in the robot's order."""
        parts = {name: (part, i) for part in task.robot.actions for i, name in enumerate(part.names)}
        self._actuators = np.array([self.model.actuator(name).id for name in self.joints])
        turned = self.model.actuator_trnid[self._actuators, 0]
        self._qpos, self._dof = self.model.jnt_qposadr[turned], self.model.jnt_dofadr[turned]

        def values(field: str) -> Array:
            found = [parts[name] for name in self.joints]
            return np.array([spread(getattr(part, field), len(part.names), field)[i] for part, i in found])

        self._effort_limit = values("effort_limit")
        held = np.array([parts[name][0].kind == "joint_position" for name in self.joints])
        zero = np.zeros(len(self.joints))
        self._stand = Command(np.where(held, values("default"), 0.0), zero, values("kp"), values("kd"), zero)

    def _begin(self, task: TaskConfig, rng: np.random.Generator) -> None:
        """Put the robot into its pose, let it come to rest, then scatter its joints."""
        if self._free:
            self.data.qpos[2] = task.reset.height
        links = [self.model.joint(name) for name in self.joints]
        for link, value in zip(links, self._stand.position, strict=True):
            self.data.qpos[link.qposadr[0]] += value
        self.data.qpos[self._qpos] = [self.data.qpos[link.qposadr[0]] for link in links]  # rotors turn along
        if self._free:
            for _ in range(round(_SETTLE_S / self._dt)):
                self._advance(self._hold)
            self.data.qvel[:] = 0.0
        share = self._options.scatter
        if share:
            for link, rotor, dof in zip(links, self._qpos, self._dof, strict=True):
                self.data.qpos[link.qposadr[0]] += rng.uniform(-1.0, 1.0) * share * task.reset.joint_position
                self.data.qpos[rotor] = self.data.qpos[link.qposadr[0]]
                self.data.qvel[[link.dofadr[0], dof]] = rng.uniform(-1.0, 1.0) * share * task.reset.joint_velocity
        self.data.time = 0.0
        mujoco.mj_forward(self.model, self.data)

    @property
    def _position(self) -> Array:
        return self.data.qpos[self._qpos] + self._offset

    def _advance(self, command: Command) -> None:
        gain = self._options.gain
        torque = gain * (
            command.kp * (command.position - self._position)
            + command.kd * (command.velocity - self.data.qvel[self._dof])
        ) + command.effort
        self.torque = np.clip(torque, -self._effort_limit, self._effort_limit)
        self.data.ctrl[self._actuators] = self.torque
        mujoco.mj_step(self.model, self.data)

    def _watch(self) -> None:
        """Damp a robot that has had commands and hears none any more; before the first one it holds its pose."""
        silent_s = (self.tick - self._taken_at) * self._dt
        if self.commands and not self.damped and silent_s >= self._options.watchdog - 1e-9:
            self.damped, self._active = True, self._limp
            self.watchdog_trips += 1
            self._pending.clear()

    def _push(self) -> None:
        every = max(1, round(self._options.push_every / self._dt))
        if self._options.push and self._free and self.tick and self.tick % every == 0:
            angle = self._pushes.uniform(0.0, 2.0 * np.pi)
            self.data.qvel[:2] += self._options.push * np.array([np.cos(angle), np.sin(angle)])


def robot_order(task: TaskConfig) -> tuple[str, ...]:
    """Return the joints in the order of the vendor's messages, where the robot's file gives one, else the policy's."""
    names = [name for part in task.robot.actions for name in part.names]
    vendor = [next((n for n in names if n.startswith(m)), None) for m in task.robot.sdk_motor_order]
    if not vendor:
        return tuple(names)
    if sorted(filter(None, vendor)) != sorted(names):
        raise RobodistillError(
            f"robot {task.robot.name!r}: sdk_motor_order does not name each joint once; joints: {', '.join(names)}"
        )
    return tuple(n for n in vendor if n is not None)


def _limp(joints: int, kd: float) -> Command:
    zero = np.zeros(joints)
    return Command(zero, zero, zero, np.full(joints, kd), zero)


def robot_model(task: TaskConfig, options: Robot) -> mujoco.MjModel:
    """Return the task's model with plain motors: the PD law, delays and noise are this module's own."""
    for part in task.robot.actions:
        if part.kind == "base_twist":
            raise RobodistillError(f"action {part.name!r}: the simulated robot is driven by joints, not base_twist")
    motors = tuple(
        dataclasses.replace(part, kind="joint_effort", kp=(0.0,), kd=(0.0,)) for part in task.robot.actions
    )
    fine = dataclasses.replace(task.physics, timestep=options.timestep)
    period = dataclasses.replace(
        task, robot=dataclasses.replace(task.robot, actions=motors), physics=fine, delayed=False,
        # how often a policy ticks is no business of the robot's; the task insists on whole physics steps
        control_dt=options.timestep,
    )  # fmt: skip
    model = build_model(period)
    if options.friction >= 0.0:
        if not task.robot.floor:
            raise RobodistillError(f"friction={options.friction}: robot {task.robot.name!r} stands on no floor")
        model.geom_friction[model.geom(FLOOR).id, 0] = options.friction
    if options.payload:
        _load(model, options.payload)
    return model


def _load(model: mujoco.MjModel, mass: float) -> None:
    free = [int(model.jnt_bodyid[i]) for i in range(model.njnt) if model.jnt_type[i] == mujoco.mjtJoint.mjJNT_FREE]
    # motors with backlash add rotors behind the robot's bodies
    own = [i for i in range(1, model.nbody) if not model.body(i).name.endswith(".rotor")]
    body = free[0] if free else own[-1]
    factor = (model.body_mass[body] + mass) / model.body_mass[body]
    model.body_mass[body] *= factor
    model.body_inertia[body] *= factor
    mujoco.mj_setConst(model, mujoco.MjData(model))
