"""Links: how the simulated robot is talked to. Adding one is one module here, found by its name (``link=udp``).

Such a module has one function, ``open_link(face, *, option=default, ...) -> Link``. Its keyword-only options must have
defaults; ``link.option=value`` on the command line sets them, converted to the type of the default.

The robot calls ``poll`` before every physics step and ``publish`` after it; in lockstep it polls until a command is
there and publishes once for each. Both return at once: whatever blocks would hold up the physics. A link never raises
because of what a peer sent; it counts that in ``rejected`` and goes on. PD law, watchdog, noise and delays are the
robot's: a link only translates names and bytes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_envs.robot_config import RobotConfig

Option = int | float | str | bool


@dataclass(frozen=True)
class Face:
    """What of the robot can be seen from outside."""

    robot: RobotConfig
    """Its name, motor order in the vendor's messages, limits."""
    joints: tuple[str, ...]
    """Joints in the order of every ``Command``."""
    signals: Mapping[str, tuple[str, ...]]
    """Signal -> its elements, as in every ``Reading``."""


class Link(Protocol):
    """One transport, robot side."""

    @property
    def rejected(self) -> Mapping[str, int]:
        """Reason -> how many messages were ignored for it."""
        ...

    @property
    def client(self) -> Mapping[str, Option]:
        """Options with which the driver of the same name reaches this robot, such as ``{"port": 5600}``."""
        ...

    def poll(self) -> Command | None:
        """Return the newest command that has not been returned yet, without waiting.

        Only commands that arrived whole, for this robot's joints and with finite numbers count.
        """
        ...

    def publish(self, reading: Reading) -> None:
        """Send ``reading`` to whoever listens, without waiting.

        ``reading.stamp`` is the robot's own time [s] since it started, ``reading.tick`` its count of physics steps.
        """
        ...

    def close(self) -> None:
        """Let go of sockets and threads."""
        ...


def link_names() -> list[str]:
    """Return the names of all links."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def open_link(name: str, face: Face, options: Mapping[str, str]) -> Link:
    """Return link ``name`` of the robot ``face``; ``options`` are the words after ``link.``, unconverted."""
    if name not in link_names():
        raise RobodistillError(unknown("link", name, link_names()))
    function = importlib.import_module(f"{__name__}.{name}").open_link
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for key in options:
        if key not in defaults:
            raise RobodistillError(f"link {name!r}: {unknown('option', key, defaults)}")
    values = {key: convert(text, type(defaults[key]), f"link.{key}") for key, text in options.items()}
    return function(face, **values)


def convert(text: str, kind: type, where: str) -> Option:
    """Return ``text`` as an int, float, str or bool."""
    if kind is bool:
        if text not in ("true", "false"):
            raise RobodistillError(f"{where}: write true or false, got {text!r}")
        return text == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise RobodistillError(f"{where}: expected {kind.__name__}, got {text!r}") from error
