"""Compile a task's MuJoCo model: the robot's MJCF plus floor, actuators, sensors and options."""

from __future__ import annotations

import fnmatch
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco

import robodistill_envs
from robodistill_deploy.errors import SpecError, unknown
from robodistill_envs.config import TaskConfig
from robodistill_envs.motor_config import MotorConfig
from robodistill_envs.motors import ROTOR, add_motor, motors_of, set_dc_motor
from robodistill_envs.robot_config import ActionConfig, SensorConfig, spread

FLOOR = "floor"
MAX_DELAY_S = 0.03
"""Longest delay [s] that the buffers hold. They are part of every world's state, so length costs speed."""
MEASURED, TRUE = "measured.", "true."
"""Prefixes of sensor names: what the robot gets (delayed), what the simulator knows."""

_SCALARS = ("jointpos", "jointvel", "touch", "actuatorfrc", "contact")
_VECTORS = (
    "gyro", "accelerometer", "velocimeter", "framepos", "framelinvel", "frameangvel", "subtreecom", "force", "torque",
)  # fmt: skip
_DIM = {"framequat": 4, **dict.fromkeys(_VECTORS, 3), **dict.fromkeys(_SCALARS, 1)}
_OBJECTS = ("site", "joint", "xbody", "body", "geom", "actuator")


_EXTRAS = {"dm_control": "dmc"}
"""Package whose model files robots may name -> the extra that installs it."""
_PARTS = ("body", "geom", "site", "sensor")
"""Kinds of elements that ``remove`` may name."""


def mjcf_path(name: str) -> Path:
    """Return the path of a model file below this package, or of ``<package>:<path>`` below another."""
    package, _, relative = name.rpartition(":")
    path = (_package(package) if package else Path(robodistill_envs.__file__).parent) / relative
    if not path.is_file():
        raise SpecError(f"no model file {path}")
    return path


def _package(name: str) -> Path:
    """Return the folder of a package without importing it; its parents are imported."""
    root = name.partition(".")[0]
    found = importlib.util.find_spec(name) if importlib.util.find_spec(root) else None
    if found is None or not found.submodule_search_locations:
        extra = f": pip install 'robodistill[{_EXTRAS[root]}]'" if root in _EXTRAS else ""
        raise SpecError(f"the model file lies in package {name}, which is not installed{extra}")
    return Path(next(iter(found.submodule_search_locations)))


def load_spec(path: Path, remove: Sequence[str] = ()) -> mujoco.MjSpec:
    """Return a model file to build on, without what ``remove`` names as ``<kind>:<pattern>``."""
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise SpecError(f"model file {path}: {' '.join(str(error).split())}") from error
    for what in remove:
        kind, _, pattern = what.partition(":")
        if kind not in _PARTS:
            raise SpecError(f"robot.remove {what!r}: {unknown('kind', kind, _PARTS)}")
        elements: Sequence[Any] = getattr(spec, "bodies" if kind == "body" else f"{kind}s")
        chosen = [element for element in elements if fnmatch.fnmatchcase(element.name, pattern)]
        if not chosen:
            raise SpecError(f"robot.remove {what!r}: {unknown(kind, pattern, [e.name for e in elements])}")
        for element in chosen:
            spec.delete(element)
    return spec


def model_field(model: mujoco.MjModel, name: str) -> Any:
    """Return a field of a model, or of its options where the model has none of that name, such as ``gravity``."""
    return getattr(model, name) if hasattr(model, name) else getattr(model.opt, name)


def build_model(task: TaskConfig, visual: bool = False) -> mujoco.MjModel:
    """Return the compiled model of ``task`` with nominal parameters; ``visual`` keeps what cannot collide."""
    spec = load_spec(mjcf_path(task.robot.mjcf), task.robot.remove)
    # what only pleases the eye costs a fifth of a physics step; rendering compiles a model of its own
    spec.compiler.discardvisual = not visual
    _set_options(spec, task)
    if task.robot.floor:
        # priority 2: the floor's friction alone decides, whatever the robot's geoms say
        spec.worldbody.add_geom(
            name=FLOOR, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], contype=1, conaffinity=0, condim=3,
            priority=2, friction=[0.8, 0.02, 0.01], rgba=[0.5, 0.55, 0.6, 1.0],
        )  # fmt: skip
    if task.robot.own_actuators:
        _check_actuators(spec, task)
    for action in () if task.robot.own_actuators else task.robot.actions:
        _add_actuators(spec, action, task)
    for sensor in task.robot.sensors:
        _add_sensors(spec, sensor, MEASURED, _samples(task) if task.delayed else 0, encoder=True)
        _add_sensors(spec, sensor, TRUE, 0, encoder=True)
    for sensor in task.robot.truth:
        _add_sensors(spec, sensor, TRUE, 0)
    try:
        return spec.compile()
    except ValueError as error:
        raise SpecError(f"robot {task.robot.name!r}: {' '.join(str(error).split())}") from error


def _samples(task: TaskConfig) -> int:
    return round(MAX_DELAY_S / task.physics.timestep) + 2


def _set_options(spec: mujoco.MjSpec, task: TaskConfig) -> None:
    option, physics = spec.option, task.physics
    option.timestep = physics.timestep
    option.solver = getattr(mujoco.mjtSolver, f"mjSOL_{physics.solver.upper()}")
    option.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{physics.integrator.upper()}")
    option.iterations = physics.iterations
    option.ls_iterations = physics.ls_iterations
    option.tolerance = physics.tolerance
    option.cone = getattr(mujoco.mjtCone, f"mjCONE_{physics.cone.upper()}")


def _check_actuators(spec: mujoco.MjSpec, task: TaskConfig) -> None:
    """Refuse actions that do not name all of the model's actuators in its order, which is that of ``ctrl``."""
    there = [actuator.name for actuator in spec.actuators]
    named = [name for action in task.robot.actions for name in action.names]
    if named != there:
        raise SpecError(f"robot {task.robot.name!r}: its actions must name {', '.join(there)}, got {', '.join(named)}")
    if task.robot.motors != MotorConfig():
        raise SpecError(f"robot {task.robot.name!r}: the model file's own actuators take no motors; leave motors out")
    if task.delayed:
        raise SpecError(f"task {task.name!r}: the model file's own actuators have no delays; set delayed: false")


def _add_actuators(spec: mujoco.MjSpec, action: ActionConfig, task: TaskConfig) -> None:
    count = len(action.names)
    kp, kd = spread(action.kp, count, "kp"), spread(action.kd, count, "kd")
    effort = spread(action.effort_limit, count, "effort_limit")
    joints = [joint.name for joint in spec.joints]
    motors, lines = motors_of(task.robot), task.robot.torque_speed_lines
    if action.kind not in ("joint_position", "joint_effort"):
        raise SpecError(
            f"action {action.name!r}: the simulator drives joint_position and joint_effort, not {action.kind}"
        )
    for i, joint in enumerate(action.names):
        if joint not in joints:
            raise SpecError(f"action {action.name!r}: {unknown('joint', joint, joints)}")
        turned = add_motor(spec, joint, motors[joint])
        actuator = spec.add_actuator(name=joint, target=turned, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        if joint in lines:
            set_dc_motor(actuator, action, i, lines[joint])
        elif action.kind == "joint_position":
            actuator.set_to_position(kp=kp[i], kv=kd[i])
        else:
            actuator.set_to_motor()
        actuator.forcerange = [-effort[i], effort[i]]
        if task.delayed:
            actuator.nsample = _samples(task)
            actuator.delay = task.physics.timestep


def _add_sensors(
    spec: mujoco.MjSpec, sensor: SensorConfig, prefix: str, samples: int, encoder: bool = False
) -> None:
    """Add ``sensor``; an ``encoder`` turns with the rotor where a backlash parts it from the link."""
    rotors = {joint.name for joint in spec.joints if joint.name.endswith(ROTOR)} if encoder else set()
    if sensor.type not in _DIM:
        raise SpecError(f"sensor {sensor.name!r}: {unknown('type', sensor.type, _DIM)}")
    if _DIM[sensor.type] * len(sensor.objects) != len(sensor.elements):
        raise SpecError(
            f"sensor {sensor.name!r}: {len(sensor.elements)} elements for {len(sensor.objects)} objects"
        )
    if sensor.object not in _OBJECTS:
        raise SpecError(f"sensor {sensor.name!r}: {unknown('object', sensor.object, _OBJECTS)}")
    for target in sensor.objects:
        made = spec.add_sensor(
            name=f"{prefix}{sensor.name}.{target}",
            type=getattr(mujoco.mjtSensor, f"mjSENS_{sensor.type.upper()}"),
            objtype=getattr(mujoco.mjtObj, f"mjOBJ_{sensor.object.upper()}"),
            objname=f"{target}{ROTOR}" if sensor.object == "joint" and f"{target}{ROTOR}" in rotors else target,
        )
        if sensor.type == "contact":
            # data "found" (bit 0): how many contacts match; no reduction, one slot
            made.reftype, made.refname, made.intprm[:3] = (
                mujoco.mjtObj.mjOBJ_GEOM,
                sensor.reference,
                [1, 0, 1],
            )
        if samples:
            made.nsample, made.delay = samples, spec.option.timestep


def sensor_slice(model: mujoco.MjModel, sensor: SensorConfig, prefix: str) -> slice:
    """Return where ``sensor`` lies in ``sensordata``; its objects were added one after the other."""
    ids = [model.sensor(f"{prefix}{sensor.name}.{target}").id for target in sensor.objects]
    start = int(model.sensor_adr[ids[0]])
    return slice(start, start + len(sensor.elements))
