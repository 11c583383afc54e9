"""Progress: a line now and then into a file, a bar on a terminal, silence when asked."""

from __future__ import annotations

import io

from robodistill.progress import Progress, clock_time


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _work(stream: io.StringIO, quiet: bool = False, start: int = 0) -> None:
    now = [0.0]
    with Progress("teacher", 100, start=start, quiet=quiet, stream=stream, clock=lambda: now[0]) as bar:
        for done in range(start + 1, 101):
            now[0] += 1.0
            bar.update(done, {"return": done / 3, "fps": 12345.678})


def test_a_line_about_every_ten_seconds_into_a_file() -> None:
    stream = io.StringIO()
    _work(stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "teacher 1/100 (1 %)  elapsed 0:01  eta 1:39  return 0.3333  fps 1.235e+04"
    assert lines[-1].startswith("teacher 100/100 (100 %)  elapsed 1:40  eta 0:00  return 33.33")


def test_resumed_work_counts_its_own_speed_only() -> None:
    stream = io.StringIO()
    _work(stream, start=90)
    assert stream.getvalue().splitlines()[0].startswith("teacher 91/100 (91 %)  elapsed 0:01  eta 0:09")


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    _work(stream)
    assert "100%" in stream.getvalue()
    assert "return 33.33" in stream.getvalue()
    assert "elapsed" not in stream.getvalue()


def test_quiet_is_silent() -> None:
    for stream in (io.StringIO(), Terminal()):
        _work(stream, quiet=True)
        assert stream.getvalue() == ""


def test_nothing_done_says_nothing() -> None:
    stream = io.StringIO()
    with Progress("teacher", 0, stream=stream) as bar:
        assert bar.eta_s() is None
    assert stream.getvalue() == ""


def test_clock_time() -> None:
    assert [clock_time(s) for s in (0.4, 59.6, 61, 3723)] == ["0:00", "1:00", "1:01", "1:02:03"]
