"""A faulty link: a relay between a robot in one DDS domain and its runner in another, for ``faults.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from slow_motion import SlowClock

from robodistill_deploy.drivers.unitree.dds import Participant, Reader, configuration, try_write
from robodistill_deploy.drivers.unitree.go2 import COMMAND_TOPIC, STATE_TOPIC, LowCmd_, LowState_
from robodistill_deploy.drivers.unitree.messages import LOW_CMD, LOW_STATE, Message

STATES, COMMANDS = "states", "commands"
SHORT_S, LONG_S = (0.005, 0.030), (0.120, 0.400)
"""[s] what a link may hiccup, which is ridden through; and what must end in damping"""
AFTER_S = (0.3, 1.3)
"""[s] of the policy driving before the fault"""
Held = list[tuple[float, bytes]]
Broken = Callable[[bytes, float], Held]


@dataclass(frozen=True)
class Fault:
    """One fault: what happens on the link in a window of time. Times count from the policy's first second."""

    kind: str
    after: float
    """[s] from when the policy began to drive"""
    seconds: float
    sides: tuple[str, ...] = ()
    """Which messages: states, commands"""
    detail: str = ""
    amount: float = 0.0
    expected: str = "either"
    """recovered, damped, or either"""


def draw(kind: str, rng: np.random.Generator) -> Fault:
    """Return a fault of ``kind`` with everything about it random, and what the documents promise of it."""
    after, long = float(rng.uniform(*AFTER_S)), bool(rng.random() < 0.5)
    seconds = float(rng.uniform(*(LONG_S if long else SHORT_S)))
    side = str(rng.choice([STATES, COMMANDS]))
    ends = "recovered" if not long else "damped" if side == STATES else "either"
    if kind == "drop":
        sides = (STATES, COMMANDS) if long and rng.random() < 0.3 else (side,)
        return Fault(kind, after, seconds, sides, "", 0.0, "damped" if long and STATES in sides else ends)
    if kind == "freeze":
        how = str(rng.choice(["counter stands", "counter runs"]))
        return Fault(kind, after, seconds, (STATES,), how, 0.0, "damped" if long else "recovered")
    if kind == "delay":
        return Fault(kind, after, 0.5, (side,), "", seconds, "damped" if long and side == STATES else "either")
    if kind == "reorder":
        return Fault(kind, after, 0.5, (side,), "", float(rng.integers(2, 9)))
    if kind == "nan":
        value = str(rng.choice(["nan", "inf", "1e9"]))
        expected = "damped" if side == STATES else ends
        # 1e9 is a number, which the link hands on; the motors clip what comes of it, so only states carry it
        return Fault(kind, after, max(seconds, 0.02), (side,), value if side == STATES else "nan", 0.0, expected)
    if kind == "flip":
        return Fault(kind, after, max(seconds, 0.1) if long else 0.3, (side,), "", 1.0 if long else 0.3, ends)
    if kind == "kill":
        return Fault(kind, after, 0.0, (), "", 0.0, "damped")
    return Fault(kind, float(rng.uniform(0.2, 1.0)), 0.0, (), str(rng.choice(["robot", "runner"])), 0.0, "recovered")


@dataclass
class _Way:
    """One direction of the relay."""

    message: Message
    reader: Reader
    writer: Any
    sample: Any
    held: Held = field(default_factory=list)
    last: bytes = b""


class Relay:
    """Hands on what the two sides say, with a fault in between where there is one."""

    def __init__(self, robot_domain: int, runner_domain: int, clock: SlowClock) -> None:
        self._clock = clock
        robot, runner = (Participant(d, configuration("lo")) for d in (robot_domain, runner_domain))
        self._sides = robot, runner
        self._ways = {
            STATES: _Way(LOW_STATE, robot.reader(STATE_TOPIC, LowState_, 8), runner.writer(STATE_TOPIC, LowState_),
                         LowState_),
            COMMANDS: _Way(LOW_CMD, runner.reader(COMMAND_TOPIC, LowCmd_, 8), robot.writer(COMMAND_TOPIC, LowCmd_),
                           LowCmd_),
        }  # fmt: skip
        self.begin(Fault("none", np.inf, 0.0), np.random.default_rng(0))

    def begin(self, fault: Fault, rng: np.random.Generator) -> None:
        """Forget everything; the clock of ``fault`` begins when it is armed."""
        self.fault, self._rng = fault, rng
        self.driven_at = self.fault_at = np.inf
        self.touched, self.slowest, self._pumped = 0, 0.0, self._clock.now()
        for way in self._ways.values():
            way.reader.take(16)
            way.held, way.last = [], b""

    def arm(self, at: float) -> None:
        """Let the fault begin at ``at`` [s] of the clock."""
        self.fault_at, self.slowest = at, 0.0

    def pump(self, seconds: float) -> None:
        """Hand on for ``seconds``."""
        end = self._clock.now() + seconds
        while (now := self._clock.now()) < end:
            self.slowest = max(self.slowest, now - self._pumped)
            self._pumped = now
            for side, way in self._ways.items():
                self._hand_on(side, way, now)
            self._ways[STATES].reader.wait(0.001)

    def close(self) -> None:
        """Leave both domains."""
        self._ways.clear()
        for side in self._sides:
            side.close()

    def _hand_on(self, side: str, way: _Way, now: float) -> None:
        active = side in self.fault.sides and self.fault_at <= now < self.fault_at + self.fault.seconds
        for sample in way.reader.take(16):
            if side == COMMANDS and self.driven_at == np.inf and self._stiff(sample.wire):
                self.driven_at = now
            if not active:
                self._send(way, sample.wire)
                way.last = sample.wire
                continue
            self.touched += 1
            way.held += getattr(self, f"_{self.fault.kind}")(way, sample.wire, now)
        due = [wire for at, wire in way.held if at <= now]
        way.held = [(at, wire) for at, wire in way.held if at > now]
        for wire in due:
            self._send(way, wire)

    @staticmethod
    def _stiff(wire: bytes) -> bool:
        record = LOW_CMD.decode(wire)
        return record is not None and bool(record["motor_cmd"]["kp"].any())

    @staticmethod
    def _send(way: _Way, wire: bytes) -> None:
        try_write(way.writer, way.sample(wire))

    def _drop(self, way: _Way, wire: bytes, now: float) -> Held:
        return []

    def _freeze(self, way: _Way, wire: bytes, now: float) -> Held:
        if self.fault.detail == "counter stands" or not way.last:
            return [(now, way.last)] if way.last else []
        frozen, new = way.message.decode(way.last), way.message.decode(wire)
        assert frozen is not None
        assert new is not None
        frozen["tick"] = new["tick"]
        return [(now, self._sealed(way, frozen))]

    def _delay(self, way: _Way, wire: bytes, now: float) -> Held:
        return [(now + self.fault.amount, wire)]

    def _reorder(self, way: _Way, wire: bytes, now: float) -> Held:
        """Hold a handful back, then let them go in another order."""
        way.held.append((np.inf, wire))
        if len(way.held) < self.fault.amount:
            return []
        order = self._rng.permutation(len(way.held))
        wires = [way.held[i][1] for i in order]
        way.held = []
        return [(now, w) for w in wires]

    def _nan(self, way: _Way, wire: bytes, now: float) -> Held:
        record = way.message.decode(wire)
        assert record is not None
        value = float(self.fault.detail)
        if way.message is LOW_STATE and self._rng.random() < 0.4:
            name = str(self._rng.choice(["quaternion", "gyroscope"]))
            record["imu_state"][name][self._rng.integers(3)] = value
        else:
            motors = record["motor_state"] if way.message is LOW_STATE else record["motor_cmd"]
            motors[str(self._rng.choice(["q", "dq"]))][self._rng.integers(12)] = value
        return [(now, self._sealed(way, record))]

    def _flip(self, way: _Way, wire: bytes, now: float) -> Held:
        if self._rng.random() >= self.fault.amount:
            return [(now, wire)]
        broken = bytearray(wire)
        broken[self._rng.integers(4, len(wire))] ^= 1 << int(self._rng.integers(8))
        return [(now, bytes(broken))]

    @staticmethod
    def _sealed(way: _Way, record: Any) -> bytes:
        record["crc"] = way.message.crc(record)
        return way.message.encode(record)
