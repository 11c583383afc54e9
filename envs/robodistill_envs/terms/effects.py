"""Effects: write a world's drawn parameters into its physics.

``function(engine, world, ids, **params) -> None`` for worlds ``ids`` (sorted int64) that begin an episode.
Each starts from the template's value, so that an effect never builds on an earlier episode's.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from robodistill_deploy.errors import RobodistillError
from robodistill_envs.engines.base import Engine
from robodistill_envs.model import MAX_DELAY_S, model_field
from robodistill_envs.motor_config import DAMPING, FRICTION
from robodistill_envs.motors import KD, KP, RESISTANCE, VOLTAGE, motor_dofs
from robodistill_envs.robot_config import spread
from robodistill_envs.world import World


def _template(engine: Engine, name: str) -> Tensor:
    return torch.as_tensor(model_field(engine.model, name), dtype=torch.float64)


@functools.lru_cache(maxsize=64)
def _spread(values: tuple[float, ...], count: int, what: str) -> Tensor:
    """Return ``spread`` as float64; read only."""
    return torch.tensor(spread(values, count, what), dtype=torch.float64)


def geom_friction(engine: Engine, world: World, ids: Tensor, *, geom: str, parameter: str) -> None:
    """Set the sliding friction of ``geom``, which must have the higher priority to count."""
    index = engine.model.geom(geom).id
    engine.field("geom_friction")[ids, index, 0] = world.parameter(parameter)[ids, 0].double()


def payload(engine: Engine, world: World, ids: Tensor, *, body: str, mass: str, offset: str) -> None:
    """Add ``mass`` [kg] to ``body``, scale its inertia alike, and shift its centre of mass by ``offset`` [m]."""
    index = engine.model.body(body).id
    nominal = _template(engine, "body_mass")[index]
    total = nominal + world.parameter(mass)[ids, 0].double()
    engine.field("body_mass")[ids, index] = total
    engine.field("body_inertia")[ids, index] = _template(engine, "body_inertia")[index] * (
        total / nominal
    ).unsqueeze(1)
    engine.field("body_ipos")[ids, index] = (
        _template(engine, "body_ipos")[index] + world.parameter(offset)[ids].double()
    )


def scaled(engine: Engine, world: World, ids: Tensor, *, field: str, parameter: str) -> None:
    """Multiply a whole model field of a world, such as ``body_mass``, by a scalar parameter."""
    value = _template(engine, field)
    factor = world.parameter(parameter)[ids, 0].double()
    engine.field(field)[ids] = value * factor.view(-1, *([1] * value.dim()))


def scaled_body(engine: Engine, world: World, ids: Tensor, *, body: str, parameter: str) -> None:
    """Multiply a body's mass and inertia by a scalar parameter."""
    index = engine.model.body(body).id
    factor = world.parameter(parameter)[ids, 0].double()
    engine.field("body_mass")[ids, index] = _template(engine, "body_mass")[index] * factor
    engine.field("body_inertia")[ids, index] = _template(engine, "body_inertia")[index] * factor.unsqueeze(1)


def position_servos(
    engine: Engine, world: World, ids: Tensor, *, strength: str, kp_scale: str, kd_scale: str, offset: str
) -> None:
    """Set the joints' PD law: torque = strength * (kp (target - q - offset) - kd dq), strength per motor.

    ``offset`` [rad] is the encoder's error: the servo closes its loop on the position that it measures.
    """
    action = world.task.robot.actions[0]
    count = len(action.names)
    power = world.parameter(strength)[ids].double()
    kp = _spread(action.kp, count, "kp") * world.parameter(kp_scale)[ids].double() * power
    kd = _spread(action.kd, count, "kd") * world.parameter(kd_scale)[ids].double() * power
    limit = _spread(action.effort_limit, count, "effort_limit") * power
    if world.task.robot.motors.torque_speed:
        _dc_servos(engine, ids, kp, kd, limit, power, -kp * world.parameter(offset)[ids].double())
        return
    engine.field("actuator_gainprm")[ids, :, 0] = kp
    constant = kp * world.parameter(offset)[ids].double()
    engine.field("actuator_biasprm")[ids, :, :3] = torch.stack((constant, kp, kd), dim=-1).neg_()
    engine.field("actuator_forcerange")[ids] = torch.stack((-limit, limit), dim=-1)


def _dc_servos(
    engine: Engine, ids: Tensor, kp: Tensor, kd: Tensor, limit: Tensor, power: Tensor, constant: Tensor
) -> None:
    """Set the same law for motors with a torque-speed line, (n, motors) each; the no-load speed stays.

    MuJoCo adds ``constant`` [N m] after it has clipped; limits that are moved by as much make the torque limit exact.
    The sloping line stays off by it, at most kp * offset, as if the no-load speed were another by so much / slope.
    """
    gain = engine.field("actuator_gainprm")
    gain[ids, :, RESISTANCE] = _template(engine, "actuator_gainprm")[:, RESISTANCE] / power
    gain[ids, :, KP], gain[ids, :, KD] = kp, kd
    engine.field("actuator_biasprm")[ids, :, 0] = constant
    engine.field("actuator_forcerange")[ids] = torch.stack((-limit - constant, limit - constant), dim=-1)


def joint_field(engine: Engine, world: World, ids: Tensor, *, field: str, joint: str, parameter: str) -> None:
    """Set a joint's value in a field by degree of freedom, such as ``dof_damping``, to the parameter itself."""
    dof = int(engine.model.joint(joint).dofadr[0])
    engine.field(field)[ids, dof] = world.parameter(parameter)[ids, 0].double()


def actuator_gain(engine: Engine, world: World, ids: Tensor, *, parameter: str) -> None:
    """Scale what every actuator makes of its input and of its own state: motors and position servos alike."""
    power = world.parameter(parameter)[ids, 0].double().view(-1, 1, 1)
    for field in ("actuator_gainprm", "actuator_biasprm"):
        engine.field(field)[ids] = _template(engine, field) * power


def motor_friction(engine: Engine, world: World, ids: Tensor) -> None:
    """Scale what rubs in each motor, on the motor's side of a backlash, by the factors that its world has drawn."""
    dofs = torch.as_tensor(motor_dofs(engine.model))
    for parameter, field in ((FRICTION, "dof_frictionloss"), (DAMPING, "dof_damping")):
        if parameter in world.task.robot.motors.drawn:
            factor = world.parameter(parameter)[ids].double()
            engine.field(field)[ids.unsqueeze(1), dofs] = _template(engine, field)[dofs] * factor


def motor_strength(engine: Engine, world: World, ids: Tensor, *, parameter: str) -> None:
    """Scale the gain and the limit of every motor."""
    power = world.parameter(parameter)[ids].double()
    if world.task.robot.motors.torque_speed:
        # a gear scales torque and speed alike, so the no-load voltage and the slope follow
        engine.field("actuator_gear")[ids, :, 0] = _template(engine, "actuator_gear")[:, 0] * power
        for column in (RESISTANCE, VOLTAGE):
            scaled_prm = _template(engine, "actuator_gainprm")[:, column] * power
            engine.field("actuator_gainprm")[ids, :, column] = scaled_prm
        return
    engine.field("actuator_gainprm")[ids, :, 0] = _template(engine, "actuator_gainprm")[:, 0] * power
    limits = _template(engine, "actuator_forcerange").unsqueeze(0) * power.unsqueeze(-1)
    engine.field("actuator_forcerange")[ids] = limits


def delays(engine: Engine, world: World, ids: Tensor, *, action: str, signal: str) -> None:
    """Set a world's action delay and signal delay [s]; effective in physics steps."""
    for name in (action, signal):
        config = world.task.parameters[name]
        longest = (config.draw or config).high[0]
        if longest > MAX_DELAY_S:
            raise RobodistillError(f"parameter {name!r}: {longest} s is more than the delay buffers' {MAX_DELAY_S} s")
    engine.field("actuator_delay")[ids] = world.parameter(action)[ids].double()
    delayed = torch.as_tensor(engine.model.sensor_history[:, 0] > 0)
    engine.field("sensor_delay")[ids] = world.parameter(signal)[ids].double() * delayed
