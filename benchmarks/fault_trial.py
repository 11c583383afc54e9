"""Both ends of a trial of ``faults.py``: the runner's process, and the judgement on what the robot recorded."""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import time
from typing import Any

import numpy as np
from fault_relay import Fault
from numpy.typing import NDArray
from slow_motion import SlowClock, SlowDriver

from robodistill.margins_judge import HEIGHT_SHARE, twist
from robodistill_deploy.drivers.unitree.go2 import UnitreeDriver
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.operators import Operation, Scripted
from robodistill_deploy.runner import Record, Runner, Settings
from robodistill_deploy.runtime import Policy, load_policy
from robodistill_deploy.safety_limits import soft_range
from robodistill_envs.config import TaskConfig
from robodistill_envs.simrobot.robot import robot_order

Array = NDArray[np.float64]
ROBOT_DT = 0.002
HELD_UP_S = 0.02
"""[s] of anyone standing still from which on a trip may be the machine's own doing"""
_ROUNDING = 1e-5
_WALK = (0.6, 0.0, 0.3)


class Peer:
    """A process that is told lines and answers in lines of JSON."""

    def __init__(self, words: list[str]) -> None:
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._text = b""

    def say(self, line: str) -> None:
        """Tell it ``line``."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    def heard(self, key: str, seconds: float = 0.0) -> Any:
        """Return what it has said about ``key``; None if nothing within ``seconds``."""
        assert self._process.stdout is not None
        end = time.monotonic() + seconds
        while True:
            while b"\n" in self._text:
                line, _, self._text = self._text.partition(b"\n")
                message = json.loads(line)
                if key in message:
                    return message[key]
            if not select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise SystemExit(f"a process ended with {self._process.wait()} before it said {key!r}")
            self._text += data

    def hear(self, key: str, seconds: float) -> Any:
        """Return what it says about ``key``, or end the program."""
        found = self.heard(key, seconds)
        if found is None:
            raise SystemExit(f"no {key!r} within {seconds:g} s")
        return found

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self._process.kill()
        self._process.communicate()

    def end(self) -> None:
        """End it by closing its input."""
        try:
            self._process.communicate(timeout=10.0)
        except subprocess.TimeoutExpired:
            self.kill()


def run_runner(path: str, domain: int, speed: float) -> None:
    """Be the runner's process: one run per line on standard input."""
    policy = load_policy(path)
    _say({"loaded": path})
    for line in sys.stdin:
        order = json.loads(line)
        driver = SlowDriver(UnitreeDriver(domain=domain, release_sport_mode=False, timeout=120.0), speed)
        ticks: list[tuple[float, int, float]] = []  # stamp of the record; count and stamp of its reading
        driven: list[float] = []

        def observe(record: Record, ticks: list[Any] = ticks, driven: list[float] = driven) -> None:
            reading = record.reading
            ticks.append((record.stamp, 0, 0.0) if reading is None else (record.stamp, reading.tick, reading.stamp))
            if record.inputs is not None:
                driven.append(record.stamp)

        operator = Scripted(((0.0, Operation(math.nan, _WALK, arm=True, stop=False)),))
        settings = Settings(ramp_seconds=order["ramp"], preflight_seconds=0.0)
        try:
            runner = Runner(policy.clone(), driver, operator, settings, observer=observe, clock=SlowClock(speed))
            summary = runner.run(order["seconds"])
        except RobodistillError as error:
            _say({"done": {"error": str(error)}})
            continue
        stamps = np.array([t[0] for t in ticks])
        _say({"done": {
            "trip": None if summary.trip is None else str(summary.trip),
            "trip_at": None if summary.trip is None else summary.trip.t,
            "readings": [[stamp, count] for _, count, stamp in ticks if stamp > 0.0],
            "slowest": float(np.diff(stamps).max()),
            "driven_at": driven[0] if driven else None,
        }})  # fmt: skip


def judge(
    policy: Policy, task: TaskConfig, fault: Fault, track: dict[str, Array], said: dict[str, Any],
    fault_at: float, killed_at: float | None, held_up_s: float,
) -> dict[str, Any]:
    """Return outcome, excursions and what is not as documented; ``disturbed`` if the machine had a hand in it.

    ``held_up_s`` is the longest that robot or relay stood still while the policy drove.
    """
    if "error" in said:
        return _judged("none", [said["error"]], disturbed=True)
    stiff = np.abs(track["kp"]).max(axis=1) > 0.0
    if killed_at is None:
        # faults are over by now: the last reading tells when the runner let go
        last = int(np.clip(np.searchsorted(track["tick"], said["readings"][-1][1]), 0, len(stiff) - 1))
        before = [stamp - ROBOT_DT * count for stamp, count in said["readings"] if stamp <= fault_at]
        at = fault_at - before[-1] if math.isfinite(fault_at) and before else math.inf
        early = said["trip_at"] is not None and fault.kind != "late" and said["trip_at"] < fault_at
    else:
        last, at, early = len(stiff) - 1, math.nan, False
    _, tilt = twist(track["qpos"], track["qvel"])
    up = tilt[last] < 0.5 and track["qpos"][last, 2] > HEIGHT_SHARE * task.reset.height
    outcome = "damped" if not stiff[last] else "recovered" if up else "fell"
    violations = [*_outside(policy, task, track)]
    if outcome == "fell":
        violations.append("stiff on the ground")
    wrong = fault.expected != "either" and outcome not in (fault.expected, "fell")
    if wrong:
        violations.append(f"{outcome}, documented: {fault.expected}")
    timing = (said.get("trip") or "").split(":")[0] in ("stale", "deadline", "dead_man")
    slow = max(said.get("slowest", 0.0), held_up_s) > HELD_UP_S
    disturbed = early or (timing and slow and fault.expected == "recovered")
    after = None
    if outcome == "damped":
        # a killed runner: from the last command that the robot had
        since = at if killed_at is None else _last_change(track)
        limp = np.flatnonzero(~stiff & (track["time"] >= since))
        after = float(track["time"][limp[0]] - since) if len(limp) else None
    return _judged(
        outcome, violations, disturbed=bool(disturbed), damped_after_s=after,
        max_tilt_rad=float(tilt[: last + 1].max()),
        min_height_m=float(track["qpos"][: last + 1, 2].min()), beyond_rad=_beyond(policy, task, track),
    )  # fmt: skip


def _judged(
    outcome: str, violations: list[str], *, disturbed: bool, damped_after_s: float | None = None,
    max_tilt_rad: float = 0.0, min_height_m: float = 0.0, beyond_rad: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    return {"outcome": outcome, "violations": violations, "disturbed": disturbed, "damped_after_s": damped_after_s,
            "max_tilt_rad": max_tilt_rad, "min_height_m": min_height_m, "beyond_rad": beyond_rad}  # fmt: skip


def _last_change(track: dict[str, Array]) -> float:
    """Return when [s] the last new command came: what came after it is the watchdog's."""
    own = track["position"][~track["damped"].astype(bool)]
    changes = np.flatnonzero(np.abs(np.diff(own, axis=0)).any(axis=1))
    return float(track["time"][changes[-1] + 1]) if len(changes) else 0.0


def _outside(policy: Policy, task: TaskConfig, track: dict[str, Array]) -> list[str]:
    """Return how the commands that acted broke the limits of the file: ranges, gains, finite numbers."""
    part, safety, joints = policy.spec.interface.actions[0], policy.spec.safety, robot_order(task)
    order = [part.names.index(name) for name in joints]
    low, high = (np.array(bound)[order] for bound in soft_range(part, safety))
    kp, kd = np.array(part.kp)[order], np.array(part.kd)[order]
    damping = np.array(safety.damping_kd[part.name])[order]
    own = ~track["damped"].astype(bool)  # the watchdog's own damping is the robot's
    stiff = own & track["kp"].any(axis=1)
    found = []
    columns = [track[name] for name in ("position", "velocity", "kp", "kd", "effort")]
    if not all(np.isfinite(column).all() for column in columns):
        found.append("a command was not finite")
    position = track["position"][stiff]
    if (position < low - _ROUNDING).any() or (position > high + _ROUNDING).any():
        found.append("a position beyond its soft limit")
    if (track["kp"][own] > kp + _ROUNDING).any() or (track["kd"][own] > np.maximum(kd, damping) + _ROUNDING).any():
        found.append("a gain above the file's")
    if track["velocity"].any() or track["effort"].any():
        found.append("a velocity or an effort")
    if (track["kd"] <= 0.0).any():
        found.append("no damping")
    return found


def _beyond(policy: Policy, task: TaskConfig, track: dict[str, Array]) -> float:
    """Return how far [rad] a joint got beyond its range; a robot with a free base and a hinge per joint."""
    part = policy.spec.interface.actions[0]
    joints = track["qpos"][:, 7 : 7 + part.dim]
    return float(max(0.0, (np.array(part.lower) - joints).max(), (joints - np.array(part.upper)).max()))


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)
