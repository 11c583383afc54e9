"""A robot as data: frozen dataclasses that the YAML under ``configs/robot`` fills.

Lists of one number stand for that number at every element (``kp: [20.0]`` for twelve joints).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from robodistill_deploy.errors import SpecError
from robodistill_deploy.spec import ActionKind
from robodistill_envs.motor_config import PER_JOINT, MotorConfig


def spread(values: tuple[float, ...], count: int, what: str) -> tuple[float, ...]:
    """Return ``count`` values: the given ones, or the single given one repeated."""
    if len(values) == 1:
        return values * count
    if len(values) != count:
        raise SpecError(f"{what}: expected 1 or {count} values, got {len(values)}")
    return tuple(values)


@dataclass(frozen=True)
class ActionConfig:
    """One action part of a robot; target = default + scale * raw action, clipped to lower..upper."""

    name: str
    kind: ActionKind
    names: tuple[str, ...]
    """Joints that it drives, in the order of the raw action."""
    default: tuple[float, ...]
    scale: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    unit: str
    effort_limit: tuple[float, ...]
    """[N m]"""
    velocity_limit: tuple[float, ...]
    """[rad/s]"""
    kp: tuple[float, ...] = (0.0,)
    """[N m/rad], joint_position only"""
    kd: tuple[float, ...] = (0.0,)
    """[N m s/rad], joint_position only"""


@dataclass(frozen=True)
class SensorConfig:
    """Something to measure in the model: one MuJoCo sensor per object, concatenated in order."""

    name: str
    type: str
    """MuJoCo sensor type in lower case: ``gyro``, ``framequat``, ``jointpos``, ``touch``, ..."""
    object: str
    """Kind of object: ``site``, ``joint``, ``xbody``, ``body``, ``geom``, ``actuator``."""
    objects: tuple[str, ...]
    elements: tuple[str, ...]
    """One name per number."""
    unit: str
    frame: str
    reference: str = ""
    """Geom that a ``contact`` sensor looks for contacts with."""


@dataclass(frozen=True)
class WaypointConfig:
    """One pose on the way from lying to standing."""

    seconds: float
    """[s] to get there"""
    position: tuple[float, ...]
    """[rad] of every joint of the actions, in their order"""


@dataclass(frozen=True)
class RobotConfig:
    """A robot: its model, what its driver takes and what its sensors give."""

    name: str
    mjcf: str
    """Path below the package ``robodistill_envs``; ``<package>:<path>`` below another one."""
    floor: bool
    """Whether the scene needs a floor."""
    actions: tuple[ActionConfig, ...]
    sensors: tuple[SensorConfig, ...]
    """What the real robot measures."""
    truth: tuple[SensorConfig, ...]
    """What only a simulator measures: undelayed, noise-free."""
    mirror: dict[str, str] = field(default_factory=dict)
    """Joint on the left -> its twin on the right, both ways; names that are missing map to themselves."""
    mirror_sign: dict[str, float] = field(default_factory=dict)
    """Joint -> sign under left-right reflection, 1 if missing."""
    sdk_motor_order: tuple[str, ...] = ()
    """Motors in the order of the vendor's messages."""
    stand_up: tuple[WaypointConfig, ...] = ()
    """How a driver's program brings it from lying to the default pose; empty: it starts standing."""
    motors: MotorConfig = field(default_factory=MotorConfig)
    """What separates its motors from ideal ones."""
    remove: tuple[str, ...] = ()
    """What to leave out of the model file, as ``<kind>:<pattern>``: ``body:ball``, ``geom:wall_*``, ``sensor:*``."""
    own_actuators: bool = False
    """Actions drive the model file's own actuators, and name these; else one is added to each joint that they name."""

    def __post_init__(self) -> None:
        """Refuse motors whose numbers do not fit the actions, or a line that ends before it begins."""
        for name in PER_JOINT:
            self.motor_values(name)
        for joint, (corner, end) in self.torque_speed_lines.items():
            if not corner < end:
                raise SpecError(f"joint {joint!r}: motors.corner_speed {corner} is not below the no-load speed {end}")

    def motor_values(self, name: str) -> tuple[float, ...]:
        """Return a list of ``motors`` with one value per actuated joint, or () if it is empty."""
        values = getattr(self.motors, name)
        count = sum(len(action.names) for action in self.actions)
        return spread(values, count, f"robot {self.name!r}: motors.{name}") if values else ()

    @property
    def torque_speed_lines(self) -> dict[str, tuple[float, float]]:
        """Return joint -> (corner, no-load speed) [rad/s] of the motors that have such a line."""
        if not self.motors.torque_speed:
            return {}
        names = [name for action in self.actions for name in action.names]
        limits = [v for a in self.actions for v in spread(a.velocity_limit, len(a.names), "velocity_limit")]
        no_load = self.motor_values("no_load_speed") or tuple(limits)
        corner = self.motor_values("corner_speed") or (0.0,) * len(names)
        return dict(zip(names, zip(corner, no_load, strict=True), strict=True))
