"""Build the InterfaceSpec from a task: names, orders, scales and limits, written once in YAML."""

from __future__ import annotations

from robodistill_deploy.errors import SpecError
from robodistill_deploy.spec import (
    SCHEMA,
    ActionPart,
    CommandSpec,
    InterfaceSpec,
    InternalSpec,
    SignalSpec,
    TermSpec,
)
from robodistill_envs.config import TaskConfig, TermConfig
from robodistill_envs.robot_config import ActionConfig, RobotConfig, spread

Mirror = tuple[tuple[int, ...], tuple[float, ...]]
FEET_MIRROR: Mirror = ((1, 0, 3, 2), (1.0, 1.0, 1.0, 1.0))
"""Feet in the order front left, front right, rear left, rear right."""


def joint_mirror(robot: RobotConfig, names: tuple[str, ...]) -> Mirror:
    """Return the permutation and the signs by which left-right reflection acts on joints ``names``."""
    twins = [robot.mirror.get(name, name) for name in names]
    for twin in twins:
        if twin not in names:
            raise SpecError(f"robot {robot.name!r}: mirror joint {twin!r} is not among {', '.join(names)}")
    return tuple(names.index(t) for t in twins), tuple(robot.mirror_sign.get(name, 1.0) for name in names)


def _term_mirror(robot: RobotConfig, term: TermConfig) -> Mirror | None:
    if term.mirror is None:
        return None
    if term.mirror == "joints":
        return joint_mirror(robot, robot.actions[0].names)
    if term.mirror == "joints_unsigned":
        permutation, _ = joint_mirror(robot, robot.actions[0].names)
        return permutation, (1.0,) * len(permutation)
    if term.mirror == "feet":
        return FEET_MIRROR
    if isinstance(term.mirror, str):
        raise SpecError(
            f"term {term.name!r}: mirror {term.mirror!r} is none of 'joints', 'joints_unsigned', 'feet', signs"
        )
    return tuple(range(term.elements)), spread(term.mirror, term.elements, f"mirror of {term.name!r}")


def _term(robot: RobotConfig, term: TermConfig) -> TermSpec:
    return TermSpec(
        name=term.name, type=term.type, source=term.source, inputs=term.inputs, dim=term.elements, unit=term.unit,
        frame=term.frame, scale=spread(term.scale, term.elements, f"scale of {term.name!r}"), clip=term.clip,
        params=dict(term.params), mirror=_term_mirror(robot, term),
    )  # fmt: skip


def _action(robot: RobotConfig, action: ActionConfig) -> ActionPart:
    count = len(action.names)

    def values(field: str) -> tuple[float, ...]:
        return spread(getattr(action, field), count, f"action {action.name!r}, {field}")

    return ActionPart(
        name=action.name, kind=action.kind, names=action.names, default=values("default"), scale=values("scale"),
        lower=values("lower"), upper=values("upper"), kp=values("kp"), kd=values("kd"),
        effort_limit=values("effort_limit"), velocity_limit=values("velocity_limit"), unit=action.unit,
        mirror=joint_mirror(robot, action.names) if robot.mirror or robot.mirror_sign else None,
    )  # fmt: skip


def interface_of(task: TaskConfig) -> InterfaceSpec:
    """Return what ``task`` promises a policy: every group, every signal."""
    robot = task.robot
    signals = [SignalSpec(s.name, s.elements, s.unit, s.frame, "sensor") for s in robot.sensors]
    commands: tuple[CommandSpec, ...] = ()
    if task.command:
        c = task.command
        signals.append(SignalSpec(c.signal, c.elements, c.unit, c.frame, "command"))
        commands = (CommandSpec(c.signal, c.lower, c.upper),)
    return InterfaceSpec(
        schema=SCHEMA, robot=robot.name, task=task.name, control_dt=task.control_dt, physics_dt=task.physics.timestep,
        signals=tuple(signals),
        internals=tuple(InternalSpec(i.name, i.type, i.dim, dict(i.params)) for i in task.internals),
        groups={name: tuple(_term(robot, t) for t in terms) for name, terms in task.groups.items()},
        actions=tuple(_action(robot, a) for a in robot.actions), commands=commands,
    )  # fmt: skip
