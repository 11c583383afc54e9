"""Drive a robot with a policy, through the safety filter.

Passive (damped) first: the robot is looked at for a second. Then it stands up where it lies and can, goes to the
policy's default pose in two seconds, and follows the policy. A trip, Ctrl-C or the end of --seconds damps it:
it sinks to the ground. Keep people and the robot's reach apart, and a hand on its own emergency stop.

--operator says who steers and stops: fixed (the default: --command, Ctrl-C stops), keyboard (W S A D Q E, Enter arms,
SPACE STOPS), gamepad (hold LB to steer, START arms, B STOPS), remote (the robot's own: START arms, L2+B STOPS).

Every tick goes into a log, logs/<time>_<robot>.mcap, for `robodistill-run replay`, `robodistill report log` and
Foxglove. It never makes a command late; --no-log does without.

  robodistill-run run policy.onnx --driver sim --command 0.5 0 0 --seconds 20
  robodistill-run run policy.onnx --driver udp --set host=192.168.1.10 --set bind=0.0.0.0 --operator gamepad
  robodistill-run run policy.onnx --driver my_robot.link:Link --dry-run
"""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from robodistill_deploy.blackbox.about import about
from robodistill_deploy.blackbox.recorder import MAX_BYTES, BlackBox
from robodistill_deploy.driver_options import make_driver
from robodistill_deploy.drivers.base import Driver
from robodistill_deploy.drivers.sim import SimDriver
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.operators.options import OPERATORS, make_operator
from robodistill_deploy.operators.stop import EmergencyStop, GuardedDriver
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runner import COMMAND_RATE, Record, Runner, Settings, Summary
from robodistill_deploy.runtime import Policy, load_policy
from robodistill_deploy.status import Status

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A terminal that is closed, or an ssh connection that ends, sends the last."""


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
    parser.add_argument("--seconds", type=_above_zero, default=math.inf, help="how long; without it, until Ctrl-C")
    parser.add_argument(
        "--command", type=_number, nargs="*", metavar="X", help="what to command all the time, in SI units"
    )
    parser.add_argument("--operator", default="fixed", metavar="NAME", help=f"{', '.join(OPERATORS)}")
    parser.add_argument("--device", metavar="FILE", help="of the gamepad, such as /dev/input/event5")
    parser.add_argument(
        "--patience", type=_above_zero, metavar="S",
        help="damp when nobody touched keyboard or gamepad so long (default 30)",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=_finite_above_zero, default=COMMAND_RATE, help="commands per second (default 200)"
    )
    parser.add_argument("--backend", default="onnxruntime", help="onnxruntime (the default) or numpy")
    _add_log(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="check file, names and limits, say what would be done, move nothing"
    )
    return run


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log", metavar="FILE", help="where every tick goes; logs/<time>_<robot>.mcap unless given")
    parser.add_argument("--no-log", action="store_true", help="keep no log")
    parser.add_argument(
        "--log-mb", type=_finite_above_zero, default=MAX_BYTES / 1e6, metavar="MB",
        help="largest size of the log (default 2147)",
    )  # fmt: skip


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        hint = "; the policy file comes before the options" if text.endswith(".onnx") or ":" in text else ""
        raise argparse.ArgumentTypeError(f"{text} is not a number{hint}") from None


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0.0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _finite_above_zero(text: str) -> float:
    value = _above_zero(text)
    if math.isinf(value):
        raise argparse.ArgumentTypeError(f"{text} is not finite")
    return value


def run(options: argparse.Namespace) -> None:
    """Do what the words of the command line say."""
    policy = load_policy(options.policy, options.backend)
    stop = EmergencyStop()
    operator, watch = make_operator(
        options.operator, policy.spec, stop, options.command, options.device, options.patience
    )
    known = {"task": policy.spec.interface.task, "lying": bool(policy.spec.robot.stand_up)}
    driver = GuardedDriver(_in_real_time(make_driver(options.driver, options.set, known), options.policy), stop, watch)
    live = sys.stdout.isatty()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    waits = "" if options.operator == "fixed" else OPERATORS[options.operator]
    status = Status(write, live=live, waits=waits, remote=options.operator == "remote")
    log: list[BlackBox] = []

    def observe(record: Record) -> None:
        for box in log:
            box(record)
        status(record)

    runner = Runner(policy, driver, operator, Settings(command_rate=options.rate), observer=observe)
    driver.damp_with(runner.filter.damping)
    if options.dry_run:
        write(_plan(policy.spec, runner, options.operator, operator.poll(time.monotonic(), None).command))
        return
    with contextlib.ExitStack() as stack:
        if not options.no_log:
            log.append(stack.enter_context(_black_box(options, policy, runner, write)))
        if options.operator != "fixed":
            write(f"{options.operator}: {OPERATORS[options.operator]}\n")
        stack.enter_context(_signals(runner))
        try:
            summary = runner.run(options.seconds)
        finally:
            status.close()
    write(_said(summary) + _too_short(summary, runner))
    for box in log:
        write(f"log {box.path}{f', {box.dropped} ticks were dropped' if box.dropped else ''}\n")
    if summary.trip is not None and summary.trip.rule != "stop":
        raise TripError(f"stopped by {summary.trip}")


def _in_real_time(driver: Driver, policy: str) -> Driver:
    """Refuse a robot whose time is not that of the clock which paces the runner: its readings would seem stale."""
    if isinstance(driver, SimDriver) and driver.other_time:
        raise RobodistillError(
            f"--set {driver.other_time}: run keeps real time, and the robot would not; leave it out, or use "
            f"`robodistill check {policy} driver=sim`; in your own program, a Runner with LockstepClock"
        )
    return driver


def _black_box(
    options: argparse.Namespace, policy: Policy, runner: Runner, write: Callable[[str], object]
) -> BlackBox:
    name = f"{time.strftime('%Y%m%d_%H%M%S')}_{policy.spec.interface.robot}.mcap"
    path = Path(options.log) if options.log else Path("logs") / name
    said = about(policy, runner.layout, Settings(command_rate=runner.command_rate), options.driver)
    return BlackBox(path, said, max_bytes=round(1e6 * options.log_mb), warn=lambda line: write(f"{line}\n"))


@contextmanager
def _signals(runner: Runner) -> Iterator[None]:
    """Turn signals into a stop; a second one breaks off the farewell."""
    asked: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        del frame
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        runner.stop(signal.Signals(number).name)

    before = {number: signal.signal(number, handler) for number in _STOPPING}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _plan(spec: PolicySpec, runner: Runner, operator: str, command: tuple[float, ...]) -> str:
    limits = runner.filter.limits
    alive = operator == "fixed"  # it is always heard, so nothing can miss it
    rules = [rule for rule in runner.filter.rules if not (alive and rule == "dead_man")]
    silent = "" if alive else f"operator silent {limits.max_command_age:g} s; "
    poses = len(spec.robot.stand_up)
    rows = {
        "policy": f"{spec.interface.task} on {spec.interface.robot}, digest {spec.digest[:12]}",
        "self-test": f"passed, largest difference {runner.policy.self_test_error:.2g} of an action's scale",
        "joints": f"{len(runner.layout.joints)}, matched by name",
        "policy rate": f"{1.0 / spec.interface.control_dt:g} Hz",
        "command rate": f"{runner.command_rate:g} Hz",
        "operator": f"{operator}: {OPERATORS[operator]}",
        "command": " ".join(f"{value:g}" for value in command) or "none",
        "stand-up": f"{poses} poses" if poses else "none",
        "rules on": ", ".join(rules),
        "trips": f"sensors {limits.max_sensor_age:g} s old, tilt {limits.max_tilt:g} rad, "
        f"{silent}the rest: robodistill-run inspect",
    }
    return "".join(f"{name:<13} {text}\n" for name, text in rows.items()) + "nothing was moved\n"


def _said(summary: Summary) -> str:
    return (
        f"{summary.seconds:.2f} s, {summary.command_ticks} command ticks ({summary.missed_commands} missed), "
        f"{summary.policy_ticks} policy ticks ({summary.missed_policies} missed), "
        f"tick p50 {1e3 * summary.busy_p50:.2f} p99 {1e3 * summary.busy_p99:.2f} ms, "
        f"ended in {summary.mode.value}, then damped and closed\n"
    )


def _too_short(summary: Summary, runner: Runner) -> str:
    """Return what to do about a run that ended by itself before the policy began, else nothing."""
    if summary.policy_ticks or summary.trip is not None:
        return ""
    look, stand_up, ramp = runner.preparation
    return (
        f"the policy never ran: looking at the robot takes {look:g} s, standing up {stand_up:g} s where it lies, "
        f"going to the first pose {ramp:g} s, once it is armed; give --seconds above {look + stand_up + ramp:g}\n"
    )
