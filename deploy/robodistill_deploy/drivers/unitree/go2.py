"""The link to a Unitree Go2 over DDS: ``rt/lowstate`` in, ``rt/lowcmd`` out."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np

from robodistill_deploy.drivers.base import Array, Command, Reading, Remote
from robodistill_deploy.drivers.unitree import motion_switcher, remote
from robodistill_deploy.drivers.unitree.dds import (
    Participant,
    Reader,
    check_interface,
    configuration,
    try_write,
)
from robodistill_deploy.drivers.unitree.idl import raw_type
from robodistill_deploy.drivers.unitree.messages import LOW_CMD, LOW_STATE, WIRELESS_CONTROLLER
from robodistill_deploy.errors import DriverError

LEGS = ("FR", "FL", "RR", "RL")
JOINTS = tuple(f"{leg}_{joint}_joint" for leg in LEGS for joint in ("hip", "thigh", "calf"))
"""The joint in each motor slot from 0 on; slots 12 to 19 have no motor on a Go2"""
SIGNALS = {
    "imu_quat_wxyz": ("w", "x", "y", "z"),
    "imu_gyro": ("x", "y", "z"),
    "imu_accelerometer": ("x", "y", "z"),
    "joint_pos": JOINTS,
    "joint_vel": JOINTS,
    "joint_effort": JOINTS,
    "foot_force": LEGS,
}
STATE_TOPIC, COMMAND_TOPIC, REMOTE_TOPIC = "rt/lowstate", "rt/lowcmd", "rt/wirelesscontroller"
MOTOR_ON = 0x01
POSITION_STOP, VELOCITY_STOP = 2.146e9, 16000.0
"""[rad], [rad/s] what a motor takes as: do not control this (PosStopF, VelStopF)"""
_REMOTE_AGE = 0.5
"""[s] after which a sample of ``rt/wirelesscontroller`` is old"""
_STALL = 0.1
"""[s] between two reads after which what has arrived meanwhile is thrown away: nobody knows its age"""
Record = np.ndarray[Any, np.dtype[Any]]

LowState_ = raw_type(LOW_STATE.struct)
LowCmd_ = raw_type(LOW_CMD.struct)
WirelessController_ = raw_type(WIRELESS_CONTROLLER.struct)


class _Topics:
    """What an open driver reads and writes."""

    def __init__(self, participant: Participant) -> None:
        self.participant = participant
        self.states = participant.reader(STATE_TOPIC, LowState_)
        self.remotes = participant.reader(REMOTE_TOPIC, WirelessController_)
        self.commands = participant.writer(COMMAND_TOPIC, LowCmd_)


class UnitreeDriver:
    """A Unitree Go2.

    interface: the network interface that the robot is plugged into, by name, such as ``enp2s0``; ``lo`` for a
    simulated robot on this machine. domain: DDS domain, 0 on the robot. config: CycloneDDS's XML instead of what
    follows from ``interface``. timeout: [s] for the robot to be found, and for its sport mode to end.
    release_sport_mode: false for a robot without that service. foot_force_scale: [N] per count of the foot sensors,
    whose counts are not calibrated.

    Signals are as the robot measures them: the IMU in its own frame, joints in rad, rad/s and N m (estimated).
    """

    joints = JOINTS
    signals = SIGNALS

    def __init__(
        self,
        *,
        interface: str = "lo",
        domain: int = 0,
        config: str = "",
        timeout: float = 5.0,
        release_sport_mode: bool = True,
        foot_force_scale: float = 1.0,
    ) -> None:
        self._interface, self._domain, self._config = interface, int(domain), config
        self._timeout, self._release = float(timeout), release_sport_mode
        self._foot_force_scale = float(foot_force_scale)
        self._topics: _Topics | None = None
        self._reading: Reading | None = None
        self._spoken: tuple[float, Remote | None] = (-np.inf, None)
        self._read_at = 0.0
        self._record = low_level_command()
        self.received = 0
        """States that were good"""
        self.rejected: Counter[str] = Counter()
        """Reason -> how many states were dropped for it, or commands (``unsent``)"""

    def open(self) -> None:
        """Find the robot, then release its sport mode, unless that is done. A DriverError says what is missing."""
        if self._topics is not None:
            return
        if not self._config:
            check_interface(self._interface)
        self._spoken = (-np.inf, None)
        self.rejected.clear()
        participant = Participant(self._domain, self._config or configuration(self._interface))
        try:
            self._topics = _Topics(participant)
            self._find()
            if self._release:
                motion_switcher.release(participant, self._timeout)
                self._find()  # the reading from before is old by now
        except BaseException:
            self.close()
            participant.close()
            raise

    def read(self) -> Reading | None:
        """Return the newest reading without waiting; None before the first one.

        Its stamp is when it was taken here, later than it arrived by no more than the time since the last call; after
        a stall of this program what has queued up is dropped instead.
        """
        topics, last, self._read_at = self._open, self._read_at, time.monotonic()
        if self._read_at - last > _STALL:
            self._count("stalled", len(topics.states.take()) + len(topics.remotes.take()))
        for sample in topics.states.take():
            state = LOW_STATE.decode(sample.wire)
            if state is None:
                self._count("size")
            elif LOW_STATE.crc(state) != state["crc"]:
                self._count("check sum")
            else:
                self.received += 1
                self._reading = self._measured(state, topics.remotes)
        return self._reading

    def wait(self, seconds: float) -> bool:
        """Wait for a state that ``read`` has not taken; return False if none comes within ``seconds``."""
        return self._open.states.wait(seconds)

    def write(self, command: Command) -> None:
        """Send ``command`` without waiting; what DDS has no room for is dropped, for the next is fresher."""
        topics = self._open
        fill(self._record, command)
        if not try_write(topics.commands, LowCmd_(LOW_CMD.encode(self._record))):
            self._count("unsent")

    def close(self) -> None:
        """Leave the robot's network. The last command stays the last: be damped before."""
        topics, self._topics = self._topics, None
        if topics is not None:
            topics.participant.close()

    @property
    def _open(self) -> _Topics:
        if self._topics is None:
            raise DriverError("the unitree driver is not open; call open() first")
        return self._topics

    def _count(self, reason: str, times: int = 1) -> None:
        if times:
            self.rejected[reason] += times

    def _find(self) -> None:
        """Wait for a state that comes from now on: one that has queued up is of unknown age."""
        self._open.states.take()
        self._open.remotes.take()
        self._reading, self._read_at = None, time.monotonic()
        end = time.monotonic() + self._timeout
        while self.read() is None:
            left = end - time.monotonic()
            if left <= 0:
                raise DriverError(self._why_not_found())
            self.wait(min(left, 0.1))

    def _why_not_found(self) -> str:
        where = f"interface {self._interface}, domain {self._domain}"
        if self.rejected["check sum"] or self.rejected["size"]:
            return (
                f"every {STATE_TOPIC} on {where} is damaged ({dict(self.rejected)}); is it a Go2 with current firmware?"
            )
        return (
            f"no {STATE_TOPIC} on {where} within {self._timeout:g} s; is the robot on, the cable in, this interface "
            "in the robot's network (ping 192.168.123.161), and no firewall between?"
        )

    def _measured(self, state: Record, remotes: Reader) -> Reading:
        imu, motors = state["imu_state"], state["motor_state"][: len(JOINTS)]
        with np.errstate(invalid="ignore"):  # a signalling NaN, widened; the safety filter sees to it
            signals: dict[str, Array] = {
                "imu_quat_wxyz": imu["quaternion"].astype(np.float64),
                "imu_gyro": imu["gyroscope"].astype(np.float64),
                "imu_accelerometer": imu["accelerometer"].astype(np.float64),
                "joint_pos": motors["q"].astype(np.float64),
                "joint_vel": motors["dq"].astype(np.float64),
                "joint_effort": motors["tau_est"].astype(np.float64),
                "foot_force": state["foot_force"] * self._foot_force_scale,
            }
        now = time.monotonic()
        return Reading(now, int(state["tick"]), signals, self._remote(state, remotes, now))

    def _remote(self, state: Record, remotes: Reader, now: float) -> Remote | None:
        """Return what the state says of the remote, else what its own topic said lately, else None."""
        for sample in remotes.take():
            spoken = WIRELESS_CONTROLLER.decode(sample.wire)
            if spoken is not None:
                self._spoken = now, remote.from_topic(spoken)
        since, spoken = self._spoken
        return remote.from_receiver(state["wireless_remote"]) or (spoken if now - since < _REMOTE_AGE else None)


def low_level_command() -> Record:
    """Return a LowCmd_ that controls nothing: every motor on, at its stop values, without gains."""
    record = LOW_CMD.zeros()
    record["head"] = (0xFE, 0xEF)
    record["level_flag"] = 0xFF
    motors = record["motor_cmd"]
    motors["mode"], motors["q"], motors["dq"] = MOTOR_ON, POSITION_STOP, VELOCITY_STOP
    return record


def fill(record: Record, command: Command) -> None:
    """Write ``command``, in the order of ``JOINTS``, and the CRC into ``record``."""
    motors = record["motor_cmd"][: len(JOINTS)]
    motors["q"], motors["dq"], motors["tau"] = command.position, command.velocity, command.effort
    motors["kp"], motors["kd"] = command.kp, command.kd
    record["crc"] = LOW_CMD.crc(record)
