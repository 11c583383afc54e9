"""InterfaceSpec: what a policy reads and writes, in order, in SI units.

Composed once from YAML; the environment is built from it, the exported graph is traced from it and
the runtime reads it back out of ``policy.onnx``. There is no second place for an order or a scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from robodistill_deploy.codec import from_plain, to_plain
from robodistill_deploy.errors import SpecError, unknown

Source = Literal["sensor", "command", "internal", "estimated", "privileged"]
ActionKind = Literal["joint_position", "joint_velocity", "joint_effort", "base_twist"]

SCHEMA = "robodistill.interface/1"


@dataclass(frozen=True)
class SignalSpec:
    """What a robot's driver delivers each tick (or an operator, for a command)."""

    name: str
    """Such as ``imu_quat_wxyz`` or ``joint_pos``."""
    elements: tuple[str, ...]
    """One name per number, in order: joint names, axes, ``w x y z``."""
    unit: str
    frame: str
    source: Source
    """``sensor`` or ``command``: who delivers it."""

    @property
    def dim(self) -> int:
        """Return how many numbers the signal has."""
        return len(self.elements)


@dataclass(frozen=True)
class TermSpec:
    """A pure function of signals (or of privileged state) that a network reads."""

    name: str
    type: str
    """The function, as ``package.module:function``."""
    source: Source
    inputs: tuple[str, ...]
    """Names of the signals or internal states that it reads; empty for privileged terms."""
    dim: int
    unit: str
    frame: str
    scale: tuple[float, ...]
    """Multiplies the value, one per element."""
    clip: float
    """The scaled value is clipped to +-clip."""
    params: dict[str, Any]
    mirror: tuple[tuple[int, ...], tuple[float, ...]] | None
    """Left-right reflection: ``mirrored[i] = sign[i] * value[permutation[i]]``."""


@dataclass(frozen=True)
class ActionPart:
    """One group of the robot's inputs. Target = default + scale * raw action, clipped to the limits."""

    name: str
    kind: ActionKind
    names: tuple[str, ...]
    default: tuple[float, ...]
    scale: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    kp: tuple[float, ...]
    """[N m/rad] for joint_position, zeros where the kind has none."""
    kd: tuple[float, ...]
    """[N m s/rad]"""
    effort_limit: tuple[float, ...]
    """[N m]"""
    velocity_limit: tuple[float, ...]
    """[rad/s]"""
    unit: str
    mirror: tuple[tuple[int, ...], tuple[float, ...]] | None

    def __post_init__(self) -> None:
        """Refuse lists of different lengths and empty ranges."""
        for field in ("default", "scale", "lower", "upper", "kp", "kd", "effort_limit", "velocity_limit"):
            got = len(getattr(self, field))
            if got != len(self.names):
                raise SpecError(f"action part {self.name!r}: {field} has {got} values for {len(self.names)} names")
        if any(lo >= hi for lo, hi in zip(self.lower, self.upper, strict=True)):
            raise SpecError(f"action part {self.name!r}: a lower limit is not below its upper limit")

    @property
    def dim(self) -> int:
        """Return how many numbers the part has."""
        return len(self.names)


@dataclass(frozen=True)
class CommandSpec:
    """The ranges that a command signal was trained in."""

    signal: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True)
class InternalSpec:
    """State that the interface itself carries from tick to tick: last action, gait phase."""

    name: str
    type: str
    """The class, as ``package.module:Class``, a module with ``initial()`` and ``forward(state, action)``."""
    dim: int
    params: dict[str, Any]


@dataclass(frozen=True)
class InterfaceSpec:
    """Everything that must be the same in training, evaluation, the exported file and on the robot."""

    schema: str
    robot: str
    task: str
    control_dt: float
    """[s] between two policy ticks"""
    physics_dt: float
    """[s] of the simulation it was trained in"""
    signals: tuple[SignalSpec, ...]
    internals: tuple[InternalSpec, ...]
    groups: dict[str, tuple[TermSpec, ...]]
    actions: tuple[ActionPart, ...]
    commands: tuple[CommandSpec, ...]

    def __post_init__(self) -> None:
        """Refuse doubled names and terms that read what nobody delivers."""
        if self.schema != SCHEMA:
            raise SpecError(f"interface schema {self.schema!r}: this version reads {SCHEMA!r}")
        names = [s.name for s in self.signals] + [i.name for i in self.internals]
        for name in names:
            if names.count(name) > 1:
                raise SpecError(f"signal or internal {name!r} is declared twice")
        for group, terms in self.groups.items():
            for term in terms:
                for wanted in term.inputs:
                    if wanted not in names:
                        raise SpecError(f"group {group!r}, term {term.name!r}: {unknown('input', wanted, names)}")

    @property
    def action_dim(self) -> int:
        """Return how many numbers all action parts have together."""
        return sum(part.dim for part in self.actions)

    def signal(self, name: str) -> SignalSpec:
        """Return the signal called ``name``."""
        for signal in self.signals:
            if signal.name == name:
                return signal
        raise SpecError(unknown("signal", name, [s.name for s in self.signals]))

    def group_dim(self, group: str) -> int:
        """Return the width of an observation group."""
        return sum(term.dim for term in self.terms(group))

    def terms(self, group: str) -> tuple[TermSpec, ...]:
        """Return the terms of ``group`` in the order the network reads them."""
        if group not in self.groups:
            raise SpecError(unknown("group", group, self.groups))
        return self.groups[group]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return to_plain(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> InterfaceSpec:
        """Read plain values back; a missing or unknown field is a SpecError."""
        return from_plain(InterfaceSpec, dict(data))
