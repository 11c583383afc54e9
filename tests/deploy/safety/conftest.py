"""A robot with every kind of action part, whose joints and signals come in orders of their own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.policy_spec import Statistics
from robodistill_deploy.safety import Event, FilterState, SafetyFilter, Sensors, Target, limits_for
from robodistill_deploy.safety.layout import Layout
from robodistill_deploy.safety_limits import SafetyLimits
from robodistill_deploy.spec import SCHEMA, ActionPart, InterfaceSpec, SignalSpec, TermSpec

JOINTS = ("wheel", "thigh", "arm", "hip")
SIGNALS = {
    "joint_vel": ("hip", "thigh", "arm", "wheel"),
    "imu_quat_wxyz": ("x", "y", "z", "w"),  # a driver that orders otherwise is matched by name too
    "joint_pos": ("thigh", "hip", "wheel", "arm"),
    "imu_gyro": ("x", "y", "z"),
}
DT = 0.005
DEFAULT = {"hip": 0.1, "thigh": 0.8, "wheel": 0.0, "arm": 0.0}


def _part(name: str, kind: str, names: tuple[str, ...], **values: tuple[float, ...]) -> ActionPart:
    zeros = (0.0,) * len(names)
    fields: dict[str, Any] = {"default": zeros, "scale": (1.0,) * len(names), "kp": zeros, "kd": zeros}
    fields |= {"effort_limit": zeros, "velocity_limit": zeros} | values
    return ActionPart(name=name, kind=kind, names=names, unit="rad", mirror=None, **fields)  # pyright: ignore[reportArgumentType]


def interface() -> InterfaceSpec:
    kinds = {"joint_pos": ("hip", "thigh", "wheel", "arm"), "joint_vel": ("hip", "thigh", "wheel", "arm")}
    kinds |= {"imu_gyro": ("x", "y", "z"), "imu_quat_wxyz": ("w", "x", "y", "z")}
    signals = tuple(SignalSpec(name, elements, "1", "body", "sensor") for name, elements in kinds.items())
    terms = tuple(
        TermSpec(
            name=signal.name, type="robodistill_envs.terms.observations:identity", source="sensor",
            inputs=(signal.name,), dim=signal.dim, unit="1", frame="body", scale=(0.5,) * signal.dim, clip=10.0,
            params={}, mirror=None,
        )
        for signal in signals
    )  # fmt: skip
    return InterfaceSpec(
        schema=SCHEMA, robot="rig", task="rig", control_dt=0.02, physics_dt=0.005, signals=signals, internals=(),
        groups={"sensors": terms}, commands=(),
        actions=(
            _part("legs", "joint_position", ("hip", "thigh"), default=(0.1, 0.8), lower=(-1.0, -1.5), upper=(1.0, 3.4),
                  kp=(35.0, 40.0), kd=(0.8, 0.9), effort_limit=(23.7, 20.0), velocity_limit=(30.0, 20.0)),
            _part("wheel", "joint_velocity", ("wheel",), lower=(-9.0,), upper=(12.0,), kd=(0.7,), effort_limit=(3.0,),
                  velocity_limit=(10.0,)),
            _part("arm", "joint_effort", ("arm",), lower=(-4.0,), upper=(4.0,), kd=(0.2,), effort_limit=(3.0,),
                  velocity_limit=(8.0,)),
            _part("base", "base_twist", ("vx", "vy", "yaw"), lower=(-1.0, -0.5, -1.0), upper=(1.5, 0.5, 1.0)),
        ),
    )  # fmt: skip


class Rig:
    """A filter, good inputs for it, and what every command must keep, worked out from the interface alone."""

    def __init__(self, **changes: Any) -> None:
        self.face = interface()
        self.limits: SafetyLimits = dataclasses.replace(limits_for(self.face), **changes)
        self.layout = Layout(self.face, JOINTS, SIGNALS)
        seen = {term.name: Statistics((0.0,) * term.dim, (1.0,) * term.dim) for term in self.face.terms("sensors")}
        self.filter = SafetyFilter(self.layout, self.limits, seen)
        self.default = np.array([v for part in self.face.actions for v in part.default])
        self._noise = np.random.default_rng(3)

    def signals(self, **own: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Return a level robot at its default pose, with noise, changed by ``own[signal][element]``."""
        values: dict[str, dict[str, float]] = {name: dict.fromkeys(elements, 0.0) for name, elements in SIGNALS.items()}
        values["joint_pos"] = dict(DEFAULT)
        values["imu_quat_wxyz"]["w"] = 1.0
        values["imu_gyro"]["x"] = 1e-3 * float(self._noise.normal())
        for name, elements in own.items():
            values[name].update(elements)
        return {name: np.array([values[name][e] for e in elements]) for name, elements in SIGNALS.items()}

    def reading(self, t: float, tick: int | None = None, **own: Mapping[str, float]) -> Reading:
        return Reading(t, round(t / DT) if tick is None else tick, self.signals(**own))

    def target(self, t: float, values: Any = None, *, by_policy: bool = True) -> Target:
        return Target(self.default if values is None else np.asarray(values), t, by_policy)

    def run(self, seconds: float, state: FilterState, begin: float, **own: Any) -> tuple[FilterState, list[Event]]:
        """Step with good inputs, changed by ``own``, from ``begin`` [s] on; check every command on the way."""
        events: list[Event] = []
        for i in range(1, round(seconds / DT) + 1):
            t = begin + i * DT
            reading = self.reading(t, **own)
            before = state
            state, command, new = self.filter.step(state, Sensors(reading, t), self.target(t), t)
            self.check(before, state, command)
            events += new
        return state, events

    def check(self, before: FilterState, after: FilterState, command: Command) -> None:
        """Fail unless ``command`` keeps every limit."""
        arrays = {f.name: getattr(command, f.name) for f in dataclasses.fields(command)}
        for name, array in arrays.items():
            assert np.isfinite(array).all(), name
            assert array.shape == ((3,) if name == "twist" else (len(JOINTS),)), name
        if after.previous is None:
            self.check_damping(command)
            return
        dt = min(max(after.t - before.t, 0.0), self.face.control_dt)
        x = dict(zip(self._places(), after.measurement.tolist(), strict=True))  # pyright: ignore[reportOptionalMemberAccess]
        values = after.previous.tolist()
        for part in self.face.actions:
            for i, name in enumerate(part.names):
                now, values = values[0], values[1:]
                self._check_value(part, i, now)
                if part.kind != "base_twist":
                    self._check_joint(part, i, command, JOINTS.index(name), x)
        if before.previous is not None:
            rates = np.array([r for part in self.face.actions for r in self.limits.max_target_rate[part.name]])
            assert (np.abs(after.previous - before.previous) <= rates * dt + 1e-12).all()

    def check_damping(self, command: Command) -> None:
        for array in (command.position, command.velocity, command.kp, command.effort, command.twist):
            assert not array.any()
        assert (command.kd > 0.0).all()

    def _places(self) -> list[tuple[str, str]]:
        return [(name, element) for name, elements in SIGNALS.items() for element in elements]

    def _check_value(self, part: ActionPart, i: int, value: float) -> None:
        low, high = part.lower[i], part.upper[i]
        if part.kind == "joint_position":
            middle, half = (low + high) / 2, self.limits.soft_limit_factor * (high - low) / 2
            low, high = middle - half, middle + half
        elif part.kind == "joint_velocity":
            low, high = max(low, -part.velocity_limit[i]), min(high, part.velocity_limit[i])
        elif part.kind == "joint_effort":
            low, high = max(low, -part.effort_limit[i]), min(high, part.effort_limit[i])
        assert low - 1e-12 <= value <= high + 1e-12, part.names[i]

    def _check_joint(self, part: ActionPart, i: int, command: Command, j: int, x: dict[tuple[str, str], float]) -> None:
        name = part.names[i]
        kp, kd = command.kp[j], command.kd[j]
        assert 0.0 <= kp <= part.kp[i]
        assert 0.0 <= kd <= part.kd[i]
        kinds = {"joint_position": command.position, "joint_velocity": command.velocity, "joint_effort": command.effort}
        for kind, array in kinds.items():
            assert array[j] == 0.0 or kind == part.kind, (name, kind)
        effort = kp * (command.position[j] - x["joint_pos", name]) + command.effort[j]
        effort += kd * (command.velocity[j] - x["joint_vel", name])
        assert math.fabs(effort) <= part.effort_limit[i] * (1.0 + 1e-6), name


@pytest.fixture(scope="session")
def rig() -> Rig:
    """The robot with its default limits."""
    return Rig()


@pytest.fixture(scope="session")
def make_rig() -> Callable[..., Rig]:
    """``make_rig(max_tilt=0.5)``: the robot with other limits."""
    return Rig
