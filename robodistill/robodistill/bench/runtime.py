"""What the robot's runtime costs: a tick with safety filter beside a bare call of onnxruntime, hot and paced.

  robodistill bench runtime
  robodistill bench runtime policy=runs/walk/policy.onnx calls=10000

Keys    policy=a.onnx,b.onnx    files to measure; unless given, one of every kind is made for the task
        folder=<folder>         where what is made is kept and found again; unless given, it is thrown away
        calls=3000  paced=250   calls of each kind back to back, and one a control period
        ticks=0                 ticks over which memory must not grow; 0 leaves it out
        out=<file.json>         where the figures go

*Bare* is ``session.run`` with one dict of arrays, the call of onnxruntime's documentation; *bound* is the cheapest
call that Python can make, IO binding to fixed buffers, which the runtime itself uses.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from robodistill.bench_policies import KINDS, build
from robodistill.settings import RunConfig
from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.operators import Fixed
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runner import Runner
from robodistill_deploy.runner import Settings as RunnerSettings
from robodistill_deploy.runtime import load_policy
from robodistill_deploy.spec import SignalSpec

_NOISE, _READINGS = 1e-5, 97
_WARM_UP = 200
_BLOCK = 100
_SHARES = (0.5, 0.99, 0.999)
_KINDS = ("bare", "bound", "tick")
Times = dict[str, list[float]]
"""[s] of calls, by what was called"""


@dataclass(frozen=True)
class Settings:
    """``robodistill bench runtime``."""

    policy: tuple[str, ...] = ()
    """Policy files to measure; none: one of every kind is built for the task."""
    folder: str = ""
    """Where what is built is kept and found again; empty: it is thrown away."""
    calls: int = 3000
    """Back-to-back calls of each."""
    paced: int = 250
    """Calls of each, one a control period, the three in turns."""
    ticks: int = 0
    """Ticks over which the growth of memory is measured; 0 leaves it out."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if min(self.calls, self.paced) < 1 or self.ticks < 0:
            raise RobodistillError("bench runtime: calls and paced must be at least 1, ticks at least 0")


class _Still:
    """A driver without a link: the first recorded tick with a little noise, always new. Also the clock."""

    def __init__(self, spec: PolicySpec) -> None:
        first = spec.self_test.sequence[0].signals
        self.joints = tuple(dict.fromkeys(
            name for part in spec.interface.actions if part.kind != "base_twist" for name in part.names
        ))  # fmt: skip
        read: dict[str, SignalSpec] = {s.name: s for s in spec.interface.signals if s.source != "command"}
        self.signals = {name: signal.elements for name, signal in read.items()}
        values = {name: np.array(first[name]) for name in read}
        for name in ("joint_pos", "joint_vel"):
            if name not in self.signals:
                self.signals[name], values[name] = self.joints, np.zeros(len(self.joints))
        extra = {e for name in ("joint_pos", "joint_vel") for e in self.signals[name]}
        self.joints += tuple(sorted(extra - set(self.joints)))
        self.t, self._count, self._dt = 0.0, 0, spec.interface.control_dt
        # made beforehand: what a driver does for a reading is not what is measured here
        self._ready = [
            {name: value + _NOISE * i for name, value in values.items()} for i in range(_READINGS)
        ]

    def open(self) -> None:
        """There is nothing to open."""

    def read(self) -> Reading:
        """Return a reading of now."""
        self._count += 1
        return Reading(self.t, self._count, self._ready[self._count % _READINGS])

    def write(self, command: Command) -> None:
        """Drop it."""

    def close(self) -> None:
        """There is nothing to close."""

    def now(self) -> float:
        """Return the time that ``advance`` made."""
        return self.t

    def sleep_until(self, t: float) -> None:
        """Be there."""
        self.t = max(self.t, t)

    def advance(self) -> None:
        """Let one control period pass."""
        self.t = round(self.t / self._dt + 1.0) * self._dt


class _Pair:
    """One policy twice: in the runner, and as a session on the same inputs."""

    def __init__(self, path: Path) -> None:
        policy = load_policy(path)
        self.spec = policy.spec
        self.still = _Still(self.spec)
        command = tuple(value for rule in self.spec.commands.values() for value in rule.default)
        settings = RunnerSettings(ramp_seconds=0.0, preflight_seconds=0.0)
        self.runner = Runner(policy, self.still, Fixed(command), settings, clock=self.still)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        first = self.spec.self_test.sequence[0].signals
        feeds = {f"signal.{name}": np.array([value], np.float32) for name, value in first.items()}
        for state in self.spec.states:
            feeds[f"state.{state.name}"] = np.array(state.initial, np.float32).reshape(state.shape)
        binding = session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for output in session.get_outputs():
            binding.bind_output(output.name)
        self._calls = {
            "bare": partial(session.run, None, feeds),
            "bound": partial(session.run_with_iobinding, binding),
            "tick": self._tick,
        }
        for _ in range(_WARM_UP):
            for kind in _KINDS:
                self.time(kind)

    def _tick(self) -> None:
        """Read, policy, safety, publish."""
        self.runner.tick(self.still.t)

    def time(self, kind: str) -> float:
        """Return the seconds of one call of a kind."""
        if kind == "tick":
            self.still.advance()
        call = self._calls[kind]
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    def check(self) -> None:
        """Refuse a measurement in which the policy did not run."""
        trip = self.runner.trip
        if trip is not None:
            raise RobodistillError(f"bench runtime: the safety filter tripped, so nothing was measured: {trip}")


def _hot(pair: _Pair, calls: int) -> Times:
    """Call back to back, block by block in turns."""
    times: Times = {kind: [] for kind in _KINDS}
    while len(times["tick"]) < calls:
        for kind in _KINDS:
            times[kind] += [pair.time(kind) for _ in range(_BLOCK)]
    return times


def _paced(pair: _Pair, calls: int) -> Times:
    """Call once per control period, the kinds in turns: between two calls of a robot its caches cool down."""
    times: Times = {kind: [] for kind in _KINDS}
    period, due = pair.spec.interface.control_dt, time.monotonic()
    for _ in range(calls):
        for kind in _KINDS:
            due += period
            time.sleep(max(0.0, due - time.monotonic()))
            times[kind].append(pair.time(kind))
    return times


def _row(name: str, times: Times) -> dict[str, Any]:
    row: dict[str, Any] = {"policy": name}
    for kind, found in times.items():
        for share, value in zip(_SHARES, np.quantile(found, _SHARES), strict=True):
            row[f"{kind}_p{100 * share:g}_us"] = 1e6 * float(value)
    row["overhead_p50_us"] = row["tick_p50_us"] - row["bare_p50_us"]
    row["overhead_bound_p50_us"] = row["tick_p50_us"] - row["bound_p50_us"]
    return row


def _resident() -> int:
    """Return the bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def _growth(pair: _Pair, ticks: int) -> float:
    """Return by how many MB memory grew over ``ticks`` ticks, after a tenth as many to settle."""
    for _ in range(ticks // 10):
        pair.time("tick")
    before = _resident()
    for _ in range(ticks):
        pair.time("tick")
    return (_resident() - before) / 1e6


def _say(say: Callable[[str], None], row: dict[str, Any], how: str) -> None:
    figures = (
        f"{kind} " + " / ".join(f"{row[f'{kind}_p{p}_us']:.0f}" for p in ("50", "99", "99.9")) for kind in _KINDS
    )
    overhead = f"overhead_p50={row['overhead_p50_us']:.0f} us, beside bound {row['overhead_bound_p50_us']:.0f}"
    say(f"{row['policy']:<12} {how:<12} {'  '.join(figures)} us  {overhead}")


def _measure(path: Path, name: str, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    pair = _Pair(path)
    hot = _row(name, _hot(pair, settings.calls))
    _say(say, hot, "back to back")
    paced = _row(name, _paced(pair, settings.paced))
    _say(say, paced, "paced")
    result: dict[str, Any] = {"policy": name, "back_to_back": hot, "paced": paced}
    if settings.ticks:
        result["memory_growth_mb"] = _growth(pair, settings.ticks)
        say(f"{name:<12} memory grew by {result['memory_growth_mb']:.2f} MB over {settings.ticks} ticks")
    pair.check()
    return result


def measure(config: RunConfig, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Return per policy the quantiles of bare and bound calls and of a tick [us], and what they differ by."""
    say("p50 / p99 / p99.9; bare: session.run with a dict, bound: IO binding, tick: the runtime with its safety filter")
    if settings.policy:
        rows = [_measure(Path(path), Path(path).stem, settings, say) for path in settings.policy]
    else:
        with tempfile.TemporaryDirectory() as aside:
            folder = Path(settings.folder or aside)
            files = {kind: build(kind, config, folder / f"{kind}.onnx") for kind in KINDS}
            rows = [_measure(path, kind, settings, say) for kind, path in files.items()]
    return {
        "rows": rows,
        "overhead_p50_us": max(row["back_to_back"]["overhead_p50_us"] for row in rows),
        "overhead_paced_p50_us": max(row["paced"]["overhead_p50_us"] for row in rows),
        "onnxruntime": ort.__version__,
    }
