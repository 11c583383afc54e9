"""Joints by name: from the policy's order to the robot's own.

Robots number their motors differently, and a policy driven in the wrong order moves, but wrongly. So
nothing here goes by position: a joint is found by its name or refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.robot_facts import JOINT_KINDS
from robodistill_deploy.spec import ActionPart, InterfaceSpec, SignalSpec

Order = npt.NDArray[np.intp]

_PER_NAME = ("names", "default", "scale", "lower", "upper", "kp", "kd", "effort_limit", "velocity_limit")


@dataclass(frozen=True)
class Binding:
    """Signals and action parts in the order that a robot uses."""

    signals: tuple[SignalSpec, ...]
    actions: tuple[ActionPart, ...]
    inbound: dict[str, Order | None]
    """Per signal: ``policy_value = robot_value[order]``; None where the orders are the same."""
    outbound: dict[str, Order | None]
    """Per action part: ``robot_target = policy_target[order]``; None where the orders are the same."""


def identity(interface: InterfaceSpec) -> Binding:
    """Return the binding of a robot that uses the policy's own order."""
    return Binding(
        interface.signals,
        interface.actions,
        {signal.name: None for signal in interface.signals},
        {part.name: None for part in interface.actions},
    )


def bind(interface: InterfaceSpec, robot_joints: Sequence[str]) -> Binding:
    """Return the binding to a robot that lists its joints as ``robot_joints``.

    Joints are the names of joint action parts and the elements of every signal that mentions one. The
    robot's list must hold exactly these. A signal or part that covers some of the joints keeps its
    size and follows the robot's order among those.
    """
    rank = {name: i for i, name in enumerate(robot_joints)}
    if len(rank) != len(robot_joints):
        double = next(name for name in robot_joints if list(robot_joints).count(name) > 1)
        raise RobodistillError(f"the robot lists joint {double!r} twice")
    _check_names(_joints(interface, rank), rank)
    signals, inbound = [], {}
    for signal in interface.signals:
        order = _order(signal.elements, rank)
        signals.append(_permuted_signal(signal, order))
        inbound[signal.name] = None if order is None else np.argsort(order)
    actions, outbound = [], {}
    for part in interface.actions:
        order = _order(part.names, rank)
        actions.append(_permuted_part(part, order))
        outbound[part.name] = order
    return Binding(tuple(signals), tuple(actions), inbound, outbound)


def _joints(interface: InterfaceSpec, robot_joints: Iterable[str]) -> list[str]:
    known = set(robot_joints).union(*(part.names for part in interface.actions if part.kind in JOINT_KINDS))
    lists = [part.names for part in interface.actions if part.kind in JOINT_KINDS]
    lists += [signal.elements for signal in interface.signals if known.intersection(signal.elements)]
    return list(dict.fromkeys(name for names in lists for name in names))


def _check_names(joints: list[str], rank: dict[str, int]) -> None:
    for name in rank:
        if name not in joints:
            raise RobodistillError(f"the robot lists an {unknown('joint', name, joints)}")
    for name in joints:
        if name not in rank:
            raise RobodistillError(
                f"the robot does not list the policy's joint {name!r}; it lists: {', '.join(rank)}"
            )


def _order(names: tuple[str, ...], rank: dict[str, int]) -> Order | None:
    """Return at which index of ``names`` the robot's i-th one stands; None if no joints, or in order."""
    if not names or any(name not in rank for name in names):
        return None
    order = np.array(sorted(range(len(names)), key=lambda i: rank[names[i]]), dtype=np.intp)
    return None if np.array_equal(order, np.arange(len(names))) else order


def _permuted_signal(signal: SignalSpec, order: Order | None) -> SignalSpec:
    if order is None:
        return signal
    return dataclasses.replace(signal, elements=tuple(signal.elements[i] for i in order))


def _permuted_part(part: ActionPart, order: Order | None) -> ActionPart:
    if order is None:
        return part
    lists = {field: tuple(getattr(part, field)[i] for i in order) for field in _PER_NAME}
    mirror = part.mirror
    if mirror is not None:
        place = np.argsort(order)
        mirror = (tuple(int(place[mirror[0][i]]) for i in order), tuple(mirror[1][i] for i in order))
    return dataclasses.replace(part, mirror=mirror, **lists)
