"""The UDP protocol: what is packed comes back, and nothing that is not a packet gets through."""

from __future__ import annotations

import dataclasses
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodistill_deploy import udp_protocol as protocol
from robodistill_deploy.drivers.base import Command, Reading, Remote
from robodistill_deploy.drivers.udp import UdpDriver
from robodistill_deploy.errors import DriverError
from robodistill_deploy.udp_protocol import CommandPacket, Layout, MalformedPacketError, StatePacket

LAYOUT = Layout("hopper", ("hip", "knee"), {"imu_quat_wxyz": ("w", "x", "y", "z"), "joint_pos": ("hip", "knee")})
WHEELED = dataclasses.replace(LAYOUT, twist=("vx", "vy", "yaw_rate"))
FLOATS = st.floats(width=64, allow_nan=False, allow_infinity=False)
GAINS = st.floats(min_value=0.0, allow_infinity=False)


def command(values: float = 0.5, twist: int = 0) -> Command:
    two = np.array([values, -values])
    return Command(two, two * 2, np.abs(two) * 3, np.abs(two) * 4, two * 5, np.full(twist, values))


def state(remote: Remote | None = None) -> StatePacket:
    signals = {"imu_quat_wxyz": np.array([1.0, 0.0, 0.0, 0.0]), "joint_pos": np.array([0.1, -0.2])}
    return StatePacket(Reading(12.5, 7, signals, remote), 3, 2)


@given(st.lists(FLOATS, min_size=9, max_size=9), st.lists(GAINS, min_size=4, max_size=4), st.integers(0, 2**64 - 1))
def test_commands_come_back_bit_for_bit(values: list[float], gains: list[float], sequence: int) -> None:
    sent = Command(*(np.array(v) for v in (values[:2], values[2:4], gains[:2], gains[2:], values[4:6], values[6:])))
    data = protocol.pack_command(WHEELED, CommandPacket(sent, sequence, 1.25))
    assert protocol.kind_of(data) == protocol.COMMAND
    got = protocol.unpack_command(WHEELED, data)
    assert (got.sequence, got.stamp) == (sequence, 1.25)
    for field in dataclasses.fields(Command):
        assert getattr(got.command, field.name).tobytes() == getattr(sent, field.name).tobytes(), field.name


@given(st.lists(st.floats(width=64), min_size=6, max_size=6), st.integers(0, 2**64 - 1))
def test_states_come_back_with_whatever_was_measured(values: list[float], tick: int) -> None:
    signals = {"imu_quat_wxyz": np.array(values[:4]), "joint_pos": np.array(values[4:])}
    remote = Remote(np.array([0.5, -1.0, 0.25, 0.0]), frozenset({"A", "L2"}))
    sent = StatePacket(Reading(3.0, tick, signals, remote), 9, 8)
    got = protocol.unpack_state(LAYOUT, protocol.pack_state(LAYOUT, sent))
    assert (got.reading.stamp, got.reading.tick, got.sequence, got.answers) == (3.0, tick, 9, 8)
    for name, value in signals.items():
        np.testing.assert_array_equal(got.reading.signals[name], value)
    assert got.reading.remote is not None
    assert got.reading.remote.buttons == remote.buttons
    np.testing.assert_array_equal(got.reading.remote.axes, remote.axes)
    assert protocol.unpack_state(LAYOUT, protocol.pack_state(LAYOUT, state())).reading.remote is None


def test_the_documented_bytes_of_a_command() -> None:
    """Written out by hand, as a program in C would: docs/udp.md must not drift away from the code."""
    text = (
        b'{"robot":"hopper","joints":["hip","knee"],"signals":[["imu_quat_wxyz",["w","x","y","z"]],'
        b'["joint_pos",["hip","knee"]]],"twist":[]}'
    )
    body = struct.pack("<4sHHIIQd", b"RDUP", 1, 4, zlib.crc32(text), 116, 21, 0.5)
    body += struct.pack("<10d", 0.5, -0.5, 1.0, -1.0, 1.5, 1.5, 2.0, 2.0, 2.5, -2.5)
    by_hand = body + struct.pack("<I", zlib.crc32(body))
    assert protocol.pack_command(LAYOUT, CommandPacket(command(), 21, 0.5)) == by_hand
    assert protocol.unpack_description(protocol.pack_description(LAYOUT, 0, 0.0)) == LAYOUT


def resealed(data: bytes) -> bytes:
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


@pytest.mark.parametrize("field", ["joints", "signals", "twist", "robot"])
def test_sides_that_disagree_about_the_layout_refuse_each_other(field: str) -> None:
    other = {
        "joints": ("knee", "hip"), "signals": {"joint_pos": ("hip", "knee"), "imu_quat_wxyz": ("w", "x", "y", "z")},
        "twist": ("vx",), "robot": "hopper2",
    }  # fmt: skip
    theirs = dataclasses.replace(LAYOUT, **{field: other[field]})
    data = protocol.pack_command(LAYOUT, CommandPacket(command(), 1, 0.0))
    with pytest.raises(MalformedPacketError, match="layout"):
        protocol.unpack_command(theirs, data)
    protocol.unpack_command(LAYOUT, data)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["position", "velocity", "kp", "kd", "effort"])
def test_a_command_that_is_not_finite_is_refused(field: str, value: float) -> None:
    bad = dataclasses.replace(command(), **{field: np.array([0.0, value])})
    with pytest.raises(MalformedPacketError, match="not_finite"):
        protocol.unpack_command(LAYOUT, protocol.pack_command(LAYOUT, CommandPacket(bad, 1, 0.0)))


def test_negative_gains_are_refused() -> None:
    bad = dataclasses.replace(command(), kd=np.array([1.0, -1e-9]))
    with pytest.raises(MalformedPacketError, match="negative_gain"):
        protocol.unpack_command(LAYOUT, protocol.pack_command(LAYOUT, CommandPacket(bad, 1, 0.0)))


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return ``data`` with bits flipped, a piece cut, doubled or replaced; half of them with a CRC that fits."""
    raw = bytearray(data)
    kind = rng.integers(5)
    at = int(rng.integers(len(raw)))
    if kind == 0:
        raw[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del raw[at:]
    elif kind == 2:
        raw[at:at] = rng.bytes(int(rng.integers(1, 40)))
    elif kind == 3:
        raw[at : at + 8] = rng.bytes(8)
    else:
        raw = bytearray(rng.bytes(int(rng.integers(0, 200))))
    return resealed(bytes(raw)) if len(raw) >= 4 and rng.integers(2) else bytes(raw)


def read(data: bytes) -> object:
    kind = protocol.kind_of(data)
    if kind == protocol.DESCRIPTION:
        return protocol.unpack_description(data)
    if kind == protocol.STATE:
        return protocol.unpack_state(WHEELED, data)
    return protocol.unpack_command(WHEELED, data) if kind == protocol.COMMAND else kind


def fuzz(count: int) -> tuple[int, int]:
    """Return how many mutated packets were refused, and how many were packets all the same."""
    rng = np.random.default_rng(0)
    packets = [
        protocol.pack_hello(1, 0.5), protocol.pack_description(WHEELED, 1, 0.5), protocol.pack_state(WHEELED, state()),
        protocol.pack_command(WHEELED, CommandPacket(command(0.5, 3), 4, 0.5)),
    ]  # fmt: skip
    refused = passed = 0
    for i in range(count):
        original = packets[i % len(packets)]
        data = mutated(original, rng)
        try:
            got = read(data)
        except MalformedPacketError:
            refused += 1
            continue
        passed += 1
        # a packet with a CRC that fits is a packet: but its numbers must be ones that a robot may be given
        assert data == original or resealed(data) == data
        if isinstance(got, CommandPacket):
            numbers = [getattr(got.command, field.name) for field in dataclasses.fields(Command)]
            assert np.isfinite(np.concatenate(numbers)).all()
    return refused, passed


def test_mutated_packets_are_refused_without_a_crash() -> None:
    refused, passed = fuzz(2000)
    assert refused > 1500
    assert passed > 0, "the mutations with a CRC that fits should get through now and then"


@pytest.mark.slow
def test_a_hundred_thousand_mutated_packets() -> None:
    refused, passed = fuzz(100_000)
    assert refused + passed == 100_000
    assert refused > 75_000


@pytest.mark.parametrize("bit", range(0, 116 * 8, 37))
def test_any_bit_flipped_on_the_way_shows(bit: int) -> None:
    data = bytearray(protocol.pack_command(LAYOUT, CommandPacket(command(), 1, 0.0)))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MalformedPacketError):
        protocol.kind_of(bytes(data))


class FakeRobot(threading.Thread):
    """A robot in thirty lines: answers HELLO, and lets the test send what it wants."""

    def __init__(self, layout: Layout = LAYOUT) -> None:
        super().__init__(daemon=True)
        self.layout = layout
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.05)
        self.port: int = self.socket.getsockname()[1]
        self.peer: tuple[str, int] | None = None
        self.commands: list[CommandPacket] = []
        self.done = False

    def run(self) -> None:
        while not self.done:
            try:
                data, peer = self.socket.recvfrom(65507)
            except TimeoutError:
                continue
            self.peer = peer
            if protocol.kind_of(data) == protocol.HELLO:
                self.socket.sendto(protocol.pack_description(self.layout, 0, 0.0), peer)
            else:
                self.commands.append(protocol.unpack_command(self.layout, data))
        self.socket.close()

    def send(self, data: bytes) -> None:
        assert self.peer is not None
        self.socket.sendto(data, self.peer)


@pytest.fixture
def robot() -> Iterator[FakeRobot]:
    fake = FakeRobot()
    fake.start()
    yield fake
    fake.done = True
    fake.join()


def wait_for(what: object, seconds: float = 2.0) -> None:
    end = time.monotonic() + seconds
    assert callable(what)
    while not what():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.002)


def test_the_driver_knows_the_robot_and_sends_commands(robot: FakeRobot) -> None:
    driver = UdpDriver(port=robot.port)
    assert driver.joints == LAYOUT.joints
    assert driver.signals == LAYOUT.signals
    driver.open()
    assert driver.read() is None
    driver.write(command())
    wait_for(lambda: robot.commands)
    np.testing.assert_array_equal(robot.commands[0].command.effort, [2.5, -2.5])
    driver.close()
    with pytest.raises(DriverError, match="open"):
        driver.write(command())


def test_the_driver_takes_the_newest_and_ignores_what_is_wrong(robot: FakeRobot) -> None:
    driver = UdpDriver(port=robot.port)
    driver.open()
    good = state()
    newer = dataclasses.replace(good, sequence=5, reading=dataclasses.replace(good.reading, tick=40))
    before = time.monotonic()
    data = protocol.pack_state(LAYOUT, newer)
    flipped, older = bytes([*data[:-1], data[-1] ^ 1]), protocol.pack_state(LAYOUT, good)
    driver.read()
    for packet in (b"", b"nonsense", data[:-1], flipped, data, older):
        robot.send(packet)
    wait_for(lambda: driver.read() is not None and sum(driver.rejected.values()) == 5)
    reading = driver.read()
    assert reading is not None
    assert reading.tick == 40, "an older packet came later and must not win"
    assert reading.stamp >= before, "stamped on arrival, by this machine's clock"
    assert driver.rejected == {"short": 2, "length": 1, "crc": 1, "old": 1}
    driver.close()


def test_no_robot_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(DriverError, match=r"no robot answered at 127\.0\.0\.1:9.*set host and port"):
        UdpDriver(port=9, timeout=0.3).open()


def test_drivers_import_neither_torch_nor_mujoco() -> None:
    code = (
        "import sys; import robodistill_deploy.drivers.udp, robodistill_deploy.drivers.sim; "
        "print({'torch', 'mujoco', 'robodistill_envs'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    planted = code.replace("import sys;", "import sys, mujoco;")
    done = subprocess.run([sys.executable, "-c", planted], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'mujoco'}"


def test_in_lockstep_a_lost_command_is_sent_again_until_it_is_answered(robot: FakeRobot) -> None:
    driver = UdpDriver(port=robot.port, lockstep=True, timeout=1.0)
    driver.open()
    robot.send(protocol.pack_state(LAYOUT, dataclasses.replace(state(), sequence=1, answers=0)))
    assert driver.read() is not None, "before the first command there is nothing to wait for"
    driver.write(command())
    answer = protocol.pack_state(LAYOUT, dataclasses.replace(state(), sequence=2, answers=1))
    threading.Timer(0.4, robot.send, [answer]).start()
    reading = driver.read()
    assert reading is not None
    assert reading.stamp == 12.5, "the robot's own time"
    assert len(robot.commands) >= 3
    assert {packet.sequence for packet in robot.commands} == {1}
    driver.write(command())
    with pytest.raises(DriverError, match="no answer to a command within 1 s; is the robot in lockstep"):
        driver.read()
