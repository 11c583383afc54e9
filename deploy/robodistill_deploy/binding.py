"""Joints by name: from the policy's order to the robot's own.

Robots number their motors differently, and a policy driven in the wrong order moves, but wrongly. So
nothing here goes by position: a joint is found by its name or refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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

    The list must hold every driven joint (``check_joints``). A signal or part that covers some of the
    joints keeps its size and follows the robot's order among those. A signal with a joint that the robot
    does not list, because nothing drives it, keeps the policy's order; it is refused where the joints that
    are listed have another one, for then nobody can tell.
    """
    check_joints(interface, robot_joints)
    rank = {name: i for i, name in enumerate(robot_joints)}
    signals, inbound = [], {}
    for signal in interface.signals:
        _check_passive(signal, rank)
        order = _order(signal.elements, rank)
        signals.append(_permuted_signal(signal, order))
        inbound[signal.name] = None if order is None else np.argsort(order)
    actions, outbound = [], {}
    for part in interface.actions:
        order = _order(part.names, rank)
        actions.append(_permuted_part(part, order))
        outbound[part.name] = order
    return Binding(tuple(signals), tuple(actions), inbound, outbound)


def check_joints(interface: InterfaceSpec, robot_joints: Sequence[str]) -> None:
    """Refuse a robot's list that lacks a joint that the policy drives, or names one that it does not know.

    Joints without a motor are elements of signals only; the robot may list them or not.
    """
    listed = list(robot_joints)
    for name in listed:
        if listed.count(name) > 1:
            raise RobodistillError(f"the robot lists joint {name!r} twice")
    driven = [name for part in interface.actions if part.kind in JOINT_KINDS for name in part.names]
    known = set(listed).union(driven)
    beside = [s.elements for s in interface.signals if known.intersection(s.elements)]
    joints = list(dict.fromkeys([*driven, *(name for elements in beside for name in elements)]))
    for name in listed:
        if name not in joints:
            raise RobodistillError(f"the robot lists an {unknown('joint', name, joints)}")
    for name in driven or joints:
        if name not in listed:
            raise RobodistillError(
                f"the robot does not list the policy's joint {name!r}; it lists: {', '.join(listed)}"
            )


def _check_passive(signal: SignalSpec, rank: dict[str, int]) -> None:
    """Refuse a signal with unlisted joints whose listed ones come in another order than the robot's."""
    places = [rank[name] for name in signal.elements if name in rank]
    if len(places) < len(signal.elements) and places != sorted(places):
        missing = next(name for name in signal.elements if name not in rank)
        raise RobodistillError(
            f"the robot lists its joints in another order than signal {signal.name!r} and does not list "
            f"{missing!r}, so the signal's order is unknown; list every joint"
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
