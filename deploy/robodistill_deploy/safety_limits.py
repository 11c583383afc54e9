"""SafetyLimits: every threshold of the safety filter that the InterfaceSpec does not already hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from robodistill_deploy.errors import SpecError, unknown
from robodistill_deploy.spec import ActionPart, InterfaceSpec

Numbers = tuple[float, ...]

_DAMPING = 3.0
"""A trip damps with this many times the gain at which a joint at full speed needs its full torque."""
_POSITION_SPEED = 2.0
"""A position target may move this many times as fast as the joint itself."""
_SWEEP_TICKS = 2.0
"""A target of another kind may cross its whole range in this many policy ticks."""


@dataclass(frozen=True)
class SafetyLimits:
    """Thresholds. Limits of position, speed and effort stand in the interface and are not repeated here."""

    soft_limit_factor: float
    """Position targets keep to this share of a joint's range, about its middle."""
    position_margin: float
    """[rad] how far beyond its range a joint may be measured"""
    effort_factor: float
    """The predicted effort keeps to this share of the effort limit."""
    max_target_rate: dict[str, Numbers]
    """[unit/s] fastest change of a target, by action part, per name"""
    damping_kd: dict[str, Numbers]
    """[N m s/rad] gain after a trip, by joint action part, per name"""
    max_tilt: float
    """[rad] angle between the IMU's z axis and the vertical"""
    fall_horizon: float
    """[s] how far ahead the gyro's rates are followed"""
    max_fall_tilt: float
    """[rad] tilt to be expected after ``fall_horizon``"""
    max_sensor_age: float
    """[s] age of the newest reading in order"""
    max_frozen: float
    """[s] how long readings may repeat the same numbers bit for bit"""
    max_command_age: float
    """[s] since the operator was last heard: the dead man"""
    missed_deadlines: float
    """Control periods that a target of the policy may be old."""
    ood_sigmas: float
    """Standard deviations that a signal may be from its mean in training."""
    ood_floor: float
    """Smallest standard deviation taken for true, in units of the scaled term"""
    ood_persistence: float
    """[s] how long a signal must stay outside before it trips"""
    persistence: float
    """[s] how long tilt, fall and measured range must be violated before they trip"""

    def __post_init__(self) -> None:
        """Refuse values that would switch a rule off or make no sense."""
        for field in fields(self):
            value = getattr(self, field.name)
            lists = value.values() if isinstance(value, dict) else ((value,),)
            for number in (number for numbers in lists for number in numbers):
                if not (math.isfinite(number) and number > 0.0):
                    raise SpecError(f"safety: {field.name} must be finite and above 0, is {number}")
        for name in ("soft_limit_factor", "effort_factor"):
            if getattr(self, name) > 1.0:
                raise SpecError(f"safety: {name} must be at most 1, is {getattr(self, name)}")
        if self.max_tilt > math.pi or self.max_fall_tilt > math.pi:
            raise SpecError("safety: max_tilt and max_fall_tilt must be at most pi")

    def check(self, interface: InterfaceSpec) -> None:
        """Refuse limits that were made for other action parts than those of ``interface``."""
        every = {part.name: part.dim for part in interface.actions}
        joints = {part.name: part.dim for part in interface.actions if part.kind != "base_twist"}
        for field, dims in (("max_target_rate", every), ("damping_kd", joints)):
            given: dict[str, Numbers] = getattr(self, field)
            for name in given:
                if name not in dims:
                    raise SpecError(f"safety: {field} of {unknown('action part', name, dims)}")
            for name, dim in dims.items():
                if len(given.get(name, ())) != dim:
                    raise SpecError(
                        f"safety: {field} of action part {name!r} has {len(given.get(name, ()))} values for {dim} names"
                    )
        for part in interface.actions:
            _check_part(part, self)


def limits_for(interface: InterfaceSpec) -> SafetyLimits:
    """Return the default limits of a robot: scalars that suit legged robots, rates and gains from its motors."""
    joints = [part for part in interface.actions if part.kind != "base_twist"]
    return SafetyLimits(
        soft_limit_factor=0.95,
        position_margin=0.1,
        effort_factor=1.0,
        max_target_rate={part.name: _rates(part, interface.control_dt) for part in interface.actions},
        damping_kd={part.name: _damping(part) for part in joints},
        max_tilt=1.0,
        fall_horizon=0.1,
        max_fall_tilt=1.3,
        max_sensor_age=0.05,
        max_frozen=0.05,
        max_command_age=0.5,
        missed_deadlines=3.0,
        ood_sigmas=8.0,
        ood_floor=0.05,
        ood_persistence=0.1,
        persistence=0.02,
    )


def soft_range(part: ActionPart, limits: SafetyLimits) -> tuple[list[float], list[float]]:
    """Return the lowest and highest target of each name in ``part``, by the rules of its kind."""
    if part.kind == "joint_position":
        middle = [(a + b) / 2.0 for a, b in zip(part.lower, part.upper, strict=True)]
        half = [limits.soft_limit_factor * (b - a) / 2.0 for a, b in zip(part.lower, part.upper, strict=True)]
        return _around(middle, half)
    if part.kind == "base_twist":
        return list(part.lower), list(part.upper)
    bound = part.velocity_limit
    if part.kind == "joint_effort":
        bound = tuple(limits.effort_factor * effort for effort in part.effort_limit)
    return (
        [max(a, -b) for a, b in zip(part.lower, bound, strict=True)],
        [min(a, b) for a, b in zip(part.upper, bound, strict=True)],
    )


def _around(middle: list[float], half: list[float]) -> tuple[list[float], list[float]]:
    pairs = list(zip(middle, half, strict=True))
    return [m - h for m, h in pairs], [m + h for m, h in pairs]


def _rates(part: ActionPart, control_dt: float) -> Numbers:
    if part.kind == "joint_position":
        return tuple(_POSITION_SPEED * speed for speed in part.velocity_limit)
    span = zip(part.lower, part.upper, strict=True)
    return tuple((high - low) / (_SWEEP_TICKS * control_dt) for low, high in span)


def _damping(part: ActionPart) -> Numbers:
    motors = zip(part.effort_limit, part.velocity_limit, strict=True)
    if any(limit <= 0.0 for limit in (*part.effort_limit, *part.velocity_limit)):
        raise SpecError(f"action part {part.name!r}: effort_limit and velocity_limit must be above 0 to be safe")
    return tuple(_DAMPING * effort / speed for effort, speed in motors)


def _check_part(part: ActionPart, limits: SafetyLimits) -> None:
    lower, upper = soft_range(part, limits)
    if part.kind == "joint_position":
        rest, what = part.default, "its default"
        gains = part.kp
    else:
        rest, what = (0.0,) * part.dim, "standstill (0)"
        gains = part.kd if part.kind == "joint_velocity" else (1.0,) * part.dim
    for name, low, value, high, gain in zip(part.names, lower, rest, upper, gains, strict=True):
        if not low <= value <= high:
            raise SpecError(f"safety: {part.name} of {name!r}: {what} ({value}) is outside [{low:.4g}, {high:.4g}]")
        if gain <= 0.0:
            raise SpecError(f"action part {part.name!r}: the gain of {name!r} must be above 0, is {gain}")
