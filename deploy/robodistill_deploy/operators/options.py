"""Find an operator by the words of the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robodistill_deploy.drivers.base import Remote
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.operators import Fixed, Operator
from robodistill_deploy.operators.device import PATIENCE
from robodistill_deploy.operators.steering import Steering
from robodistill_deploy.operators.stop import EmergencyStop
from robodistill_deploy.policy_spec import PolicySpec

OPERATORS = {
    "fixed": "Ctrl-C STOPS",
    "keyboard": "SPACE STOPS; Enter arms, W S A D Q E steer, + - speed, Ctrl-C ends",
    "gamepad": "B STOPS; START arms, hold LB to steer",
    "remote": "L2 + B STOPS; START arms, the sticks steer",
}
"""Name -> what a person must know to begin"""


def make_operator(
    name: str,
    spec: PolicySpec,
    stop: EmergencyStop,
    command: Sequence[float] | None = None,
    device: str | None = None,
    patience: float | None = None,
) -> tuple[Operator, Callable[[Remote], object] | None]:
    """Return operator ``name``, and what must look at the robot's remote, if anything must."""
    if name not in OPERATORS:
        raise RobodistillError(unknown("operator", name, OPERATORS))
    if name == "fixed":
        return Fixed(fixed_command(spec, command)), None
    if command is not None:
        raise RobodistillError(f"--command is for --operator fixed; {name} gives its own")
    if device is not None and name != "gamepad":
        raise RobodistillError("--device is for --operator gamepad")
    steering = Steering(spec)
    if name == "remote":
        from robodistill_deploy.operators.remote import RemoteOperator

        operator = RemoteOperator(steering, stop)
        return operator, operator.watch
    waits = PATIENCE if patience is None else patience
    if name == "keyboard":
        from robodistill_deploy.operators.keyboard import Keyboard  # termios: POSIX only

        return Keyboard(steering, stop, waits), None
    from robodistill_deploy.operators.gamepad import Gamepad  # fcntl: POSIX only

    return Gamepad(steering, stop, waits, device), None


def fixed_command(spec: PolicySpec, given: Sequence[float] | None) -> tuple[float, ...]:
    """Return the command; a policy that reads none takes none, one that is not given stands at its default."""
    signals = [s for s in spec.interface.signals if s.source == "command"]
    if given is None:
        return tuple(value for s in signals for value in spec.commands[s.name].default)
    elements = [element for s in signals for element in s.elements]
    if len(given) != len(elements):
        raise RobodistillError(
            f"--command has {len(given)} numbers, the policy reads {len(elements)}: {', '.join(elements) or 'none'}"
        )
    trained = {c.signal: c for c in spec.interface.commands}
    lower = [value for s in signals for value in trained[s.name].lower]
    upper = [value for s in signals for value in trained[s.name].upper]
    for element, value, low, high in zip(elements, given, lower, upper, strict=True):
        if not low <= value <= high:
            raise RobodistillError(f"--command: {element} {value:g} is outside what was trained, [{low:g}, {high:g}]")
    return tuple(given)
