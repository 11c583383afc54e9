"""Build a robot's motors into its MuJoCo model.

A motor with a torque-speed limit is MuJoCo's stateless DC motor: the PD law asks for a torque, the terminal
voltage that would give it is clipped to the supply's, and the current to the torque limit. With motor constant 1 the
voltage is the no-load speed w0 and one over the resistance the slope a of the line, so that

    torque = clip(clip(PD, -a (w0 + w), a (w0 - w)), -limit, limit)

at every physics step, in all four quadrants: a braking torque is cut by the limit alone.

A backlash gives each motor a rotor of its own, an inertia on a joint of its own in the world body behind all others,
so that ``qpos`` of the robot stays where it was. A fixed tendon holds it within the gap around the link's joint. In
generalised coordinates that is exactly a gear with play, for MuJoCo's armature exchanges no momentum with the body
that carries the motor, be it on a rotor or on a link.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mujoco
import torch
from torch import Tensor

from robodistill_deploy.errors import SpecError
from robodistill_envs.robot_config import ActionConfig, RobotConfig, spread

ROTOR = ".rotor"
"""Ending of the names of rotors' joints and bodies; what comes before is the link's joint."""
RESISTANCE, KP, KD, VOLTAGE = 0, 4, 6, 7
"""Columns of ``actuator_gainprm`` of a DC motor; ``actuator_biasprm`` begins with a torque, its period and phase."""
_WEIGHTLESS = 1e-9
"""[kg], [kg m^2] of a rotor's body: its inertia is its joint's armature."""
_STIFF = [0.99, 0.99, 0.001, 0.5, 2.0]
"""Constraint impedance of friction and of teeth: a joint held by friction creeps at a hundredth of what it would slip
in one time constant. Nearer to 1 the solver of MuJoCo 3.14 now and then lets a held joint slip by milliradians."""


@dataclass(frozen=True)
class Motor:
    """The numbers of one motor; None where the model file's hold."""

    backlash: float
    friction: float | None
    damping: float | None
    armature: float | None


def motors_of(robot: RobotConfig) -> dict[str, Motor]:
    """Return joint -> motor."""
    names = [name for action in robot.actions for name in action.names]
    columns = [
        robot.motor_values(field) or (None,) * len(names)
        for field in ("backlash", "friction", "damping", "armature")
    ]
    return {
        name: Motor(values[0] or 0.0, *values[1:])
        for name, values in zip(names, zip(*columns, strict=True), strict=True)
    }


def add_motor(spec: mujoco.MjSpec, name: str, motor: Motor) -> str:
    """Change joint ``name`` as ``motor`` says; return the joint that the motor turns, the link's or a rotor's."""
    joint = spec.joint(name)
    if motor.armature is not None:
        joint.armature = motor.armature
    if motor.damping is not None:
        joint.damping = _linear(motor.damping)
    if motor.friction is not None:
        joint.frictionloss = motor.friction
        joint.solimp_friction = _STIFF
    return _add_rotor(spec, joint, motor.backlash) if motor.backlash else name


def _linear(damping: float) -> list[float]:
    """Return the coefficients of a damping torque ``damping`` * speed; MuJoCo has two more, of higher powers."""
    return [damping, 0.0, 0.0]


def _add_rotor(spec: mujoco.MjSpec, joint: Any, gap: float) -> str:
    if joint.armature <= 0.0:
        raise SpecError(
            f"joint {joint.name!r}: a rotor behind a backlash needs an inertia; set motors.armature or the model's"
        )
    name = f"{joint.name}{ROTOR}"
    body = spec.worldbody.add_body(
        name=name, mass=_WEIGHTLESS, inertia=[_WEIGHTLESS] * 3, explicitinertial=True
    )
    body.add_joint(
        name=name, type=joint.type, axis=[1.0, 0.0, 0.0], armature=joint.armature, damping=joint.damping,
        frictionloss=joint.frictionloss, solref_friction=joint.solref_friction, solimp_friction=joint.solimp_friction,
    )  # fmt: skip
    joint.armature, joint.damping, joint.frictionloss = 0.0, _linear(0.0), 0.0
    play = spec.add_tendon(
        name=name, range=[-gap / 2.0, gap / 2.0], limited=True,
        solref_limit=[2.0 * spec.option.timestep, 1.0], solimp_limit=_STIFF,
    )  # fmt: skip
    play.wrap_joint(name, 1.0)
    play.wrap_joint(joint.name, -1.0)
    return name


def set_dc_motor(actuator: Any, action: ActionConfig, i: int, line: tuple[float, float]) -> None:
    """Make ``actuator`` motor ``i`` of ``action`` with the torque-speed ``line`` (corner, no-load speed) [rad/s]."""
    count = len(action.names)
    corner, no_load = line
    effort = spread(action.effort_limit, count, "effort_limit")[i]
    if action.kind == "joint_position":
        gains = spread(action.kp, count, "kp")[i], spread(action.kd, count, "kd")[i]
        takes = mujoco.mjtCtrlInput.mjINPUT_POS
    else:
        gains, takes = (0.0, 0.0), mujoco.mjtCtrlInput.mjINPUT_FF
    # a cogging torque without a period is a constant one: it stands for the encoder's offset
    actuator.set_to_dcmotor(
        motorconst=[1.0, 1.0], resistance=(no_load - corner) / effort, saturation=[effort, 0.0, 0.0],
        controller=[gains[0], 0.0, gains[1], 0.0, 0.0, no_load], cogging=[0.0, 0.0, math.pi / 2.0], ctrlspec=int(takes),
    )  # fmt: skip


@dataclass(frozen=True)
class Rotors:
    """Where rotors and the joints that they turn lie in ``qpos`` and ``qvel``, (n,) each."""

    qpos: Tensor
    link_qpos: Tensor
    dof: Tensor
    link_dof: Tensor


def rotors_of(model: mujoco.MjModel) -> Rotors:
    """Return the rotors behind a backlash; none in a model without one."""
    names = [model.joint(i).name for i in range(model.njnt)]
    rotors = [name for name in names if name.endswith(ROTOR)]
    links = [name.removesuffix(ROTOR) for name in rotors]

    def addresses(field: str, of: list[str]) -> Tensor:
        return torch.tensor([int(getattr(model, field)[model.joint(name).id]) for name in of], dtype=torch.int64)

    return Rotors(
        addresses("jnt_qposadr", rotors), addresses("jnt_qposadr", links),
        addresses("jnt_dofadr", rotors), addresses("jnt_dofadr", links),
    )  # fmt: skip


def robot_nq(model: mujoco.MjModel) -> int:
    """Return the length of ``qpos`` without rotors, which come last: that of the robot's model file."""
    return model.nq - len(rotors_of(model).qpos)


def motor_dofs(model: mujoco.MjModel) -> list[int]:
    """Return the degree of freedom that each actuator turns, in the order of actuators."""
    return [int(model.jnt_dofadr[model.actuator_trnid[i, 0]]) for i in range(model.nu)]
