"""Operators: who steers, what an emergency stop does while the loop hangs, and how silence ends."""

from __future__ import annotations

import dataclasses
import fcntl
import math
import os
import pty
import signal
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodistill_deploy.drivers.base import Command, Reading, Remote
from robodistill_deploy.errors import DriverError, RobodistillError
from robodistill_deploy.machine import Mode
from robodistill_deploy.operators import Fixed, gamepad
from robodistill_deploy.operators.gamepad import EVENT, Gamepad, find_gamepad
from robodistill_deploy.operators.keyboard import HOLD, SPEED, Keyboard
from robodistill_deploy.operators.options import make_operator
from robodistill_deploy.operators.remote import RemoteOperator
from robodistill_deploy.operators.steering import Steering, without_rest
from robodistill_deploy.operators.stop import EmergencyStop, GuardedDriver
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runner import Record, Runner, Settings
from robodistill_deploy.runtime import Policy

LOW, HIGH = (-1.0, -1.2), (1.5, 1.2)
"""What the toy's vx and yaw_rate were trained in."""


@pytest.fixture
def steering(spec: PolicySpec) -> Steering:
    return Steering(spec)


@pytest.fixture
def stop() -> EmergencyStop:
    return EmergencyStop()


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# Steering


def test_sticks_go_to_the_ends_of_what_was_trained_by_name(steering: Steering) -> None:
    assert steering.axes == ("forward", "turn")
    assert steering.command(1.0, 1.0, 1.0) == HIGH
    assert steering.command(-1.0, 0.0, -9.0) == LOW
    middle = steering.command(0.0, 0.0, 0.0)
    assert middle[0] < steering.command(0.5, 0.0, 0.0)[0] < HIGH[0]
    assert steering.command(0.0, 1.0, 0.0) == middle  # nothing of the toy goes sideways


def test_commands_that_no_stick_gives_are_refused(spec: PolicySpec) -> None:
    face = spec.interface
    odd = dataclasses.replace(face.signal("command"), elements=("height", "pitch"))
    signals = tuple(odd if s.name == "command" else s for s in face.signals)
    with pytest.raises(RobodistillError, match="height, pitch; an operator's sticks drive vx"):
        Steering(dataclasses.replace(spec, interface=dataclasses.replace(face, signals=signals)))


def test_the_middle_of_a_stick_rests() -> None:
    assert [without_rest(v, 0.1) for v in (0.0, 0.1, -0.1, math.nan, 1.0, -1.0)] == [0.0, 0.0, 0.0, 0.0, 1.0, -1.0]
    assert without_rest(0.55, 0.1) == pytest.approx(0.5)


# Keyboard


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The far end, where a person types, and the near end."""
    far, near = pty.openpty()
    yield far, near
    for fd in (far, near):
        try:
            os.close(fd)
        except OSError:
            pass


@pytest.fixture
def keyboard(terminal: tuple[int, int], steering: Steering, stop: EmergencyStop) -> Iterator[Keyboard]:
    made = Keyboard(steering, stop, patience=1.0, fd=terminal[1])
    made.open()
    yield made
    made.close()


def test_keys_steer_while_they_are_held(
    keyboard: Keyboard, terminal: tuple[int, int], steering: Steering
) -> None:
    rest = steering.command(0.0, 0.0, 0.0)
    assert keyboard.poll(time.monotonic(), None).command == rest
    os.write(terminal[0], b"wQ")
    wanted = steering.command(SPEED, 0.0, SPEED)
    until(lambda: keyboard.poll(time.monotonic(), None).command == wanted)
    heard = time.monotonic()
    assert keyboard.poll(heard + HOLD + 0.1, None).command == rest  # released
    os.write(terminal[0], b"+++++++s")
    until(lambda: keyboard.poll(time.monotonic(), None).command[0] == LOW[0])


def test_enter_arms_and_space_stops_for_good(
    keyboard: Keyboard, terminal: tuple[int, int], stop: EmergencyStop
) -> None:
    assert not keyboard.poll(time.monotonic(), None).arm
    os.write(terminal[0], b"\r")
    until(lambda: keyboard.poll(time.monotonic(), None).arm)
    os.write(terminal[0], b" ")
    until(lambda: stop.pressed)
    os.write(terminal[0], b"w\r")
    time.sleep(0.05)
    operation = keyboard.poll(time.monotonic(), None)
    assert (operation.arm, operation.stop) == (False, True)


def test_silence_stands_then_lets_the_dead_man_act(keyboard: Keyboard) -> None:
    t = time.monotonic()
    assert keyboard.poll(t + 0.5, None).stamp == t + 0.5
    late = keyboard.poll(t + 5.0, None)
    assert late.stamp == pytest.approx(t + 1.0, abs=0.3)  # its age grows from here on


def test_a_terminal_that_goes_away_is_silent_at_once(keyboard: Keyboard, terminal: tuple[int, int]) -> None:
    os.close(terminal[0])
    until(lambda: keyboard.poll(time.monotonic() + 0.3, None).stamp < time.monotonic())


def test_control_c_stops_and_interrupts(
    keyboard: Keyboard, terminal: tuple[int, int], stop: EmergencyStop
) -> None:
    del keyboard
    got: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: got.append(number))
    try:
        os.write(terminal[0], b"\x03")
        until(lambda: bool(got))
    finally:
        signal.signal(signal.SIGINT, before)
    assert stop.pressed


def test_the_terminal_is_left_as_it_was(
    terminal: tuple[int, int], steering: Steering, stop: EmergencyStop
) -> None:
    before = termios.tcgetattr(terminal[1])
    made = Keyboard(steering, stop, fd=terminal[1])
    made.open()
    assert termios.tcgetattr(terminal[1]) != before
    made.close()
    assert termios.tcgetattr(terminal[1]) == before


def test_no_terminal_is_said(steering: Steering, stop: EmergencyStop, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(RobodistillError, match="is no terminal"):
        Keyboard(steering, stop, fd=file.fileno()).open()


# Gamepad


@pytest.fixture
def pad(
    tmp_path: Path, steering: Steering, stop: EmergencyStop, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Gamepad, int]]:
    """A gamepad at a pipe, and where its events go in."""
    monkeypatch.setattr(gamepad, "stick_range", lambda fd, axis: (0, 255))
    path = tmp_path / "event0"
    os.mkfifo(path)
    far = os.open(path, os.O_RDWR)
    made = Gamepad(steering, stop, patience=60.0, device=path)
    made.open()
    yield made, far
    made.close()
    os.close(far)


def send(fd: int, kind: int, code: int, value: int) -> None:
    os.write(fd, EVENT.pack(1, 2, kind, code, value))


def test_sticks_count_only_while_the_dead_man_is_held(pad: tuple[Gamepad, int], steering: Steering) -> None:
    made, far = pad
    rest = steering.command(0.0, 0.0, 0.0)
    send(far, gamepad.ABSOLUTE, gamepad.LEFT_Y, 0)  # pushed forward
    send(far, gamepad.ABSOLUTE, gamepad.RIGHT_X, 255)  # to the right
    time.sleep(0.1)
    assert made.poll(time.monotonic(), None).command == rest
    send(far, gamepad.KEY, gamepad.HOLD, 1)
    until(lambda: made.poll(time.monotonic(), None).command == (HIGH[0], LOW[1]))
    assert made.poll(time.monotonic() + gamepad.FRESH + 0.1, None).command == rest  # out of range, values kept
    send(far, gamepad.KEY, gamepad.HOLD, 0)
    until(lambda: made.poll(time.monotonic(), None).command == rest)
    send(far, gamepad.KEY, gamepad.HOLD, 1)
    until(lambda: made.poll(time.monotonic(), None).command != rest)
    send(far, gamepad.SYNC, gamepad.DROPPED, 0)
    until(lambda: made.poll(time.monotonic(), None).command == rest)


def test_pad_buttons_arm_and_stop_also_in_pieces(pad: tuple[Gamepad, int], stop: EmergencyStop) -> None:
    made, far = pad
    send(far, gamepad.KEY, gamepad.ARM, 1)
    until(lambda: made.poll(time.monotonic(), None).arm)
    event = EVENT.pack(1, 2, gamepad.KEY, gamepad.STOP, 1)
    os.write(far, event[:7])
    time.sleep(0.05)
    assert not stop.pressed
    os.write(far, event[7:])
    until(lambda: stop.pressed)


def test_an_unplugged_pad_is_silent_at_once(
    tmp_path: Path, steering: Steering, stop: EmergencyStop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gamepad, "stick_range", lambda fd, axis: (0, 255))
    path = tmp_path / "event0"
    os.mkfifo(path)
    keep = os.open(path, os.O_RDWR)
    made = Gamepad(steering, stop, device=path)
    made.open()
    send(keep, gamepad.KEY, gamepad.HOLD, 1)
    send(keep, gamepad.ABSOLUTE, gamepad.LEFT_Y, 0)
    until(lambda: made.poll(time.monotonic(), None).command[0] == HIGH[0])
    os.close(keep)
    until(lambda: made.poll(time.monotonic() + 0.3, None).stamp < time.monotonic())
    assert made.poll(time.monotonic() + 0.3, None).command == steering.command(0.0, 0.0, 0.0)
    made.close()


def test_the_pad_is_found_in_the_kernels_list(tmp_path: Path) -> None:
    listed = tmp_path / "devices"
    listed.write_text(
        'N: Name="keyboard"\nH: Handlers=sysrq kbd event0 leds\n\nN: Name="pad"\nH: Handlers=event17 js0 \n'
    )
    assert find_gamepad(listed) == Path("/dev/input/event17")
    listed.write_text('N: Name="keyboard"\nH: Handlers=kbd event0\n')
    with pytest.raises(RobodistillError, match="none found; plug it in"):
        find_gamepad(listed)


def test_a_device_that_is_no_pad_is_refused(steering: Steering, stop: EmergencyStop, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RobodistillError, match="no pad with two sticks"):
        Gamepad(steering, stop, device=tmp_path / "file").open()
    with pytest.raises(RobodistillError, match="No such file"):
        Gamepad(steering, stop, device=tmp_path / "none").open()


def test_the_request_for_a_range_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ioctl(fd: int, request: int, data: bytes) -> bytes:
        asked.append(request)
        return gamepad.struct.pack("6i", 3, -32768, 32767, 16, 128, 0)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert gamepad.stick_range(0, 3) == (-32768, 32767)
    assert asked == [0x80184543]  # EVIOCGABS(ABS_RX)


# The robot's remote


def test_the_remote_steers_arms_and_stops(steering: Steering, stop: EmergencyStop) -> None:
    operator = RemoteOperator(steering, stop)
    rest = steering.command(0.0, 0.0, 0.0)
    assert operator.poll(1.0, None).command == rest
    assert operator.poll(1.0, None).stamp == -math.inf  # never heard
    forward = Remote(np.array([0.0, 1.0, -1.0, 0.0]))
    first = operator.poll(2.0, forward)
    assert (first.command, first.stamp, first.arm) == (HIGH, 2.0, False)
    assert operator.poll(2.1, forward).stamp == 2.0  # the same one again is no news
    assert operator.poll(2.3, forward).command == rest
    assert operator.poll(2.4, Remote(np.zeros(4), frozenset({"start"}))).arm
    operator.watch(Remote(np.zeros(4), frozenset({"L2"})))
    assert not stop.pressed
    last = operator.poll(2.5, Remote(np.zeros(4), frozenset({"L2", "B", "start"})))
    assert (last.stop, last.arm) == (True, False)


def test_words_choose_an_operator(spec: PolicySpec, stop: EmergencyStop) -> None:
    assert make_operator("fixed", spec, stop, (0.5, 0.2))[0].poll(0.0, None).command == (0.5, 0.2)
    assert isinstance(make_operator("keyboard", spec, stop)[0], Keyboard)
    assert isinstance(make_operator("gamepad", spec, stop)[0], Gamepad)
    assert make_operator("remote", spec, stop)[1] is not None
    with pytest.raises(RobodistillError, match="did you mean 'keyboard'"):
        make_operator("keybord", spec, stop)
    with pytest.raises(RobodistillError, match="gives its own"):
        make_operator("remote", spec, stop, (0.5, 0.2))


# The stop


class Link:
    """A driver in real time; ``hang`` holds whoever reads."""

    joints = ("wheel", "calf", "hip", "thigh")
    signals = {  # noqa: RUF012
        "imu_gyro": ("x", "y", "z"), "joint_vel": joints, "joint_pos": ("hip", "wheel", "thigh", "calf"),
    }  # fmt: skip

    def __init__(self) -> None:
        self.written: list[tuple[float, Command]] = []
        self.count = 0
        self.remote: Remote | None = None
        self.broken = False

    def open(self) -> None: ...

    def close(self) -> None: ...

    def read(self) -> Reading | None:
        self.count += 1
        signals = {"imu_gyro": np.full(3, 1e-6 * self.count), "joint_vel": np.zeros(4)}
        signals["joint_pos"] = np.array([0.1, 0.0, 0.8, -1.5])
        return Reading(time.monotonic(), self.count, signals, self.remote)

    def write(self, command: Command) -> None:
        if self.broken:
            self.broken = False
            raise DriverError("once")
        self.written.append((time.monotonic(), command))


def damps(command: Command) -> bool:
    return not command.kp.any() and bool((command.kd > 0.0).all())


@pytest.mark.slow
@pytest.mark.parametrize("by", ["thread", "remote"])
def test_stop_damps_while_the_policy_hangs(
    policy: Policy, stop: EmergencyStop, steering: Steering, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    link, watcher = Link(), RemoteOperator(steering, stop)
    guard = GuardedDriver(link, stop, watcher.watch)
    hanging, free = threading.Event(), threading.Event()
    records: list[Record] = []
    runner = Runner(
        policy, guard, Fixed((0.1, 0.0)), Settings(preflight_seconds=0.0, ramp_seconds=0.1), observer=records.append
    )
    guard.damp_with(runner.filter.damping)
    tick = policy.tick_vector

    def hang(inputs: Any) -> Any:
        if len([r for r in records if r.mode is Mode.POLICY]) > 20 and not free.is_set():
            hanging.set()
            free.wait(20.0)
        return tick(inputs)

    monkeypatch.setattr(policy, "tick_vector", hang)
    thread = threading.Thread(target=runner.run, args=(20.0,))
    thread.start()
    try:
        assert hanging.wait(10.0)
        time.sleep(0.05)
        assert not damps(link.written[-1][1])  # nobody stops it: the robot's own watchdog would have to
        pressed = time.monotonic()
        if by == "thread":
            stop.press("a test")
        else:
            link.remote = Remote(np.zeros(4), frozenset({"L2", "B"}))
        until(lambda: sum(damps(c) for t, c in link.written if t > pressed) > 5)
        first = next(t for t, _ in link.written if t > pressed)
        assert first - pressed < 1.0  # the guard needs 0.03 to 0.15 s; the rest is for a crowded machine
    finally:
        free.set()
        runner.stop("done")
        thread.join(10.0)
    assert all(damps(command) for t, command in link.written if t > pressed)  # also after it came back


def test_the_guard_tries_again_where_the_link_fails_once(stop: EmergencyStop, policy: Policy) -> None:
    link = Link()
    guard = GuardedDriver(link, stop)
    guard.damp_with(Runner(policy, guard, Fixed((0.0, 0.0))).filter.damping)
    guard.open()
    link.broken = True
    stop.press("a test")
    until(lambda: len(link.written) > 3)
    guard.close()
    count = len(link.written)
    time.sleep(0.05)
    assert len(link.written) == count  # and is silent once it is closed


def test_without_a_stop_the_guard_changes_nothing(stop: EmergencyStop, policy: Policy) -> None:
    link = Link()
    guard = GuardedDriver(link, stop)
    damping = Runner(policy, guard, Fixed((0.0, 0.0))).filter.damping
    guard.damp_with(damping)
    stiff = dataclasses.replace(damping, kp=np.ones(4))
    guard.open()
    guard.write(stiff)
    time.sleep(0.1)
    assert [command for _, command in link.written] == [stiff]
    stop.press("a test")
    guard.write(stiff)
    guard.close()
    assert damps(link.written[-1][1])
    assert not any(not damps(command) for _, command in link.written[1:])
