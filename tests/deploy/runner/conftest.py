"""A robot and a clock that live in memory, for the toy policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.runtime import Policy, load_policy

JOINTS = ("wheel", "calf", "hip", "thigh")
DEFAULT = {"hip": 0.1, "thigh": 0.8, "calf": -1.5, "wheel": 0.0}


class FakeClock:
    """Time that passes only while the runner sleeps, and by ``work`` [s] per look at it."""

    def __init__(self, work: float = 0.0) -> None:
        self.t, self.work = 100.0, work
        self.on_wake: Callable[[float], None] = lambda t: None

    def now(self) -> float:
        self.t += self.work
        return self.t

    def sleep_until(self, t: float) -> None:
        self.t = max(self.t, t)
        self.on_wake(self.t)


class FakeDriver:
    """Follows position targets like a perfect servo; ``faults`` change a reading before it is read."""

    joints = JOINTS
    signals = {  # noqa: RUF012
        "imu_gyro": ("x", "y", "z"), "joint_vel": JOINTS, "joint_pos": ("hip", "wheel", "thigh", "calf"),
    }  # fmt: skip

    def __init__(self, clock: FakeClock, pose: dict[str, float] | None = None) -> None:
        self.clock, self.pose = clock, {**DEFAULT, **(pose or {})}
        self.calls: list[str] = []
        self.written: list[tuple[float, Command]] = []
        self.count = 0
        self.faults: Callable[[Reading], Reading | None] = lambda reading: reading
        self._rng = np.random.default_rng(0)

    def open(self) -> None:
        self.calls.append("open")

    def read(self) -> Reading | None:
        self.count += 1
        gyro = 1e-3 * self._rng.normal(size=3)
        q = np.array([self.pose[name] for name in self.signals["joint_pos"]])
        signals = {"imu_gyro": gyro, "joint_vel": np.zeros(4), "joint_pos": q}
        return self.faults(Reading(self.clock.t, self.count, signals))

    def write(self, command: Command) -> None:
        self.written.append((self.clock.t, command))
        for i, name in enumerate(self.joints):
            if command.kp[i] > 0.0:
                self.pose[name] = float(command.position[i])

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def driver(clock: FakeClock) -> FakeDriver:
    return FakeDriver(clock)


@pytest.fixture
def policy(path: Path) -> Policy:
    """The toy policy."""
    return load_policy(path)


@pytest.fixture
def slow_clock() -> Callable[[float], FakeClock]:
    """``slow_clock(0.001)``: a clock on which work takes time."""
    return FakeClock


@pytest.fixture
def new_driver() -> Callable[..., Any]:
    """``new_driver(clock, pose)``: another robot."""
    return FakeDriver
