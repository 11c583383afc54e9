"""The black box: bit for bit, never in the loop's way, and what is left after a kill, a full disk, a full queue."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodistill_deploy.blackbox import recorder
from robodistill_deploy.blackbox.about import about
from robodistill_deploy.blackbox.log import Log, read_log
from robodistill_deploy.blackbox.recorder import BlackBox
from robodistill_deploy.blackbox.replay import OtherPolicyError, replay
from robodistill_deploy.blackbox.row import MODES, RowFormat, _identifiers  # pyright: ignore[reportPrivateUsage]
from robodistill_deploy.errors import RobodistillError, SpecError
from robodistill_deploy.machine import RAMP_SECONDS, Mode
from robodistill_deploy.operators import Fixed, Operation, Scripted
from robodistill_deploy.runner import Record, Runner, Settings
from robodistill_deploy.runtime import Policy, load_policy
from robodistill_deploy.safety import limits_for
from robodistill_deploy.safety.layout import Layout

COMMAND = (0.5, 0.2)
SETTINGS = Settings(preflight_seconds=0.3)
SECONDS = RAMP_SECONDS + 1.0
Run = Callable[..., Log]


@pytest.fixture
def record(policy: Policy, driver: Any, clock: Any, tmp_path: Path) -> Run:
    """``record(operator, **changes of the box)``: run the toy for a while and read its log; ``record.records``."""

    def call(operator: Any = None, seconds: float = SECONDS, settings: Settings = SETTINGS, **box: Any) -> Log:
        layout = Layout(policy.spec.interface, driver.joints, driver.signals)
        log = tmp_path / "logs" / "run.mcap"
        with BlackBox(log, about(policy, layout, settings, "fake"), **box) as black_box:

            def observe(record: Record) -> None:
                kept.append(record)
                black_box(record)

            operator = Fixed(COMMAND) if operator is None else operator
            Runner(policy, driver, operator, settings, clock=clock, observer=observe).run(seconds)
        return read_log(log)

    kept: list[Record] = []
    call.records = kept  # pyright: ignore[reportFunctionMemberAccess]
    return call


def test_every_number_is_kept_with_all_its_bits(record: Any, policy: Policy, driver: Any) -> None:
    log = record()
    assert log.complete
    assert (log.dropped, log.first_gap) == (0, len(log.rows))
    assert log.about.digest == policy.spec.digest
    assert log.about.policy == policy.spec
    assert len(log.rows) == len(record.records) == round(200 * SECONDS)
    for row, seen in zip(log.rows, record.records, strict=True):
        assert (row["stamp"], row["due"], row["busy"]) == (seen.stamp, seen.due, seen.busy)
        assert MODES[row["mode"]] is seen.mode
        assert row["reading_tick"] == seen.reading.tick
        for name in driver.signals:
            np.testing.assert_array_equal(row[f"signals.{name}"], seen.reading.signals[name])
        for name in ("position", "velocity", "kp", "kd", "effort"):
            np.testing.assert_array_equal(row[f"command.{name}"], getattr(seen.command, name))
        assert bool(row["policy_ran"]) == (seen.inputs is not None)
        if seen.targets is not None:
            got = np.concatenate([row[f"targets.{part.name}"] for part in policy.spec.interface.actions])
            np.testing.assert_array_equal(got, seen.targets)
    assert sum(log.rows["policy_ran"]) == 50 - 15  # a third of a second of looking at the robot
    modes = [event["what"] for event in log.events if event["name"] == "mode"]
    assert modes == ["passive", "ramp", "policy"]


def test_a_replay_repeats_every_bit(record: Any, policy: Policy) -> None:
    done = replay(record(), policy)
    assert (done.first, done.different, done.unproven, done.largest) == (None, 0, 0, {})
    assert done.ticks == round(200 * SECONDS)
    assert done.policy_ticks > 30


@pytest.mark.parametrize(
    "fault",
    [
        lambda r: dataclasses.replace(r, signals={**r.signals, "imu_gyro": np.full(3, np.nan)}),
        lambda r: dataclasses.replace(r, signals={**r.signals, "joint_pos": np.zeros(3)}),
        lambda r: dataclasses.replace(r, signals={**r.signals, "joint_pos": np.full(4, 3.0)}),
        lambda r: dataclasses.replace(r, tick=1),
        lambda r: None,
    ],
)
def test_runs_that_trip_are_repeated_too(record: Any, policy: Policy, driver: Any, fault: Any) -> None:
    driver.faults = lambda r: fault(r) if r.stamp > 102.8 else r
    log = record()
    assert MODES[log.rows["mode"][-1]] is Mode.DAMPING
    assert log.events[-1]["name"] == "mode" or log.events[-1]["trip"]
    done = replay(log, policy)
    assert (done.first, done.ticks) == (None, len(log.rows))


@pytest.mark.parametrize("command", [(1.0,), (1.0, 2.0, 3.0), (math.nan, 0.0)])
def test_commands_that_are_none_are_repeated(record: Any, policy: Policy, command: tuple[float, ...]) -> None:
    log = record(Fixed(command))
    assert any(event["trip"] for event in log.events)
    assert replay(log, policy).first is None


def test_operators_that_wait_steer_and_stop_are_repeated(record: Any, policy: Policy) -> None:
    script = (
        (0.0, Operation(math.nan, (0.0, 0.0), arm=False, stop=False)),
        (0.4, Operation(math.nan, (0.0, 0.0), arm=True, stop=False)),
        (2.6, Operation(math.nan, (1.5, -1.0), arm=True, stop=False)),
        (2.9, Operation(math.nan, (1.5, -1.0), arm=False, stop=True)),
    )
    log = record(Scripted(script))
    assert replay(log, policy).first is None
    assert [e["message"] for e in log.events if e["trip"]] == ["stop: the operator pressed stop"]


def test_other_limits_and_rates_are_in_the_log(record: Any, policy: Policy) -> None:
    limits = dataclasses.replace(limits_for(policy.spec.interface), soft_limit_factor=0.9)
    log = record(settings=Settings(limits, 70.0, 1.0, 0.3))
    assert log.about.limits == limits
    assert replay(log, policy).first is None
    other = dataclasses.replace(log.about, limits=policy.spec.safety, ramp_seconds=1.1)
    assert replay(dataclasses.replace(log, about=other), policy).first is not None


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("signals.joint_pos", "inputs.joint_pos of 'hip'"),
        ("operator.command", "inputs.command of 'vx'"),
        ("inputs.imu_gyro", "inputs.imu_gyro of 'x'"),
        ("targets.legs", "targets.legs of 'hip'"),
        ("command.position", "command.position of 'wheel'"),
        ("mode", "mode"),
    ],
)
def test_the_first_changed_bit_is_named(record: Any, policy: Policy, field: str, what: str) -> None:
    log = record()
    i = int(np.flatnonzero(log.rows["policy_ran"])[30])  # the command has arrived
    rows = log.rows.copy()
    place = (i,) if field == "mode" else (i, 0)
    value = rows[field][place]
    rows[field][place] = value + 1 if field == "mode" else np.nextafter(value, value.dtype.type(9.0))
    if field in ("signals.joint_pos", "operator.command"):
        rows[field][place] += 1e-4  # an input of float32 does not see one bit of float64
    done = replay(dataclasses.replace(log, rows=rows), policy)
    assert done.first is not None
    assert done.first.sequence == i
    assert done.first.what == what


def test_another_policy_is_refused_unless_asked_for(
    record: Any, policy: Policy, tmp_path: Path, write: Callable[..., Path]
) -> None:
    log = record()
    changed = dataclasses.replace(policy.spec, provenance=dataclasses.replace(policy.spec.provenance, seed=9))
    other = load_policy(write(dataclasses.replace(changed, digest="0" * 64)))
    with pytest.raises(OtherPolicyError, match="name the file that drove the robot"):
        replay(log, other)
    assert replay(log, other, any_policy=True).first is None  # the same graph


def test_the_numpy_backend_differs_or_says_so(record: Any, path: Path) -> None:
    done = replay(record(), load_policy(path, "numpy"))
    assert all(value < 1e-5 for value in done.largest.values())


def test_a_full_queue_costs_ticks_not_time(record: Any, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "POLL", 30.0)  # the thread sleeps through the run
    log = record(queue=100)
    assert len(log.rows) == 100
    assert log.dropped == round(200 * SECONDS) - 100


def test_ticks_behind_a_gap_are_not_claimed(record: Any, policy: Policy) -> None:
    log = record()
    rows = np.delete(log.rows, slice(550, 560))
    cut = dataclasses.replace(log, rows=rows, first_gap=550)
    done = replay(cut, policy)
    assert (done.first, done.ticks, done.unproven) == (None, 550, len(rows) - 550)


def test_at_its_largest_size_only_events_go_on(
    record: Any, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "POLL", 0.001)
    monkeypatch.setattr(recorder, "FLUSH", 0.0)
    said: list[str] = []
    read = driver.read

    def slow() -> Any:
        time.sleep(0.0005)
        return read()

    driver.read = slow
    driver.faults = lambda r: None if r.stamp > 102.8 else r
    log = record(max_bytes=20_000, warn=said.append)
    assert log.complete
    assert 0 < len(log.rows) < round(200 * SECONDS) - 100
    assert log.dropped == round(200 * SECONDS) - len(log.rows)
    assert len(said) == 1
    assert "takes no more ticks" in said[0]
    assert any(event["trip"] for event in log.events)


def test_a_full_disk_costs_the_log_not_the_run(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder.os, "fsync", full)
    monkeypatch.setattr(recorder, "POLL", 0.001)
    said: list[str] = []
    log = record(warn=said.append)
    assert not log.complete
    assert len(record.records) == round(200 * SECONDS)
    assert "No space left on device" in said[0]


def test_a_log_is_never_written_over(record: Any) -> None:
    record()
    with pytest.raises(RobodistillError, match="exists; name another log"):
        record()


def test_a_damaged_log_is_read_up_to_the_damage(record: Any, policy: Policy) -> None:
    log = record()
    data = log.path.read_bytes()
    log.path.write_bytes(data[: len(data) * 2 // 3])
    cut = read_log(log.path)
    assert not cut.complete
    assert len(cut.rows) <= len(log.rows)
    broken = bytearray(data)
    broken[data.index(b"\x28\xb5\x2f\xfd") + 40] ^= 1  # in the first chunk of zstd
    log.path.write_bytes(bytes(broken))
    assert len(read_log(log.path).rows) < len(log.rows)
    log.path.write_bytes(b"nothing")
    with pytest.raises(SpecError, match="says nothing of a run"):
        read_log(log.path)


KILLED = """
import sys, time
from pathlib import Path
from robodistill_deploy.blackbox.about import about
from robodistill_deploy.blackbox.recorder import BlackBox
from robodistill_deploy.drivers.base import Reading
from robodistill_deploy.operators import Fixed
from robodistill_deploy.runner import Runner, Settings
from robodistill_deploy.runtime import load_policy
import numpy as np
JOINTS = ("wheel", "calf", "hip", "thigh")
class Link:
    joints = JOINTS
    signals = {"imu_gyro": ("x", "y", "z"), "joint_vel": JOINTS, "joint_pos": ("hip", "thigh", "calf", "wheel")}
    n = 0
    def open(self): pass
    def close(self): pass
    def write(self, command): pass
    def read(self):
        self.n += 1
        signals = {"imu_gyro": np.full(3, 1e-6 * self.n), "joint_vel": np.zeros(4)}
        return Reading(time.monotonic(), self.n, {**signals, "joint_pos": np.array([0.1, 0.8, -1.5, 0.0])})
policy = load_policy(sys.argv[1])
settings = Settings(preflight_seconds=0.0, ramp_seconds=0.5)
link = Link()
def observe(record):
    box(record)
    sys.stdout.write(f"{record.stamp!r}\\n")
    sys.stdout.flush()
runner = Runner(policy, link, Fixed((0.1, 0.0)), settings, observer=observe)
with BlackBox(sys.argv[2], about(policy, runner.layout, settings)) as box:
    runner.run(30.0)
"""


@pytest.mark.slow
def test_kill_loses_at_most_a_second(path: Path, policy: Policy, tmp_path: Path) -> None:
    log = tmp_path / "killed.mcap"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(path), str(log)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = float(process.stdout.readline())
        last = first
        while last - first < 2.7:
            last = float(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=20)
    stamps = [float(line) for line in rest.split("\n")[:-1] if line]
    last = stamps[-1] if stamps else last
    found = read_log(log)
    assert not found.complete
    assert last - found.rows["stamp"][-1] < 1.0
    assert replay(found, policy).first is None


def test_the_schema_counts_the_bytes(policy: Policy, driver: Any) -> None:
    form = RowFormat(policy.spec, Layout(policy.spec.interface, driver.joints, driver.signals))
    assert _size(form.schema) == form.dtype.itemsize
    assert "uint8 POLICY=3" in form.schema
    longer = form.schema.replace("float64 hip", "float64 hip\nfloat64 toe", 1)
    assert _size(longer) != form.dtype.itemsize  # it can fail


def test_names_are_those_that_ros_allows(policy: Policy, driver: Any) -> None:
    form = RowFormat(policy.spec, Layout(policy.spec.interface, driver.joints, driver.signals))
    fields = [line.split(" ")[1] for line in form.schema.split("\n") if line[:1].islower() and "=" not in line]
    fields += list(_identifiers(["FL_hip_joint", "fl.hip.joint", "1", "__a__", "ä"]))
    assert fields[-5:] == ["fl_hip_joint", "fl_hip_joint_2", "e1", "a", "e"]
    for field in fields:
        assert re.fullmatch(r"(?!.*__)(?!.*_$)[a-z][a-z0-9_]*", field)  # rosidl_adapter's own rule


def _size(schema: str) -> int:
    """Return the bytes of a message by its ROS definition, aligned as CDR does."""
    head, *parts = schema.split("=" * 80 + "\n")
    types = {part.split("\n")[0].removeprefix("MSG: "): part.split("\n")[1:] for part in parts}

    def end(lines: list[str], at: int) -> int:
        for line in lines:
            kind = line.split(" ")[0]
            if not line or "=" in line:
                continue
            if kind in types:
                at = end(types[kind], at)
                continue
            size = {"float64": 8, "uint64": 8, "float32": 4, "uint8": 1}[kind]
            at = -(-at // size) * size + size
        return at

    return end(head.split("\n"), 0)


def test_events_are_json_by_their_schema(record: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for event in record(Fixed((1.0,))).events:
        jsonschema.validate(event, recorder._EVENT_SCHEMA)  # pyright: ignore[reportPrivateUsage]
        assert json.loads(json.dumps(event)) == event
