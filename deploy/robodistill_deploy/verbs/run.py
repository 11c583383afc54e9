"""Drive a robot with a policy, through the safety filter.

Passive (damped) first: the robot is looked at for a second. Then it stands up where it lies and can, goes to the
policy's default pose in two seconds, and follows the policy. A trip, Ctrl-C or the end of --seconds damps it:
it sinks to the ground. Keep people and the robot's reach apart, and a hand on its own emergency stop.

  robodistill-run run policy.onnx --driver sim --command 0.5 0 0 --seconds 20
  robodistill-run run policy.onnx --driver udp --set host=192.168.1.10 --command 0 0 0
  robodistill-run run policy.onnx --driver my_robot.link:Link --dry-run
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from robodistill_deploy.driver_options import make_driver
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.operators import Fixed
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runner import COMMAND_RATE, Runner, Settings, Summary
from robodistill_deploy.runtime import load_policy
from robodistill_deploy.status import Status


class TripError(RobodistillError):
    """The safety filter ended the run."""


def add(verbs: Any) -> Callable[[argparse.Namespace], None]:
    """Add the verb to the command line's sub-parsers and return what runs it."""
    parser = verbs.add_parser(
        "run",
        help="drive a robot with the policy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("policy", help="the file, such as policy.onnx")
    parser.add_argument("--driver", required=True, help="sim, udp, unitree, or package.module:Class")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the driver")
    parser.add_argument("--seconds", type=float, default=math.inf, help="how long; without it, until Ctrl-C")
    parser.add_argument(
        "--command", type=float, nargs="*", metavar="X", help="what to command all the time, in SI units"
    )
    parser.add_argument("--rate", type=float, default=COMMAND_RATE, help="commands per second (default 200)")
    parser.add_argument("--backend", default="onnxruntime", help="onnxruntime (the default) or numpy")
    parser.add_argument(
        "--dry-run", action="store_true", help="check file, names and limits, say what would be done, move nothing"
    )
    return run


def run(options: argparse.Namespace) -> None:
    """Do what the words of the command line say."""
    policy = load_policy(options.policy, options.backend)
    command = _command(policy.spec, options.command)
    driver = make_driver(options.driver, options.set)
    live = sys.stdout.isatty()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    status = Status(write, live=live)
    runner = Runner(policy, driver, Fixed(command), Settings(command_rate=options.rate), observer=status)
    if options.dry_run:
        write(_plan(policy.spec, runner, command))
        return
    with _signals(runner):
        try:
            summary = runner.run(options.seconds)
        finally:
            status.close()
    write(_said(summary))
    if summary.trip is not None and summary.trip.rule != "stop":
        raise TripError(f"stopped by {summary.trip}")


def _command(spec: PolicySpec, given: list[float] | None) -> tuple[float, ...]:
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


@contextmanager
def _signals(runner: Runner) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into a stop; a second one breaks off the farewell."""
    asked: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        del frame
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        runner.stop(signal.Signals(number).name)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _plan(spec: PolicySpec, runner: Runner, command: tuple[float, ...]) -> str:
    limits = runner.filter.limits
    poses = len(spec.robot.stand_up)
    rows = {
        "policy": f"{spec.interface.task} on {spec.interface.robot}, digest {spec.digest[:12]}",
        "self-test": f"passed, largest difference {runner.policy.self_test_error:.2g} of an action's scale",
        "joints": f"{len(runner.layout.joints)}, matched by name",
        "policy rate": f"{1.0 / spec.interface.control_dt:g} Hz",
        "command rate": f"{runner.command_rate:g} Hz",
        "command": " ".join(f"{value:g}" for value in command) or "none",
        "stand-up": f"{poses} poses" if poses else "none",
        "rules on": ", ".join(runner.filter.rules),
        "trips": f"sensors {limits.max_sensor_age:g} s old, tilt {limits.max_tilt:g} rad, "
        f"operator silent {limits.max_command_age:g} s; the rest: robodistill-run inspect",
    }
    return "".join(f"{name:<13} {text}\n" for name, text in rows.items()) + "nothing was moved\n"


def _said(summary: Summary) -> str:
    return (
        f"{summary.seconds:.2f} s, {summary.command_ticks} command ticks ({summary.missed_commands} missed), "
        f"{summary.policy_ticks} policy ticks ({summary.missed_policies} missed), "
        f"tick p50 {1e3 * summary.busy_p50:.2f} p99 {1e3 * summary.busy_p99:.2f} ms, ended in {summary.mode.value}\n"
    )
