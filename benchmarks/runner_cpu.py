"""What the runner takes of a core while it drives the simulated Go2 over UDP, at 50 and at 200 commands a second.

  python benchmarks/runner_cpu.py policy.onnx

Policy, safety filter, driver and the two clocks; the robot is a process of its own. What counts is the user and system
time of this process over the seconds of the run, not what was loaded before.
"""

from __future__ import annotations

import argparse
import resource

from robodistill_deploy.drivers.sim import SimDriver
from robodistill_deploy.operators import Fixed
from robodistill_deploy.runner import Runner, Settings
from robodistill_deploy.runtime import load_policy


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Drive and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy")
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    policy = load_policy(given.policy)
    command = tuple(0.5 if i == 0 else 0.0 for s in policy.signals if s.source == "command" for i in range(s.dim))
    for rate in (50.0, 200.0):
        driver = SimDriver(task=policy.spec.interface.task, timeout=120.0, lying=True)
        driver.open()  # the robot's process is up before the clock runs
        settings = Settings(command_rate=rate, preflight_seconds=0.5)
        before = _used()
        summary = Runner(policy.clone(), driver, Fixed(command), settings).run(given.seconds)
        share = (_used() - before) / summary.seconds
        print(f"UDP, {rate:.0f} commands/s: {100 * share:.1f} % of a core, {summary.policy_ticks} policy ticks, "
              f"{summary.missed_policies} missed, trip: {summary.trip}")  # fmt: skip


if __name__ == "__main__":
    main()
