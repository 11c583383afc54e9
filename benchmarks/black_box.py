"""What the black box costs the loop, per command tick, and the disk.

    python benchmarks/black_box.py policy.onnx [--seconds 20] [--rate 200]

A robot in memory is driven by the real runner at ``rate``, first without a log, then with one. ``in the loop`` is the
time that the observer takes; the tick's own work is measured beside it, because a writing thread could disturb it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from robodistill_deploy.blackbox.about import about
from robodistill_deploy.blackbox.log import read_log
from robodistill_deploy.blackbox.recorder import BlackBox
from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.operators.options import make_operator
from robodistill_deploy.operators.stop import EmergencyStop
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runner import Record, Runner, Settings
from robodistill_deploy.runtime import Policy, load_policy


class Still:
    """A robot that stands in its default pose, with a little noise."""

    def __init__(self, spec: PolicySpec) -> None:
        parts = spec.interface.actions
        self.joints = tuple(name for part in parts for name in part.names)
        sensors = [s for s in spec.interface.signals if s.source == "sensor"]
        self.signals = {s.name: s.elements for s in sensors}
        self.signals.setdefault("joint_pos", self.joints)
        self.signals.setdefault("joint_vel", self.joints)
        pose = {name: value for part in parts for name, value in zip(part.names, part.default, strict=True)}
        self._rest = {name: np.zeros(len(elements)) for name, elements in self.signals.items()}
        self._rest["joint_pos"] = np.array([pose[name] for name in self.signals["joint_pos"]])
        if "imu_quat_wxyz" in self._rest:
            self._rest["imu_quat_wxyz"][0] = 1.0
        self._rng, self._count = np.random.default_rng(0), 0

    def open(self) -> None:
        """There is no device."""

    def close(self) -> None:
        """There is no device."""

    def write(self, command: Command) -> None:
        """Stand still."""

    def read(self) -> Reading:
        """Return a reading of its own."""
        self._count += 1
        noisy = {name: rest + 1e-3 * self._rng.normal(size=rest.size) for name, rest in self._rest.items()}
        return Reading(time.monotonic(), self._count, noisy)


def drive(policy: Policy, options: argparse.Namespace, log: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of each tick's work, and of what the observer took."""
    work, observing = [], []
    settings = Settings(command_rate=options.rate, preflight_seconds=0.0, ramp_seconds=0.5)
    robot = Still(policy.spec)
    operator, _ = make_operator("fixed", policy.spec, EmergencyStop())
    box: BlackBox | None = None

    def observe(record: Record) -> None:
        begin = time.perf_counter()
        if box is not None:
            box(record)
        observing.append(time.perf_counter() - begin)
        work.append(record.busy)

    runner = Runner(policy, robot, operator, settings, observer=observe)
    if log is None:
        runner.run(options.seconds)
    else:
        with BlackBox(log, about(policy, runner.layout, settings)) as box:
            runner.run(options.seconds)
    return np.array(work), np.array(observing)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=200.0)
    options = parser.parse_args()
    policy = load_policy(options.policy)
    print(f"{'[us]':<28}{'p50':>8}{'p99':>8}{'p99.9':>8}")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "run.mcap"
        for name, path in (("without a log", None), ("with one", log)):
            cpu = time.process_time()
            work, observing = drive(policy, options, path)
            cpu = time.process_time() - cpu
            for what, values in (("tick", work), ("in the loop", observing)):
                figures = "".join(f"{1e6 * v:8.1f}" for v in np.quantile(values, (0.5, 0.99, 0.999)))
                print(f"{name + ', ' + what:<28}{figures}")
            print(f"{name + ', CPU of a core':<28}{100 * cpu / options.seconds:8.1f} %")
        found = read_log(log)
        size = log.stat().st_size / options.seconds
        row = found.rows.dtype.itemsize
        print(f"{len(found.rows)} ticks of {row} B, {found.dropped} dropped, {size / 1e3:.0f} kB/s")


if __name__ == "__main__":
    main()
