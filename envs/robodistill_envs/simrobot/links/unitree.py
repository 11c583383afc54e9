"""Unitree's own DDS topics: what is written for a Go2, the vendor's SDK too, drives the simulated robot.

Publishes ``rt/lowstate`` with its check sum, and ``rt/wirelesscontroller`` while a remote is held; applies
``rt/lowcmd`` when its check sum is right and the motion switcher has been released; answers the motion switcher.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from robodistill_deploy.drivers.base import Array, Command, Reading, Remote
from robodistill_deploy.drivers.unitree import motion_switcher, remote
from robodistill_deploy.drivers.unitree.dds import Participant, check_interface, configuration, try_write
from robodistill_deploy.drivers.unitree.go2 import (
    COMMAND_TOPIC,
    JOINTS,
    LEGS,
    MOTOR_ON,
    POSITION_STOP,
    REMOTE_TOPIC,
    STATE_TOPIC,
    VELOCITY_STOP,
    LowCmd_,
    LowState_,
    Record,
    WirelessController_,
)
from robodistill_deploy.drivers.unitree.messages import LOW_CMD, LOW_STATE, WIRELESS_CONTROLLER
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.simrobot.links import Face, Option

_CALLS_EVERY = 10
"""Polls between two looks for calls of the motion switcher, which can wait some milliseconds"""
_REMOTE_EVERY = 10
"""States between two samples of the remote"""
_STOP = 0.999
"""Share of a stop value from which it is one: float32 does not hold 2.146e9 exactly"""


def open_link(
    face: Face, *, interface: str = "lo", domain: int = 0, config: str = "", sport_mode: str = "normal"
) -> UnitreeLink:
    """Join DDS ``domain`` on network ``interface``, or as the XML ``config`` says.

    ``sport_mode`` is what drives the motors at first, so that commands count only once it is released; empty: nothing.
    """
    if not config:
        check_interface(interface)
    where: dict[str, Option] = {"interface": interface, "domain": domain, "config": config}
    return UnitreeLink(face, where, Participant(domain, config or configuration(interface)), sport_mode)


class UnitreeLink:
    """The robot's side of Unitree's topics."""

    def __init__(self, face: Face, client: Mapping[str, Option], participant: Participant, sport_mode: str) -> None:
        if sorted(face.joints) != sorted(JOINTS):
            raise RobodistillError(f"link 'unitree' speaks for a robot with the joints {', '.join(JOINTS)}")
        self.client = client
        self.rejected: Counter[str] = Counter()
        self._slot = np.array([JOINTS.index(name) for name in face.joints])
        feet = face.signals.get("foot_force", LEGS)
        self._feet = [feet.index(leg) for leg in LEGS]
        self._participant = participant
        self._commands = participant.reader(COMMAND_TOPIC, LowCmd_)
        self._states = participant.writer(STATE_TOPIC, LowState_)
        self._remotes = participant.writer(REMOTE_TOPIC, WirelessController_)
        self._switcher = motion_switcher.Server(participant, sport_mode)
        self._state = LOW_STATE.zeros()
        self._state["head"], self._state["level_flag"] = (0xFE, 0xEF), 0xFF
        self._state["motor_state"]["mode"][: len(JOINTS)] = MOTOR_ON
        self._polls = self._published = 0

    def poll(self) -> Command | None:
        """Return the newest command that counts and has not been returned yet, without waiting."""
        if self._polls % _CALLS_EVERY == 0:
            self._switcher.serve()
        self._polls += 1
        newest: Command | None = None
        for sample in self._commands.take():
            newest = self._command(sample.wire)
        return newest

    def publish(self, reading: Reading) -> None:
        """Send ``reading`` as a LowState_."""
        state, signals = self._state, reading.signals
        state["tick"] = reading.tick & 0xFFFFFFFF
        imu, motors = state["imu_state"], state["motor_state"]
        imu["quaternion"], imu["gyroscope"] = signals["imu_quat_wxyz"], signals["imu_gyro"]
        imu["rpy"] = roll_pitch_yaw(signals["imu_quat_wxyz"])
        if "imu_accelerometer" in signals:
            imu["accelerometer"] = signals["imu_accelerometer"]
        for name, field in (("joint_pos", "q"), ("joint_vel", "dq"), ("joint_effort", "tau_est")):
            if name in signals:
                motors[field][self._slot] = signals[name]
        if "foot_force" in signals:
            counts = np.clip(np.rint(signals["foot_force"]), -32768, 32767)
            state["foot_force"] = counts[self._feet]
        state["wireless_remote"] = 0 if reading.remote is None else remote.to_receiver(reading.remote)
        state["crc"] = LOW_STATE.crc(state)
        try_write(self._states, LowState_(LOW_STATE.encode(state)))
        if reading.remote is not None and self._published % _REMOTE_EVERY == 0:
            try_write(self._remotes, WirelessController_(WIRELESS_CONTROLLER.encode(_spoken(reading.remote))))
        self._published += 1

    def close(self) -> None:
        """Leave the domain."""
        del self._commands, self._states, self._remotes, self._switcher
        self._participant.close()

    def _command(self, wire: bytes) -> Command | None:
        record = LOW_CMD.decode(wire)
        if record is None:
            self.rejected["size"] += 1
            return None
        if LOW_CMD.crc(record) != record["crc"]:
            self.rejected["check sum"] += 1
            return None
        with np.errstate(invalid="ignore"):  # a signalling NaN, widened; refused below
            command = commanded(record, self._slot)
        parts = (command.position, command.velocity, command.kp, command.kd, command.effort)
        if not all(np.isfinite(part).all() for part in parts):
            self.rejected["not finite"] += 1
            return None
        if self._switcher.mode:
            self.rejected["sport mode"] += 1
            return None
        return command


def commanded(record: Record, slots: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Command:
    """Return what ``record`` asks of the motors in ``slots``.

    A motor whose mode is not on gives no torque; a stop value takes the position or the velocity out of it.
    """
    motors = record["motor_cmd"][slots]
    on = motors["mode"] == MOTOR_ON
    position, velocity = motors["q"].astype(np.float64), motors["dq"].astype(np.float64)
    no_position = ~on | (np.abs(position) >= _STOP * POSITION_STOP)
    no_velocity = ~on | (np.abs(velocity) >= _STOP * VELOCITY_STOP)
    return Command(
        position=np.where(no_position, 0.0, position),
        velocity=np.where(no_velocity, 0.0, velocity),
        kp=np.where(no_position, 0.0, motors["kp"]).astype(np.float64),
        kd=np.where(no_velocity, 0.0, motors["kd"]).astype(np.float64),
        effort=np.where(on, motors["tau"], 0.0).astype(np.float64),
    )


def roll_pitch_yaw(quaternion: Array) -> tuple[float, float, float]:
    """Return the angles [rad] of ``quaternion`` (w, x, y, z), turned about z, then y, then x."""
    w, x, y, z = (float(value) for value in quaternion)
    roll = math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))
    pitch = math.asin(min(max(2.0 * (w * y - z * x), -1.0), 1.0))
    yaw = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return roll, pitch, yaw


def _spoken(held: Remote) -> Record:
    record = WIRELESS_CONTROLLER.zeros()
    for name, value in zip(("lx", "ly", "rx", "ry"), held.axes, strict=True):
        record[name] = value
    record["keys"] = remote.pressed_bits(held.buttons)
    return record
