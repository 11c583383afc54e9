"""Deadlines are absolute; a loop pauses, steps and slows down as it is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from robodistill.play.pace import Loop, Pacer
from robodistill.play.session import Session
from robodistill_deploy.errors import RobodistillError

MakeSession = Callable[..., Session]


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def test_errors_do_not_add_up() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    for tick in range(200):
        clock.now += 0.003 + 0.002 * (tick % 3)  # the work takes now more, now less
        clock.now += pacer.wait_s(0.02, 0.02) + 0.001  # and every sleep is too long
    assert clock.now == pytest.approx(10.0 + 200 * 0.02, abs=0.002)
    assert pacer.factor == pytest.approx(1.0, abs=0.03)


def test_a_late_tick_is_caught_up_and_a_long_stop_is_not() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    clock.now += 0.05
    assert pacer.wait_s(0.02, 0.02) == 0.0
    assert pacer.wait_s(0.02, 0.02) == 0.0
    assert pacer.wait_s(0.02, 0.02) == pytest.approx(0.01)
    clock.now += 100.0
    assert pacer.wait_s(0.02, 0.02) == 0.0
    assert pacer.wait_s(0.02, 0.02) == pytest.approx(0.02)  # not five thousand ticks at once


@pytest.fixture
def loop(make_session: MakeSession) -> Iterator[Loop]:
    loop = Loop(make_session("pendulum_swingup"))
    loop.paused = True
    loop.start()
    yield loop
    loop.stop()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_pause_step_go(loop: Loop) -> None:
    time.sleep(0.1)
    assert loop.session.ticks == 0
    loop.single_step()
    assert until(lambda: loop.session.ticks == 1)
    time.sleep(0.1)
    assert loop.session.ticks == 1
    loop.paused = False
    assert until(lambda: loop.session.ticks > 5)
    loop.paused = True


def test_time_passes_at_most_at_the_speed_set(loop: Loop) -> None:
    loop.set_speed(0.25)
    loop.paused = False
    began = time.perf_counter()
    assert until(lambda: loop.session.ticks >= 10)
    took = time.perf_counter() - began
    loop.paused = True
    # 10 ticks of 0.04 s at a quarter of real time are 1.6 s; a busy machine may take longer, never less
    assert took > 0.9 * 9 * 0.04 / 0.25
    loop.set_speed(7.0)
    assert loop.speed == 1.0


def test_a_failure_ends_the_loop_and_is_kept(make_session: MakeSession, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session("pendulum_swingup")

    def fail() -> None:
        raise RobodistillError("no such luck")

    monkeypatch.setattr(session, "tick", fail)
    loop = Loop(session)
    loop.start()
    assert until(lambda: loop.failure is not None)
    assert "no such luck" in str(loop.failure)
    loop.stop()
