"""``robodistill-run run``: words to a driver, one-line errors, what is said, and how a run ends."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from robodistill_deploy import cli, status
from robodistill_deploy.driver_options import find_driver, make_driver
from robodistill_deploy.errors import DriverError
from robodistill_deploy.operators import Fixed
from robodistill_deploy.runtime import load_policy

LINK = '''
import time
import numpy as np
from robodistill_deploy.drivers.base import Reading

JOINTS = ("wheel", "calf", "hip", "thigh")

class Link:
    joints = JOINTS
    signals = {"imu_gyro": ("x", "y", "z"), "joint_vel": JOINTS, "joint_pos": ("hip", "thigh", "calf", "wheel")}
    log = []

    def __init__(self, *, port: int = 1, gain: float = 1.0, name: str = "a", quiet: bool = False, lean: float = 0.0):
        self.options = (port, gain, name, quiet)
        self.lean, self.count = lean, 0
        self.pose = dict(zip(self.signals["joint_pos"], (0.1, 0.8, -1.5, 0.0)))

    def open(self):
        Link.log.append("open")

    def read(self):
        self.count += 1
        q = np.array(list(self.pose.values())) + [0, self.lean * (self.count > 700), 0, 0]
        gyro = np.array([1e-6 * self.count, 0.0, 0.0])
        return Reading(time.monotonic(), self.count, {"imu_gyro": gyro, "joint_vel": np.zeros(4), "joint_pos": q})

    def write(self, command):
        Link.log.append(command)
        for i, name in enumerate(JOINTS):
            if command.kp[i] > 0:
                self.pose[name] = float(command.position[i])

    def close(self):
        Link.log.append("close")

class Needy:
    def __init__(self, *, host: str):
        pass
'''


NO_NUMBERS = [
    *(("--rate", text) for text in ("inf", "nan", "0", "-200", "many")),
    *(("--seconds", text) for text in ("nan", "-1", "0")),
    *(("--patience", text) for text in ("nan", "-3", "0")),
    *(("--log-mb", text) for text in ("inf", "nan", "-1")),
]


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "planted_link.py").write_text(LINK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)  # where logs go
    yield importlib.import_module("planted_link")
    sys.modules.pop("planted_link", None)


def test_words_become_the_types_that_the_driver_asks_for(link: Any) -> None:
    made = make_driver("planted_link:Link", ["port=7", "gain=2", "name=3", "quiet=true"])
    assert made.options == (7, 2.0, "3", True)  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(made.options[1], float)  # pyright: ignore[reportAttributeAccessIssue]
    assert find_driver("planted_link:Link") is link.Link


@pytest.mark.usefixtures("link")
@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("planted_link:Link", ["prot=7"], "unknown option 'prot': did you mean 'port'"),
        ("planted_link:Link", ["port"], "write it as key=value"),
        ("planted_link:Link", ["port=many"], "must be a whole number"),
        ("planted_link:Link", ["quiet=1"], "must be true or false"),
        ("planted_link:Needy", [], "needs --set host="),
        ("unitre", [], "unknown driver 'unitre'"),
    ],
)
def test_a_wrong_word_names_the_fix(name: str, words: list[str], message: str) -> None:
    with pytest.raises(DriverError, match=message):
        make_driver(name, words)


def test_a_dry_run_moves_nothing(path: Path, link: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(path), "--driver", "planted_link:Link", "--command", "0.5", "0.2", "--dry-run"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "4, matched by name" in said
    assert "0.5 0.2" in said
    assert "stale" in said
    assert "fixed: Ctrl-C STOPS" in said
    assert "dead_man" not in said  # Fixed is always heard
    assert "operator silent" not in said
    assert "tilt," not in said.split("rules on")[1].splitlines()[0]  # the toy has no attitude to watch
    assert link.Link.log == []


@pytest.mark.usefixtures("link")
@pytest.mark.parametrize(
    ("operator", "told"),
    [
        ("remote", "not armed yet: L2 + B STOPS; START arms, the sticks steer; no reading brings a remote"),
        ("fixed", ""),
    ],
)
def test_a_robot_that_waits_for_its_operator_says_so_once(
    path: Path, operator: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "REMINDER", 0.1)
    words = ["run", str(path), "--driver", "planted_link:Link", "--operator", operator, "--seconds", "0.4", "--no-log"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert told in said
    assert said.count("not armed yet") == bool(told)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--command", "1"], "has 1 numbers, the policy reads 2: vx, yaw_rate"),
        (["--command", "5", "0"], "vx 5 is outside what was trained, [-1, 1.5]"),
        (["--command", "1", "p.onnx"], "p.onnx is not a number; the policy file comes before the options"),
        (["--set", "gian=2"], "did you mean 'gain'"),
        (["--backend", "tensorrt"], "onnxruntime or numpy"),
        (["--rate", "10"], "raise it"),
        *(([name, text], f"argument {name}: {text} is not") for name, text in NO_NUMBERS),
    ],
)
def test_errors_are_one_line(
    path: Path, link: Any, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(path), "--driver", "planted_link:Link", *words]) == 2
    assert link.Link.log == []  # nothing was opened
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_dry_run_with_a_person_lists_the_dead_man(
    path: Path, link: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "robodistill_deploy.operators.keyboard", type("Module", (), {"Keyboard": Silent}))
    assert cli.main(["run", str(path), "--driver", "planted_link:Link", "--operator", "keyboard", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "keyboard: SPACE STOPS" in said
    assert "dead_man" in said
    assert "operator silent 0.5 s" in said
    assert link.Link.log == []


class Silent(Fixed):
    """A keyboard without a terminal."""

    def __init__(self, *_: Any) -> None:
        super().__init__((0.0, 0.0))


@pytest.mark.parametrize("word", ["lockstep=true", "speed=0.5"])
def test_a_simulated_robot_that_keeps_other_time_is_not_run(
    path: Path, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(path), "--driver", "sim", "--set", word, "--set", "task=go2_flat"]) == 2
    said = capsys.readouterr().err
    assert f"--set {word}: run keeps real time" in said
    assert "robodistill check" in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("link")
def test_a_run_that_ends_before_the_policy_says_what_it_takes(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(path), "--driver", "planted_link:Link", "--seconds", "0.1", "--log", str(tmp_path / "a.mcap")]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "ended in passive, then damped and closed" in said
    assert "the policy never ran: looking at the robot takes 1 s, standing up 0 s" in said
    assert "give --seconds above 3" in said
    assert cli.main(["replay", str(tmp_path / "a.mcap"), str(path)]) == 0
    said = capsys.readouterr().out
    assert "the policy never ran" in said
    assert "every bit" not in said


@pytest.mark.slow
def test_runs_and_says_what_happened(path: Path, link: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(path), "--driver", "planted_link:Link", "--command", "0.1", "0", "--seconds", "3.5"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert [line.split()[-1] for line in said.splitlines()[:2]] == ["passive", "ramp"]
    assert "ended in policy, then damped and closed" in said
    assert "never ran" not in said
    assert "\r" not in said  # no terminal, no live line
    assert (link.Link.log[0], link.Link.log[-1]) == ("open", "close")


@pytest.mark.slow
@pytest.mark.usefixtures("link")
def test_a_run_leaves_a_log_that_replays(
    path: Path, tmp_path: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(path), "--driver", "planted_link:Link", "--command", "0.1", "0", "--seconds", "3.6"]
    assert cli.main(words) in (0, 2)  # a crowded machine may trip on its readings
    (log,) = (tmp_path / "logs").glob("*_toy.mcap")
    capsys.readouterr()
    assert cli.main(["replay", str(log), str(path)]) == 0
    assert "every bit" in capsys.readouterr().out
    assert cli.main([*words, "--log", str(log)]) == 2
    assert "exists; name another log" in capsys.readouterr().err
    spec = load_policy(path).spec
    gains = dataclasses.replace(spec.safety, soft_limit_factor=0.8)
    other = str(write(dataclasses.replace(spec, safety=gains, digest="0" * 64)))
    assert cli.main(["replay", str(log), other]) == 2
    assert "name the file that drove the robot" in capsys.readouterr().err
    assert cli.main(["replay", str(log), other, "--any-policy"]) == 0
    said = capsys.readouterr().out
    assert f"digest {spec.digest[:12]}" in said
    assert f"digest {load_policy(other).spec.digest[:12]}" in said


@pytest.mark.slow
@pytest.mark.usefixtures("link")
def test_no_log_is_kept_where_none_is_wanted(path: Path, tmp_path: Path) -> None:
    cli.main(["run", str(path), "--driver", "planted_link:Link", "--seconds", "0.1", "--no-log"])
    assert not (tmp_path / "logs").exists()
    cli.main(["run", str(path), "--driver", "planted_link:Link", "--seconds", "0.1"])
    assert (tmp_path / "logs").exists()


@pytest.mark.slow
def test_a_trip_is_an_error_at_the_end(path: Path, link: Any, capsys: pytest.CaptureFixture[str]) -> None:
    del link
    words = ["run", str(path), "--driver", "planted_link:Link", "--set", "lean=9.0", "--seconds", "4.2"]
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert "TRIP position_range: joint_pos of 'thigh'" in out
    assert "ended in damping" in out
    assert err.startswith("robodistill-run: stopped by position_range: joint_pos of 'thigh'")


@pytest.mark.slow
def test_ctrl_c_damps_and_closes(path: Path, link: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt_the_ramp() -> None:
        """A busy machine begins late: not after a time, but once a command carries gains."""
        begun = time.monotonic()
        while not any(not isinstance(item, str) and item.kp.any() for item in list(link.Link.log)):
            time.sleep(0.01)
            if time.monotonic() - begun > 60.0:
                break
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_the_ramp, daemon=True).start()
    assert cli.main(["run", str(path), "--driver", "planted_link:Link"]) == 0
    assert "ended in ramp" in capsys.readouterr().out
    last = link.Link.log[-2]
    assert not last.kp.any()
    assert (last.kd > 0.0).all()
    assert link.Link.log[-1] == "close"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
@pytest.mark.usefixtures("link")
def test_sigterm_ends_the_process_cleanly(path: Path, tmp_path: Path) -> None:
    script = "import sys; from robodistill_deploy.cli import main; sys.exit(main(sys.argv[1:]))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", script, "run", str(path), "--driver", "planted_link:Link"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "passive" in process.stdout.readline()  # it runs
        time.sleep(0.2)
        process.terminate()
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "ended in passive" in said


@pytest.mark.slow
@pytest.mark.usefixtures("link")
def test_a_keyboard_arms_and_stops_a_whole_run(path: Path, tmp_path: Path) -> None:
    far, near = pty.openpty()
    before = termios.tcgetattr(near)
    script = "import sys; from robodistill_deploy.cli import main; sys.exit(main(sys.argv[1:]))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    words = ["run", str(path), "--driver", "planted_link:Link", "--operator", "keyboard"]
    command = [sys.executable, "-c", script, *words]
    with subprocess.Popen(command, env=env, stdin=near, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "SPACE STOPS" in process.stdout.readline()
        assert "passive" in process.stdout.readline()
        os.write(far, b"\r")
        assert "ramp" in process.stdout.readline()
        os.write(far, b" ")
        said = [process.stdout.readline(), process.stdout.readline()]
        assert any("TRIP stop: the operator pressed stop" in line for line in said)
        os.write(far, b"\x03")
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "ended in damping" in rest
    assert termios.tcgetattr(near) == before
    os.close(far)
    os.close(near)
