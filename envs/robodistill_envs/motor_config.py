"""What separates a robot's motors from ideal ones, as data; ``motors`` tells MuJoCo."""

from __future__ import annotations

from dataclasses import dataclass

from robodistill_deploy.errors import SpecError

FRICTION, DAMPING = "motor_friction", "motor_damping"
"""Names of the parameters that hold the drawn factors on friction and damping, one per motor."""


PER_JOINT = ("corner_speed", "no_load_speed", "friction", "damping", "armature", "backlash")
"""Options with a value for each actuated joint."""


@dataclass(frozen=True)
class MotorConfig:
    """Every option is off by default. Lists follow the robot's actuated joints; one number stands for all.

    What rubs, and the rotor's inertia, sit on the motor's side of a backlash, and so does the encoder.
    """

    torque_speed: bool = False
    """Limit the torque by the speed: full up to ``corner_speed``, then falling linearly, none at ``no_load_speed``."""
    corner_speed: tuple[float, ...] = (0.0,)
    """[rad/s] up to which the motor makes its effort limit; empty: 0"""
    no_load_speed: tuple[float, ...] = ()
    """[rad/s]; empty: the action's velocity limit"""
    friction: tuple[float, ...] = ()
    """[N m] static (Coulomb) friction; empty: the model file's"""
    damping: tuple[float, ...] = ()
    """[N m s/rad] viscous friction; empty: the model file's"""
    armature: tuple[float, ...] = ()
    """[kg m^2] rotor inertia seen at the joint; empty: the model file's"""
    friction_scale: tuple[float, float] = (1.0, 1.0)
    """Range of the factor on static friction, drawn per motor, world and episode."""
    damping_scale: tuple[float, float] = (1.0, 1.0)
    """Range of the factor on viscous friction, drawn alike."""
    backlash: tuple[float, ...] = (0.0,)
    """[rad] free play between motor and link, from stop to stop"""

    def __post_init__(self) -> None:
        """Refuse negative numbers and empty ranges."""
        for name in PER_JOINT:
            if any(value < 0.0 for value in getattr(self, name)):
                raise SpecError(f"motors: {name} has a negative value")
        for name in ("friction_scale", "damping_scale"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high:
                raise SpecError(f"motors: {name} {[low, high]} is no range of factors; write [low, high] with 0 <= low")

    @property
    def drawn(self) -> dict[str, tuple[float, float]]:
        """Return parameter -> range of its factor, for what is randomised."""
        ranges = {FRICTION: self.friction_scale, DAMPING: self.damping_scale}
        return {name: (low, high) for name, (low, high) in ranges.items() if (low, high) != (1.0, 1.0)}
