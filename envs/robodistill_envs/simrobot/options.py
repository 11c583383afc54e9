"""Options of the simulated robot: how it starts, and how it differs from the model the policy was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_envs.simrobot.links import convert


@dataclass(frozen=True)
class Robot:
    """One simulated robot. The defaults are the task's nominal model with exact sensors."""

    lying: bool = False
    """Start damped on the floor instead of standing in the default pose."""
    scatter: float = 0.0
    """Joints start away from the default, up to this share of the task's reset range."""
    timestep: float = 0.002
    """[s] of a physics step; 0.002 at most"""
    seed: int = 0
    """Of noise, biases, pushes and scatter."""
    gain: float = 1.0
    """Factor on every kp and kd that is commanded."""
    friction: float = -1.0
    """Coefficient of the floor; -1 keeps the task's."""
    payload: float = 0.0
    """[kg] on the base, or on the outermost body of a robot without one; its inertia grows alike"""
    delay: float = 0.0
    """[s] until a command acts"""
    signal_delay: float = 0.0
    """[s] until a measurement is sent"""
    noise: float = 0.0
    """Sensor noise, as a share of the task's; with it comes the task's resolution."""
    bias: float = 0.0
    """Sensor biases, drawn once within this share of the task's range."""
    push: float = 0.0
    """[m/s] kick to the base, in a random horizontal direction"""
    push_every: float = 3.0
    """[s] between two pushes"""
    watchdog: float = 0.1
    """[s] without a command after which the robot damps itself"""
    watchdog_kd: float = 2.0
    """[N m s/rad] it damps itself with"""
    record: str = ""
    """File that gets a row per physics step: state, sensors, the command that acted; see ``track``. Empty: none."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if not 0.0 < self.timestep <= 0.002:
            raise RobodistillError(f"timestep={self.timestep}: physics needs steps of at most 0.002 s, above 0")
        if self.friction < 0.0 and self.friction != -1.0:
            raise RobodistillError(f"friction={self.friction}: must be 0 or more; -1 keeps the task's")
        for name in ("scatter", "gain", "delay", "signal_delay", "noise", "bias", "push"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise RobodistillError(f"{name}={getattr(self, name)}: must be 0 or more, and finite")
        for name in ("push_every", "watchdog", "watchdog_kd"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise RobodistillError(f"{name}={getattr(self, name)}: must be above 0, and finite")


@dataclass(frozen=True)
class Process:
    """How the robot's process runs."""

    link: str = "udp"
    """Module of ``robodistill_envs.simrobot.links``; ``link.<option>=`` sets its own options."""
    speed: float = 1.0
    """Simulated seconds per second of wall time."""
    lockstep: bool = False
    """No clock: every command advances the physics by ``command_dt``, and one state answers it."""
    command_dt: float = 0.0
    """[s] that a command advances in lockstep; 0 is the task's control period"""
    seconds: float = 0.0
    """[s] of wall time after which the process ends; 0 is never"""
    control: bool = False
    """Obey lines on standard input, and end with it; for the process that started this one."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if not 0.0 < self.speed < float("inf"):
            raise RobodistillError(f"speed={self.speed}: must be above 0, and finite")
        if min(self.seconds, self.command_dt) < 0.0:
            raise RobodistillError("seconds and command_dt must be 0 or more")


def parse(words: Mapping[str, str]) -> tuple[Robot, Process, dict[str, str]]:
    """Return both kinds of options and the link's own, unconverted, from ``key=value`` words taken apart."""
    kinds = {field.name: type(field.default) for cls in (Robot, Process) for field in dataclasses.fields(cls)}
    link: dict[str, str] = {}
    values: dict[str, Any] = {}
    for key, text in words.items():
        if key.startswith("link."):
            link[key.removeprefix("link.")] = text
        elif key in kinds:
            values[key] = convert(text, kinds[key], key)
        else:
            raise RobodistillError(unknown("key", key, [*kinds, "task", "link.<option>"]))
    mine = {field.name for field in dataclasses.fields(Robot)}
    return (
        Robot(**{k: v for k, v in values.items() if k in mine}),
        Process(**{k: v for k, v in values.items() if k not in mine}),
        link,
    )
