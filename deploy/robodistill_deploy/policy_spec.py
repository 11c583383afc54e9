"""PolicySpec: what a ``policy.onnx`` says about itself, so that nothing beside the file can go stale.

Made once at export, written as JSON at full precision into the ONNX file (``policy_file``), read back
by the runtime, which refuses a file that lacks a field, has one too many, or contradicts itself.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Literal

from robodistill_deploy import strict_json
from robodistill_deploy.codec import from_plain, to_plain
from robodistill_deploy.conditions import CommandRule, Envelope, Numbers, Range, Statistics
from robodistill_deploy.errors import SpecError, unknown
from robodistill_deploy.robot_facts import RobotFacts
from robodistill_deploy.safety_limits import SafetyLimits
from robodistill_deploy.spec import InterfaceSpec

__all__ = [
    "CommandRule", "Envelope", "PolicySpec", "Provenance", "Range", "SelfTest", "StateSpec", "Statistics", "Tick",
    "restrict",
]  # fmt: skip

SCHEMA = "robodistill.policy/2"
PLACEHOLDER = "0" * 64
"""The digest of a spec that has not been stamped into a file yet."""
MIN_SEQUENCE = 20
"""Ticks that a self-test sequence has at least: enough for a wrong state to show."""
MAX_ATOL = 1e-3
"""Largest tolerance a self-test may ask for, in units of the action scale."""

StateKind = Literal["internal", "hidden", "window", "flag"]
"""``internal``: of the interface, such as the last action. ``hidden``: of a recurrent network. ``window``: the last
observations, (1, length, size), oldest first, each in the order of the group's terms. ``flag``: 0 until the first
tick after a reset, in which the graph fills every window with that tick's observation."""


@dataclass(frozen=True)
class StateSpec:
    """A tensor carried from tick to tick: graph input ``state.<name>``, graph output ``next.<name>``."""

    name: str
    """Such as ``gru`` or ``last_action``."""
    kind: StateKind
    shape: tuple[int, ...]
    """The tensor's shape with its leading 1, such as ``(1, 128)``."""
    initial: Numbers
    """Values after a reset, flat, in C order."""

    def __post_init__(self) -> None:
        """Refuse a shape without its leading 1 and values that do not fill it."""
        if not self.shape or self.shape[0] != 1:
            raise SpecError(f"state {self.name!r}: shape {self.shape} must begin with 1, one robot per file")
        if self.kind == "window" and len(self.shape) != 3:
            raise SpecError(f"state {self.name!r}: a window has shape (1, length, size), not {self.shape}")
        if len(self.initial) != math.prod(self.shape):
            raise SpecError(f"state {self.name!r}: {len(self.initial)} initial values for shape {self.shape}")


@dataclass(frozen=True)
class Provenance:
    """Where the file comes from. The task is ``interface.task``."""

    robodistill: str
    """Version of the package that exported it."""
    git: str
    """Commit, with ``-dirty`` where files differed; ``unknown`` outside a clone."""
    torch: str
    onnxruntime: str
    """Version that replayed the self-test at export."""
    created: str
    """UTC, ISO 8601."""
    method: str
    """How the student was trained, such as ``dagger``."""
    checkpoints: dict[str, str]
    """Role (``teacher``, ``student``) to the sha256 of its checkpoint."""
    task_sha256: str
    """Of the resolved configuration of the task, as canonical JSON."""
    seed: int
    license: str
    """SPDX name."""


@dataclass(frozen=True)
class Tick:
    """One recorded tick: signals in, targets out, both in SI units and in the order of the interface."""

    reset: bool
    """Whether the state is re-initialised before this tick."""
    signals: dict[str, Numbers]
    actions: dict[str, Numbers]


@dataclass(frozen=True)
class SelfTest:
    """What the exporter saw the policy do; the runtime replays it at every load, on the robot's own CPU."""

    atol: float
    """Largest accepted difference of a target, in units of its scale."""
    ticks: tuple[Tick, ...]
    """Independent ticks, each from the initial state."""
    sequence: tuple[Tick, ...]
    """Consecutive ticks, with at least one reset on the way."""

    def __post_init__(self) -> None:
        """Refuse tests that could not fail."""
        if not 0.0 < self.atol <= MAX_ATOL:
            raise SpecError(f"self-test: atol {self.atol} must be above 0 and at most {MAX_ATOL}")
        if len(self.ticks) < 2 or not all(tick.reset for tick in self.ticks):
            raise SpecError("self-test: ticks must be at least 2, each with reset true")
        if len(self.sequence) < MIN_SEQUENCE or not self.sequence[0].reset:
            raise SpecError(
                f"self-test: sequence must have at least {MIN_SEQUENCE} ticks and begin with a reset"
            )
        if not any(tick.reset for tick in self.sequence[1:]):
            raise SpecError("self-test: sequence must hold a reset after its first tick")


@dataclass(frozen=True)
class PolicySpec:
    """Everything the runtime must know to drive a robot with the graph that it travels with."""

    schema: str
    group: str
    """The observation group that the policy reads."""
    interface: InterfaceSpec
    """Only what the policy needs: see ``restrict``."""
    robot: RobotFacts
    states: tuple[StateSpec, ...]
    commands: dict[str, CommandRule]
    """By signal; every command that the policy reads."""
    envelope: Envelope
    safety: SafetyLimits
    """Thresholds of the safety filter, made for this interface."""
    provenance: Provenance
    self_test: SelfTest
    digest: str
    """sha256, 64 hexadecimal digits, of the file with ``PLACEHOLDER`` in this field; ``stamp`` sets it."""

    def __post_init__(self) -> None:
        """Refuse a spec whose parts contradict each other."""
        if self.schema != SCHEMA:
            raise SpecError(
                f"policy schema {self.schema!r}: this version reads {SCHEMA!r}; export the policy again"
            )
        if not re.fullmatch("[0-9a-f]{64}", self.digest):
            raise SpecError(
                "policy digest must be 64 hexadecimal digits; begin with PLACEHOLDER and stamp the file"
            )
        if self.interface != restrict(self.interface, self.group):
            raise SpecError(
                f"the interface holds more than group {self.group!r} reads: pass it through restrict()"
            )
        _check_interface(self.interface)
        self.robot.check(self.interface)
        _check_commands(self)
        names = [state.name for state in self.states]
        if len(set(names)) != len(names):
            raise SpecError(f"a policy state is declared twice: {', '.join(names)}")
        self.safety.check(self.interface)
        _check_states(self)
        _check_envelope(self)
        for where, ticks in (("ticks", self.self_test.ticks), ("sequence", self.self_test.sequence)):
            for i, tick in enumerate(ticks):
                _check_tick(self.interface, tick, f"self-test: {where}[{i}]")

    def to_json(self) -> str:
        """Return one line of ASCII JSON with every float at full precision."""
        return strict_json.dumps(to_plain(self), "PolicySpec")

    @staticmethod
    def from_json(text: str) -> PolicySpec:
        """Read ``to_json`` back; a missing, unknown, doubled or ill-typed field is a SpecError."""
        return from_plain(PolicySpec, strict_json.loads(text, "PolicySpec"))


def restrict(interface: InterfaceSpec, group: str) -> InterfaceSpec:
    """Return ``interface`` with one group and only the signals, internals and commands that its terms read.

    A group with a privileged term cannot run on a robot and is refused by the term's name.
    """
    terms = interface.terms(group)
    for term in terms:
        if term.source == "privileged":
            raise SpecError(
                f"group {group!r}, term {term.name!r}: privileged, only a simulator knows it; leave it out"
            )
    read = {name for term in terms for name in term.inputs}
    return dataclasses.replace(
        interface,
        signals=tuple(s for s in interface.signals if s.name in read),
        internals=tuple(i for i in interface.internals if i.name in read),
        groups={group: terms},
        commands=tuple(c for c in interface.commands if c.signal in read),
    )


def _check_interface(interface: InterfaceSpec) -> None:
    for name in ("control_dt", "physics_dt"):
        if getattr(interface, name) <= 0.0:
            raise SpecError(f"interface: {name} must be above 0 s, is {getattr(interface, name)}")
    steps = interface.control_dt / interface.physics_dt
    if not 0.5 <= steps < 2**31 or abs(steps - round(steps)) > 1e-6:
        raise SpecError(
            f"interface: control_dt {interface.control_dt} s is no multiple of physics_dt {interface.physics_dt} s"
        )
    for command in interface.commands:
        dim = interface.signal(command.signal).dim
        if not len(command.lower) == len(command.upper) == dim:
            raise SpecError(f"command {command.signal!r} has {dim} elements, its ranges do not")


def _check_commands(spec: PolicySpec) -> None:
    ranges = {command.signal: command for command in spec.interface.commands}
    for name in spec.commands:
        if name not in ranges:
            raise SpecError(f"commands: {unknown('command', name, ranges)}")
    for name, trained in ranges.items():
        if name not in spec.commands:
            raise SpecError(f"commands: no default and rate limit of command {name!r}")
        rule = spec.commands[name]
        limits = rule.rate_limit if rule.rate_limit is not None else (1.0,) * len(rule.default)
        if not len(rule.default) == len(limits) == len(trained.lower):
            raise SpecError(f"commands: {name!r} has {len(trained.lower)} elements, its rule does not")
        if any(limit <= 0.0 for limit in limits):
            raise SpecError(f"commands: a rate limit of {name!r} is not above 0")
        inside = (a <= v <= b for a, v, b in zip(trained.lower, rule.default, trained.upper, strict=True))
        if not all(inside):
            raise SpecError(f"commands: the default {rule.default} of {name!r} is outside its trained range")


def _check_states(spec: PolicySpec) -> None:
    internals = {internal.name: internal.dim for internal in spec.interface.internals}
    for state in spec.states:
        if (state.kind == "internal") != (state.name in internals):
            raise SpecError(f"state {state.name!r} is of kind {state.kind!r}, the interface says otherwise")
        if state.kind == "window" and state.shape[2] != spec.interface.group_dim(spec.group):
            raise SpecError(
                f"state {state.name!r}: a window of {state.shape[2]} numbers for an observation of "
                f"{spec.interface.group_dim(spec.group)}"
            )
    for name in internals:
        if name not in [state.name for state in spec.states]:
            raise SpecError(f"no state for the interface's internal {name!r}")


def _check_envelope(spec: PolicySpec) -> None:
    signals = [signal.name for signal in spec.interface.signals]
    for what in ("noise", "quantum"):
        for name in getattr(spec.envelope, f"signal_{what}"):
            if name not in signals:
                raise SpecError(f"envelope: {what} of {unknown('signal', name, signals)}")
    terms = {term.name: term for term in spec.interface.terms(spec.group)}
    for name, statistics in spec.envelope.observations.items():
        if name not in terms:
            raise SpecError(f"envelope: observations of {unknown('term', name, terms)}")
        if not len(statistics.mean) == len(statistics.std) == terms[name].dim:
            raise SpecError(f"envelope: term {name!r} has {terms[name].dim} elements, its statistics do not")
        if any(std < 0.0 for std in statistics.std):
            raise SpecError(f"envelope: term {name!r} has a negative standard deviation")
    for name in terms:
        if name not in spec.envelope.observations:
            raise SpecError(f"envelope: no observation statistics of term {name!r}")


def _check_tick(interface: InterfaceSpec, tick: Tick, where: str) -> None:
    wanted = (
        ("signal", tick.signals, {signal.name: signal.dim for signal in interface.signals}),
        ("action", tick.actions, {part.name: part.dim for part in interface.actions}),
    )
    for kind, values, dims in wanted:
        for name, numbers in values.items():
            if name not in dims:
                raise SpecError(f"{where}: {unknown(kind, name, dims)}")
            if len(numbers) != dims[name]:
                raise SpecError(f"{where}: {kind} {name!r} has {len(numbers)} values, expected {dims[name]}")
        for name in dims:
            if name not in values:
                raise SpecError(f"{where}: no {kind} {name!r}")
