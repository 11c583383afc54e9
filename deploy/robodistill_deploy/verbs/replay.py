"""Repeat a run from its log: every network input, target and command must come out with the same bits.

The readings that the robot sent go through the machine, the policy and the safety filter once more, at the times of the
log. A difference means another policy file, another backend or CPU, or a version that computes otherwise; the first one
is named. Look at a log: `robodistill report log FILE`, or open it in Foxglove.

  robodistill-run replay logs/20270301_101500_go2.mcap policy.onnx
  robodistill-run replay old.mcap new_policy.onnx --any-policy    what would the new one have done?
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from robodistill_deploy.blackbox.log import Log, read_log
from robodistill_deploy.blackbox.replay import Replay, replay
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.runtime import Policy, load_policy


class ReplayError(RobodistillError):
    """The replay differs from the log."""


def add(verbs: Any) -> Callable[[argparse.Namespace], None]:
    """Add the verb to the command line's sub-parsers and return what runs it."""
    parser = verbs.add_parser(
        "replay",
        help="repeat a run from its log, bit for bit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("log", help="the file, such as logs/20270301_101500_go2.mcap")
    parser.add_argument("policy", help="the policy file that drove")
    parser.add_argument("--any-policy", action="store_true", help="compare another policy file on the same readings")
    parser.add_argument("--backend", default="onnxruntime", help="onnxruntime (the default) or numpy")
    return run


def run(options: argparse.Namespace) -> None:
    """Do what the words of the command line say."""
    log = read_log(options.log)
    policy = load_policy(options.policy, options.backend)
    done = replay(log, policy, any_policy=options.any_policy)
    sys.stdout.write(_said(log, policy, done))
    sys.stdout.flush()
    if done.first is not None and not options.any_policy:
        raise ReplayError(f"{done.different} of {done.ticks} ticks differ; the first: {done.first}")


def _said(log: Log, policy: Policy, done: Replay) -> str:
    about = log.about
    end = "closed" if log.complete else "cut off"
    lines = [
        f"log         {len(log.rows)} ticks, {log.dropped} dropped, {end}; {about.driver or 'robot'}, {about.created}",
        f"policy      {about.policy.interface.task}, digest {about.digest[:12]}, on {about.backend}",
        f"replayed    {policy.spec.interface.task}, digest {policy.spec.digest[:12]}, on {policy.backend}",
    ]
    if done.unproven:
        lines.append(f"gap         {done.unproven} ticks after the first gap left out: unknown state")
    if done.first is None and not done.policy_ticks:
        lines.append(f"the same    {done.ticks} ticks of modes and commands; the policy never ran in them")
    elif done.first is None:
        lines.append(f"the same    {done.ticks} ticks, {done.policy_ticks} of the policy: every bit")
    else:
        lines += [f"different   {done.different} of {done.ticks} ticks; the first: {done.first}"]
        lines += [f"largest     {what}: {value:.4g}" for what, value in done.largest.items()]
    return "".join(f"{line}\n" for line in lines)
