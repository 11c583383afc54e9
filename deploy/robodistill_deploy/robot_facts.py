"""RobotFacts: what a policy file knows of the robot itself, beyond the interface that it is driven through."""

from __future__ import annotations

import re
from dataclasses import dataclass

from robodistill_deploy.conditions import Numbers
from robodistill_deploy.errors import SpecError, unknown
from robodistill_deploy.spec import InterfaceSpec

JOINT_KINDS = ("joint_position", "joint_velocity", "joint_effort")
"""Kinds of action parts whose names are joints."""


@dataclass(frozen=True)
class Waypoint:
    """One pose on the way from lying to standing."""

    seconds: float
    """[s] to get there from the waypoint before, or from the measured pose"""
    position: Numbers
    """[rad] per joint, in the order of ``RobotFacts.joints``"""


@dataclass(frozen=True)
class RobotFacts:
    """The robot as simulated: compare with the data sheet, and with the model that a check runs on."""

    mjcf_sha256: str
    """Of the model file that the policy was trained on."""
    joints: tuple[str, ...]
    """Joints of all action parts, in their order."""
    armature: Numbers
    """[kg m^2] inertia of the rotor seen at the joint, read back from the compiled model"""
    friction: Numbers
    """[N m] static friction of the joint, nominal"""
    damping: Numbers
    """[N m s/rad] viscous friction of the joint, nominal; not the servo's kd"""
    motor_order: tuple[str, ...]
    """The joints in the order of the vendor's messages; empty where the robot declares none."""
    stand_up: tuple[Waypoint, ...]
    """Poses from lying to the default pose; empty where the robot declares none."""

    def __post_init__(self) -> None:
        """Refuse lists of different lengths and an order that is none of these joints."""
        if not re.fullmatch("[0-9a-f]{64}", self.mjcf_sha256):
            raise SpecError("robot: mjcf_sha256 must be 64 hexadecimal digits; export the policy again")
        for name in ("armature", "friction", "damping"):
            _check_length(name, getattr(self, name), len(self.joints))
            if any(value < 0.0 for value in getattr(self, name)):
                raise SpecError(f"robot: {name} has a negative value")
        if self.motor_order and sorted(self.motor_order) != sorted(self.joints):
            strange = next((n for n in self.motor_order if n not in self.joints), "")
            what = unknown("joint", strange, self.joints) if strange else "a joint is missing or doubled"
            raise SpecError(f"robot: motor_order: {what}")
        for i, waypoint in enumerate(self.stand_up):
            _check_length(f"stand_up[{i}].position", waypoint.position, len(self.joints))
            if not waypoint.seconds > 0.0:
                raise SpecError(f"robot: stand_up[{i}] takes {waypoint.seconds} s, must be above 0")

    def check(self, interface: InterfaceSpec) -> None:
        """Refuse facts of another robot than the one that ``interface`` drives."""
        parts = [part for part in interface.actions if part.kind in JOINT_KINDS]
        joints = tuple(name for part in parts for name in part.names)
        if self.joints != joints:
            raise SpecError(f"robot: joints are {', '.join(self.joints)}, the actions': {', '.join(joints)}")
        if self.stand_up and any(part.kind != "joint_position" for part in parts):
            raise SpecError("robot: stand_up needs joints that are all driven by position; leave it out")
        limits = [limit for part in parts for limit in zip(part.lower, part.upper, strict=True)]
        for i, waypoint in enumerate(self.stand_up):
            for name, value, (low, high) in zip(joints, waypoint.position, limits, strict=True):
                if not low <= value <= high:
                    raise SpecError(f"robot: stand_up[{i}]: {name!r} at {value} is outside [{low}, {high}]")


def _check_length(name: str, values: Numbers, wanted: int) -> None:
    if len(values) != wanted:
        raise SpecError(f"robot: {name} has {len(values)} values for {wanted} joints")
