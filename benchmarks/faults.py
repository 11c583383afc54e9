"""Break the link between a policy and the simulated Go2, again and again, and see what becomes of the robot.

    python benchmarks/faults.py runs/demo/policy.onnx --trials 100 --out faults

Three processes over DDS, in real time: the robot, the runner (policy, safety filter, unitree driver), and this one, a
relay between them that drops, freezes, delays, reorders or damages messages, kills the runner with ``kill -9``, or
starts one of them late. Time and kind of each fault come from a seed. The robot records the command that acted in
every physics step, so limits are checked where they count.

A trial that something else disturbed, such as a busy machine that held the runner up before the fault, is repeated; how
many were is in the table. ``--speed 0.25`` lets every second of all three last four: the proportions stay, and the
machine's own delays weigh less. Results go to <out>/trials.jsonl one by one: started again, it goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from fault_relay import Fault, Relay, draw
from fault_trial import Peer, judge, run_runner
from slow_motion import SlowClock

from robodistill.cli import load_config
from robodistill_deploy.codec import to_plain
from robodistill_deploy.runtime import Policy, load_policy
from robodistill_envs.config import TaskConfig
from robodistill_envs.simrobot.track import read_track

KINDS = ("drop", "freeze", "delay", "reorder", "nan", "flip", "kill", "late")
DRIVE_S, RAMP_S = 2.8, 0.5
"""[s] of a trial from the runner being connected; of the way to the first pose"""
ATTEMPTS = 6
Result = dict[str, Any]


class Stage:
    """The processes, kept from trial to trial: starting one takes seconds."""

    def __init__(self, policy_path: Path, task: TaskConfig, folder: Path, domain: int, speed: float = 1.0) -> None:
        self._path, self._task, self._folder = policy_path, task, folder
        self.policy: Policy = load_policy(policy_path)
        self._domains, self._speed, self._clock = (domain, domain + 1), speed, SlowClock(speed)
        self._file, self.track = folder / "task.json", folder / "track.bin"
        self._file.write_text(json.dumps({"task": to_plain(task)}))
        self.relay = Relay(*self._domains, self._clock)
        self._robot: Peer | None = None
        self._runner: Peer | None = None

    def run(self, kind: str, seed: int) -> Result:
        """Run one trial; the same seed repeats everything but the machine's own timing."""
        rng = np.random.default_rng([KINDS.index(kind), seed])
        fault = draw(kind, rng)
        self.relay.begin(fault, rng)
        late = fault.detail if kind == "late" else ""
        if late != "robot":
            self._start_robot(seed, fresh=False)
        begin = time.monotonic()
        runner = self._start_runner(late, fault, seed)
        begin = time.monotonic() if late else begin
        said, killed_at = self._watch(runner, fault)
        robot = self._robot
        assert robot is not None
        robot.say("report")
        report = robot.hear("excursions", 30.0)
        held_up = max(self.relay.slowest, report["late_s"])
        found = judge(
            self.policy, self._task, fault, read_track(self.track), said, self.relay.fault_at, killed_at, held_up
        )  # fmt: skip
        return {**found, "kind": kind, "seed": seed, "fault": asdict(fault), "trip": said.get("trip"),
                "rejected": report["rejected"], "held_up_s": held_up, "seconds": time.monotonic() - begin,
                "touched": self.relay.touched}  # fmt: skip

    def close(self) -> None:
        """End everything."""
        for peer in (self._runner, self._robot):
            if peer is not None:
                peer.end()
        self.relay.close()

    def _start_robot(self, seed: int, *, fresh: bool) -> None:
        options = {"record": str(self.track), "seed": seed}
        if self._robot is not None and not fresh:
            self._robot.say(f"restart {json.dumps(options)}")
            self._robot.hear("excursions", 60.0)
            return
        words = [f"task={self._file}", "link=unitree", f"link.domain={self._domains[0]}", "link.sport_mode=",
                 "noise=1", "control=true", f"speed={self._speed}",
                 *(f"{k}={v}" for k, v in options.items())]  # fmt: skip
        self._robot = Peer([sys.executable, "-m", "robodistill_envs.simrobot", *words])
        self._robot.hear("ready", 600.0)

    def _start_runner(self, late: str, fault: Fault, seed: int) -> Peer:
        if late and self._runner is not None and late == "runner":
            self._runner.kill()
            self._runner = None
        if late == "robot" and self._robot is not None:
            self._robot.end()
            self._robot = None
        if late == "runner":
            self.relay.pump(fault.after)
        if self._runner is None:
            words = ["--runner", str(self._path), str(self._domains[1]), str(self._speed)]
            self._runner = Peer([sys.executable, __file__, *words])
            self._runner.hear("loaded", 120.0)
        self._runner.say(json.dumps({"seconds": DRIVE_S, "ramp": RAMP_S}))
        if late == "robot":
            self.relay.pump(fault.after)
            self._start_robot(seed, fresh=True)
        return self._runner

    def _watch(self, runner: Peer, fault: Fault) -> tuple[Result, float | None]:
        """Hand messages on until the trial is over; return what the runner said, and when it was killed [s]."""
        relay, armed = self.relay, False
        while True:
            relay.pump(0.02)
            if not armed and relay.driven_at < np.inf:
                relay.arm(relay.driven_at + RAMP_S + fault.after)
                armed = True
            if fault.kind == "kill" and self._clock.now() >= relay.fault_at:
                runner.kill()
                killed_at, self._runner = self._clock.now(), None
                relay.pump(0.6)
                return {}, killed_at
            said = runner.heard("done")
            if said is not None:
                return said, None


def tell(results: list[Result], policy: str, seconds: float) -> str:
    """Return the table in Markdown."""
    head = ("fault", "trials", "recovered", "damped", "wrong", "repeated", "damped after, median / max",
            "largest tilt", "lowest base, recovered", "farthest beyond a joint's range", "trips")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for kind in KINDS:
        mine = [r for r in results if r["kind"] == kind]
        if not mine:
            continue
        count = Counter(r["outcome"] for r in mine)
        after = [1e3 * r["damped_after_s"] for r in mine if r["damped_after_s"] is not None]
        heights = [r["min_height_m"] for r in mine if r["outcome"] == "recovered"]
        trips = Counter(r["trip"].split(":")[0] if r["trip"] else "robot's watchdog" for r in mine
                        if r["outcome"] == "damped")  # fmt: skip
        lines.append("| " + " | ".join((
            kind, str(len(mine)), str(count["recovered"]), str(count["damped"]),
            str(sum(bool(r["violations"]) for r in mine)), str(sum(r["attempt"] for r in mine)),
            f"{np.median(after):.0f} / {max(after):.0f} ms" if after else "",
            f"{max(r['max_tilt_rad'] for r in mine):.2f} rad", f"{min(heights):.2f} m" if heights else "",
            f"{max(r['beyond_rad'] for r in mine):.3f} rad", ", ".join(f"{k} {v}" for k, v in trips.most_common()),
        )) + " |")  # fmt: skip
    wrong = sum(bool(r["violations"]) for r in results)
    return "\n".join([*lines, "", f"{len(results)} trials of {policy}, {wrong} not as documented, {seconds:.0f} s."])


def settled(stage: Stage, kind: str, seed: int) -> Result:
    """Run a trial until nothing but the fault had a hand in it, or ``ATTEMPTS`` times."""
    result = {**stage.run(kind, seed), "attempt": 0}
    while result["disturbed"] and result["attempt"] + 1 < ATTEMPTS:
        result = {**stage.run(kind, seed), "attempt": result["attempt"] + 1}
    return result


def main() -> None:
    """Run what is left to run, then tell."""
    if sys.argv[1:2] == ["--runner"]:
        run_runner(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--trials", type=int, default=100, help="of each kind")
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--out", type=Path, default=Path("faults"))
    parser.add_argument("--task", default="go2_flat")
    parser.add_argument("--domain", type=int, default=81, help="DDS domain; the next one is used, too")
    parser.add_argument("--speed", type=float, default=1.0, help="below 1: slow motion, for a busy machine")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "trials.jsonl"
    results: list[Result] = [json.loads(x) for x in kept.read_text().splitlines()] if kept.exists() else []
    done = {(r["kind"], r["seed"]) for r in results}
    stage = Stage(given.policy, load_config([f"task={given.task}"]).task, given.out, given.domain, given.speed)
    try:
        for seed in range(given.trials):
            for kind in given.only.split(","):
                if (kind, seed) in done:
                    continue
                result = settled(stage, kind, seed)
                results.append(result)
                with kept.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print(f"{kind:<8}{seed:>4}  {result['outcome']:<10} {result['seconds']:5.1f} s  {result['trip'] or ''}"
                      f"  {'; '.join(result['violations'])}", flush=True)  # fmt: skip
    finally:
        stage.close()
    table = tell(results, given.policy.name, sum(r["seconds"] for r in results))
    (given.out / "faults.json").write_text(json.dumps({"trials": results}, indent=1))
    (given.out / "faults.md").write_text(table + "\n")
    print(table)
    if any(r["violations"] for r in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
