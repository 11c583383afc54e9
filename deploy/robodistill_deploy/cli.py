"""``robodistill-run``: look at a policy file, prove it and drive a robot with it, on a machine without torch."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from robodistill_deploy.describe import describe
from robodistill_deploy.difference import differences
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.policy_file import open_policy_file
from robodistill_deploy.runtime import load_policy
from robodistill_deploy.verbs import replay, run, zoo

_DESCRIPTION = """\
Look at a policy.onnx made by `robodistill export`, prove that it works on this machine, drive a robot with it.
Needs numpy and onnxruntime, no torch.

The file holds the network and everything a robot must know to use it: signals, joint order, gains,
limits, rates, the conditions it was trained in. A digest covers every byte of it. Where a file is asked for,
zoo:<name> names one of the policies that come with the package: `robodistill-run zoo` lists them.
"""

_EPILOG = """\
before a policy drives a robot for the first time:
  1. robodistill-run selftest policy.onnx    does it compute here what it computed where it was made?
  2. robodistill-run inspect policy.onnx     are joints, gains and limits those of the robot's data sheet?
  3. robodistill-run run policy.onnx --driver sim --dry-run    do names and limits fit?

in your own program:
  from robodistill_deploy.runtime import load_policy
  policy = load_policy("policy.onnx")
  policy.bind_joints(robot_joint_names)      your robot's order, matched by name
  targets = policy.tick({"joint_pos": ..., "imu_gyro": ...})

An error is one line on stderr and exit code 2.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say it in one line instead of a page of usage."""
        raise RobodistillError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _run(arguments)
    except RobodistillError as error:
        print(f"robodistill-run: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _run(arguments: list[str]) -> None:
    parser, verbs = _parser()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in verbs:
        raise RobodistillError(unknown("verb", arguments[0], verbs))
    options = parser.parse_args(arguments or ["--help"])
    verbs[options.verb](options)
    sys.stdout.flush()


def _parser() -> tuple[argparse.ArgumentParser, dict[str, Callable[[argparse.Namespace], None]]]:
    parser = _Parser(
        prog="robodistill-run",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
    inspect = verbs.add_parser(
        "inspect",
        help="print what the file says about itself",
        description="Verify the digest and print signals, terms, actions, envelope and provenance, in SI units. "
        "The network is not run: for that there is selftest.",
    )
    inspect.add_argument("policy", nargs="+", help="the file, such as policy.onnx; two with --diff")
    inspect.add_argument("--diff", action="store_true", help="name every difference between two files")
    inspect.add_argument(
        "--json", action="store_true", help="print the PolicySpec as JSON, at full precision"
    )
    selftest = verbs.add_parser(
        "selftest",
        help="replay what the exporter recorded, here",
        description="Verify the digest, run the network on the ticks recorded at export and compare its targets. "
        "The runtime does the same before it lets a policy tick.",
    )
    selftest.add_argument("policy", help="the file, such as policy.onnx")
    selftest.add_argument("--backend", default="onnxruntime", help="onnxruntime (the default) or numpy")
    added = {"run": run.add(verbs), "replay": replay.add(verbs), "zoo": zoo.add(verbs)}
    return parser, {"inspect": _inspect, "selftest": _selftest, **added}


def _inspect(options: argparse.Namespace) -> None:
    wanted = 2 if options.diff else 1
    if len(options.policy) != wanted:
        raise RobodistillError(f"inspect: {len(options.policy)} files; name one, or two with --diff")
    if options.diff and options.json:
        raise RobodistillError("inspect: --diff prints a table, not JSON; leave --json out, or --diff and one file")
    if options.diff:
        first, second = options.policy
        print(differences(Path(first), Path(second)) or "no difference: same spec, same graph, same weights\n", end="")
        return
    spec = open_policy_file(options.policy[0]).spec
    print(spec.to_json() if options.json else describe(spec), end="\n" if options.json else "")


def _selftest(options: argparse.Namespace) -> None:
    policy = load_policy(options.policy, options.backend)
    test = policy.spec.self_test
    print(
        f"ok: {len(test.ticks) + len(test.sequence)} ticks as recorded, largest difference "
        f"{policy.self_test_error:.2g} of an action's scale ({test.atol:g} allowed), "
        f"{policy.backend}"
    )


if __name__ == "__main__":
    sys.exit(main())
