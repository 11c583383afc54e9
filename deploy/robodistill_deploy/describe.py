"""A policy as plain text: what a person compares with the robot's data sheet before switching it on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.robot_facts import RobotFacts
from robodistill_deploy.safety_limits import SafetyLimits
from robodistill_deploy.spec import ActionPart

_WIDTH = 110
_SAFETY_UNITS = {
    **dict.fromkeys(("position_margin", "max_tilt", "max_fall_tilt"), "rad"),
    **dict.fromkeys(("fall_horizon", "max_sensor_age", "max_frozen", "max_command_age"), "s"),
    **dict.fromkeys(("ood_persistence", "persistence"), "s"),
    "max_target_rate": "unit of the target a second",
    "damping_kd": "N m s/rad",
    "missed_deadlines": "control periods",
    "ood_sigmas": "standard deviations",
    "ood_floor": "of the scaled term",
    "soft_limit_factor": "of the range",
    "effort_factor": "of the limit",
}
_GAINS = ("kp [N m/rad]", "kd [N m s/rad]", "effort limit [N m]", "velocity limit [rad/s]")


def describe(spec: PolicySpec) -> str:
    """Return all that ``spec`` says, section by section; only the self-test's numbers are left out."""
    sections = [
        _head(spec),
        _signals(spec),
        _terms(spec),
        _states(spec),
        *(_action(part) for part in spec.interface.actions),
        _robot(spec.robot),
        _commands(spec),
        _safety(spec.safety),
        _envelope(spec),
        _provenance(spec),
        _self_test(spec),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(spec: PolicySpec) -> str:
    face = spec.interface
    return _pairs(
        ("robot", face.robot),
        ("task", face.task),
        ("observations", f"group {spec.group!r}, {face.group_dim(spec.group)} numbers"),
        ("control", _rate(face.control_dt)),
        ("simulation", _rate(face.physics_dt)),
        ("digest", spec.digest),
    )


def _signals(spec: PolicySpec) -> str:
    rows = [
        (s.name, s.source, s.unit, s.frame, str(s.dim), ", ".join(s.elements)) for s in spec.interface.signals
    ]
    header = ("signal", "from", "unit", "frame", "size", "elements, in order")
    return _titled("SIGNALS to deliver each tick", table(header, rows))


def _terms(spec: PolicySpec) -> str:
    rows = []
    for term in spec.interface.terms(spec.group):
        seen = spec.envelope.observations[term.name]
        rows.append(
            (
                term.name,
                ", ".join(term.inputs),
                term.unit,
                term.frame,
                str(term.dim),
                _span(term.scale),
                f"+-{_number(term.clip)}",
                _span(seen.mean),
                _span(seen.std),
            )
        )
    header = ("term", "computed from", "unit", "frame", "size", "scale", "clip", "mean", "std")
    return _titled(
        "TERMS that the network reads; mean and std in training, after scale and clip", table(header, rows)
    )


def _states(spec: PolicySpec) -> str:
    rows = [(s.name, s.kind, "x".join(map(str, s.shape)), _span(s.initial)) for s in spec.states]
    title = "STATE carried from tick to tick; a window holds its observations oldest first"
    return _titled(title, table(("state", "kind", "shape", "initial"), rows)) if rows else ""


def _action(part: ActionPart) -> str:
    columns = (part.default, part.scale, part.lower, part.upper, part.kp, part.kd, part.effort_limit)
    rows = [
        (name, *(_number(column[i]) for column in (*columns, part.velocity_limit)))
        for i, name in enumerate(part.names)
    ]
    header = ("name", "default", "scale", "lower", "upper", *_GAINS)
    return _titled(f"ACTION {part.name!r}: {part.kind} [{part.unit}]", table(header, rows))


def _robot(robot: RobotFacts) -> str:
    if not robot.joints:
        return ""
    place = {name: str(i) for i, name in enumerate(robot.motor_order)}
    poses = {f"{i + 1}: {_number(w.seconds)} s": w.position for i, w in enumerate(robot.stand_up)}
    columns = (robot.armature, robot.friction, robot.damping)
    rows = [
        (name, place.get(name, ""), *(_number(column[i]) for column in (*columns, *poses.values())))
        for i, name in enumerate(robot.joints)
    ]
    header = ("joint", "vendor's index", "armature [kg m2]", "friction [N m]", "damping [N m s/rad]", *poses)
    title = "ROBOT as simulated" + (", and its poses on the way to standing [rad]" if poses else "")
    return _titled(f"{title}; model file {robot.mjcf_sha256[:16]}...", table(header, rows))


def _commands(spec: PolicySpec) -> str:
    rows = []
    for command in spec.interface.commands:
        signal, rule = spec.interface.signal(command.signal), spec.commands[command.signal]
        limits = rule.rate_limit or (math.inf,) * signal.dim
        ends = zip(signal.elements, command.lower, command.upper, rule.default, limits, strict=True)
        rows += [(signal.name, name, *map(_number, numbers), signal.unit) for name, *numbers in ends]
    header = ("command", "element", "lower", "upper", "default", "change a second", "unit")
    return _titled("COMMANDS trained in", table(header, rows)) if rows else ""


def _safety(limits: SafetyLimits) -> str:
    rows: list[tuple[str, str, str]] = []
    for field in dataclasses.fields(limits):
        value = getattr(limits, field.name)
        parts = value if isinstance(value, dict) else {"": (value,)}
        words = field.name.replace("_", " ")
        unit = _SAFETY_UNITS.get(field.name, "")
        rows += [(f"{words} {part}".rstrip(), _span(numbers), unit) for part, numbers in parts.items()]
    title = "SAFETY: thresholds of the filter between policy and robot"
    return _titled(title, table(("threshold", "value", "unit"), rows))


def _envelope(spec: PolicySpec) -> str:
    envelope = spec.envelope
    units = {signal.name: signal.unit for signal in spec.interface.signals}
    rows = [
        ("delay of signals", *(f"{1000.0 * t:.4g}" for t in envelope.signal_delay), "ms"),
        ("delay of actions", *(f"{1000.0 * t:.4g}" for t in envelope.action_delay), "ms"),
    ]
    rows += [(name, _span(r.lower), _span(r.upper), r.unit) for name, r in envelope.randomization.items()]
    noise = [
        (f"noise of {name}", "std", _number(std), units[name]) for name, std in envelope.signal_noise.items()
    ]
    noise += [
        (f"resolution of {name}", "step", _number(step), units[name])
        for name, step in envelope.signal_quantum.items()
    ]
    return _titled("ENVELOPE trained in", table(("what", "lower", "upper", "unit"), rows + noise))


def _provenance(spec: PolicySpec) -> str:
    origin = spec.provenance
    pairs = [
        ("robodistill", origin.robodistill),
        ("git", origin.git),
        ("torch", origin.torch),
        ("onnxruntime", origin.onnxruntime),
        ("created", origin.created),
        ("method", origin.method),
        ("seed", str(origin.seed)),
        ("license", origin.license),
        ("task, sha256", origin.task_sha256),
        *((f"{role}, sha256", digest) for role, digest in origin.checkpoints.items()),
    ]
    return _titled("PROVENANCE", _pairs(*pairs))


def _self_test(spec: PolicySpec) -> str:
    test = spec.self_test
    return _titled(
        "SELF-TEST replayed at every load",
        f"{len(test.ticks)} single ticks, a sequence of {len(test.sequence)}; tolerance {test.atol:g} of a scale",
    )


def _rate(dt: float) -> str:
    return f"{1.0 / dt:.6g} Hz ({1000.0 * dt:.6g} ms)"


def _number(value: float) -> str:
    """Return ``value`` to six digits; the file holds all of them."""
    return f"{value:.6g}"


def _span(values: Sequence[float]) -> str:
    """Return one number if all are equal, else the smallest and the largest."""
    if not values:
        return ""
    low, high = _number(min(values)), _number(max(values))
    return low if low == high else f"{low} .. {high}"


def _titled(title: str, body: str) -> str:
    return f"{title}\n{body}"


def _pairs(*pairs: tuple[str, str]) -> str:
    width = max(len(key) for key, _ in pairs)
    return "\n".join(f"  {key:<{width}}  {value}" for key, value in pairs)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return ``rows`` in aligned columns; the last one wraps under itself when it is long."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    indent = 2 + sum(width + 2 for width in widths[:-1])
    text = []
    for line in lines:
        cells = "".join(f"{cell:<{width + 2}}" for cell, width in zip(line[:-1], widths[:-1], strict=True))
        first, *rest = _wrap(line[-1], max(_WIDTH - indent, 20))
        text.append(f"  {cells}{first}".rstrip())
        text += [" " * indent + piece for piece in rest]
    return "\n".join(text)


def _wrap(text: str, width: int) -> list[str]:
    """Break a comma-separated list after commas."""
    lines = [""]
    for word in text.split(", "):
        glue = ", " if lines[-1] else ""
        if lines[-1] and len(lines[-1]) + len(glue) + len(word) > width:
            lines[-1] += ","
            lines.append(word)
        else:
            lines[-1] += glue + word
    return lines
