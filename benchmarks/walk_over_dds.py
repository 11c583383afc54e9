"""Walk the simulated Go2 over DDS, in real time, and hold its return against that in the training environment.

    python benchmarks/walk_over_dds.py runs/demo/policy.onnx                # 60 s, a new command every 5 s

Runtime, safety filter and driver run as on a robot; the robot is a process of its own with 2 ms of physics. It keeps a
track of its true state. The task's own rewards are evaluated on that, at the ticks where the policy read its sensors,
with the actions that it returned and the commands that it saw. Then the same file drives the training environment,
nothing randomised, under the same commands; once with the physics step of training and once with the robot's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from slow_motion import SlowClock, SlowDriver

from robodistill.cli import load_config
from robodistill_deploy.codec import to_plain
from robodistill_deploy.drivers.sim import LockstepClock, SimDriver
from robodistill_deploy.operators import Operation, Scripted
from robodistill_deploy.runner import COMMAND_RATE, Record, Runner, Settings, Summary
from robodistill_deploy.runtime import Policy, load_policy
from robodistill_envs.config import TaskConfig
from robodistill_envs.model import TRUE, build_model, sensor_slice
from robodistill_envs.scoring import UNDISTURBED, Scorer
from robodistill_envs.simrobot.track import read_track
from robodistill_envs.vector import VecEnv

Array = NDArray[np.float64]
HOLD_S, BEGIN_S = 5.0, 1.0
SETTINGS = Settings(ramp_seconds=BEGIN_S, preflight_seconds=0.0)
"""From standing: there the whole procedure would begin by letting the robot sink."""
ROBOT_TIMESTEP, LOCKSTEP_TIMESTEP = 0.002, 0.00125


@dataclass
class Walk:
    """What the policy saw and did, a row per tick of it."""

    robot_ticks: list[int] = field(default_factory=list)
    """The robot's count of the reading that the policy used."""
    commands: list[Array] = field(default_factory=list)
    actions: list[Array] = field(default_factory=list)
    """Raw: (target - default) / scale."""


def draw_commands(policy: Policy, seconds: float, seed: int) -> list[tuple[float, Operation]]:
    """Return a script of commands from the whole of the range trained in."""
    ranges = policy.spec.interface.commands
    lower, upper = ([v for c in ranges for v in getattr(c, end)] for end in ("lower", "upper"))
    rng = np.random.default_rng(seed)
    script = [(0.0, (0.0,) * len(lower))]
    starts = [BEGIN_S + i * HOLD_S for i in range(math.ceil(seconds / HOLD_S))]
    script += [(start, tuple(rng.uniform(lower, upper).tolist())) for start in starts]
    return [(start, Operation(math.nan, command, arm=True, stop=False)) for start, command in script]


def walk(
    policy: Policy, task: TaskConfig, seconds: float, seed: int, domain: int, settings: Settings = SETTINGS,
    speed: float = 1.0, lockstep: bool = False,
) -> tuple[Walk, dict[str, Array], Summary, dict[str, Any]]:
    """Drive the robot over DDS; return what was done, its track, the runner's summary and the robot's report."""
    done = Walk()
    commanded = np.concatenate([np.full(s.dim, s.source == "command") for s in policy.signals])
    default, scale = (np.array([v for p in policy.actions for v in getattr(p, f)]) for f in ("default", "scale"))

    def observe(record: Record) -> None:
        if record.inputs is None or record.targets is None or record.reading is None:
            return
        done.robot_ticks.append(record.reading.tick)
        done.commands.append(record.inputs[commanded].astype(np.float64))
        done.actions.append((record.targets - default) / scale)

    with tempfile.TemporaryDirectory() as folder:
        file, track = Path(folder) / "task.json", Path(folder) / "track.bin"
        file.write_text(json.dumps({"task": to_plain(task)}))
        driver = SimDriver(
            task=str(file), timestep=ROBOT_TIMESTEP if not lockstep else LOCKSTEP_TIMESTEP, record=str(track),
            timeout=600.0,
            **({"lockstep": True, "command_dt": 1.0 / COMMAND_RATE} if lockstep
               else {"link": "unitree", "speed": speed, "link.domain": domain}),
        )  # fmt: skip
        operator = Scripted(tuple(draw_commands(policy, seconds, seed)))
        clock = LockstepClock(driver) if lockstep else SlowClock(speed)
        slow = driver if lockstep else SlowDriver(driver, speed)
        if lockstep:
            driver.open()
        runner = Runner(policy, slow, operator, settings, observer=observe, clock=clock)
        summary = runner.run(BEGIN_S + seconds)
        return done, read_track(track), summary, driver.excursions


def return_on_robot(done: Walk, track: dict[str, Array], task: TaskConfig) -> dict[str, float]:
    """Return the sum of each reward term along the track.

    What sensors say in training is one physics step old, 6.7 ms, when rewards look; on the robot's side as well, then.
    """
    fine = dataclasses.replace(task, physics=dataclasses.replace(task.physics, timestep=ROBOT_TIMESTEP), delayed=False)
    model = build_model(fine)
    places = {s.name: sensor_slice(model, s, TRUE) for s in (*task.robot.sensors, *task.robot.truth)}
    timestep = float(np.median(np.diff(track["time"])))
    lag = round((task.physics.timestep - timestep) / timestep)
    rows = np.maximum(np.searchsorted(track["tick"], done.robot_ticks) - lag, 0)
    data = track["sensordata"]
    if data.shape[1] != model.nsensordata:
        raise SystemExit(f"the track has {data.shape[1]} sensor values, the task's model {model.nsensordata}")
    scorer = Scorer(task)
    scorer.begin({name: data[rows[0], where] for name, where in places.items()})
    sums = dict.fromkeys(scorer.reward_names, 0.0)
    for action, command, row in zip(done.actions, done.commands, rows[1:], strict=False):
        values = scorer.score(action, command, {name: data[row, where] for name, where in places.items()})
        for name, value in values.items():
            sums[name] += value
    return sums


def return_in_training(policy: Policy, task: TaskConfig, commands: list[Array], timestep: float) -> dict[str, float]:
    """Return the same for the same file in the training environment, nothing randomised, with ``timestep`` [s]."""
    longer = dataclasses.replace(
        task, episode_s=(len(commands) - 1) * task.control_dt,
        physics=dataclasses.replace(task.physics, timestep=timestep),
    )  # fmt: skip
    env = VecEnv(longer, 1, threads=1, disturbances=UNDISTURBED)
    env.reset()
    own = policy.clone()
    own.reset()
    default, scale = (np.array([v for p in own.actions for v in getattr(p, f)]) for f in ("default", "scale"))
    for command in commands[:-1]:
        env.world.command[0] = torch.from_numpy(command.astype(np.float32))
        signals = {s.name: env.world.signals[s.name][0].numpy() for s in own.signals if s.source == "sensor"}
        signals |= {s.name: command for s in own.signals if s.source == "command"}
        targets = np.concatenate(list(own.tick(signals).values()))
        _, _, terminated, truncated, info = env.step(torch.from_numpy((targets - default) / scale).float()[None])
        if terminated.any():
            print(f"it fell in the training environment after {int(info['episode']['length'][0])} ticks")
        if (terminated | truncated).any():
            return dict(zip(env.reward_names, info["episode"]["rewards"][0].tolist(), strict=True))
    raise SystemExit("the training environment's episode did not end with the walk")


def main() -> None:
    """Walk, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the commands")
    parser.add_argument("--task", default="go2_flat")
    parser.add_argument("--domain", type=int, default=71, help="DDS domain")
    parser.add_argument("--speed", type=float, default=1.0, help="below 1: slow motion, for a busy machine")
    parser.add_argument("--lockstep", action="store_true", help="UDP without a clock: what is not the link's doing")
    given = parser.parse_args()
    policy, task = load_policy(given.policy), load_config([f"task={given.task}"]).task
    done, track, summary, report = walk(policy, task, given.seconds, given.seed, given.domain, speed=given.speed,
                                        lockstep=given.lockstep)
    print(f"{summary.policy_ticks} policy ticks ({summary.missed_policies} missed), "
          f"{summary.command_ticks} command ticks ({summary.missed_commands} missed), trip: {summary.trip}")
    print(f"robot: fell {report['fell']}, late {report['late_s']:.2f} s, rejected {report['rejected']}, "
          f"watchdog {report['watchdog_trips']}")
    if summary.trip is not None or not done.actions:
        raise SystemExit("it did not walk to the end: on a busy machine, try --speed 0.2")
    robot = return_on_robot(done, track, task)
    training = return_in_training(policy, task, done.commands, task.physics.timestep)
    fine = return_in_training(policy, task, done.commands, ROBOT_TIMESTEP)
    print(f"{'reward':<20}{'over DDS':>12}{'training':>12}{'with 2 ms':>12}")
    for name in robot:
        print(f"{name:<20}{robot[name]:>12.3f}{training[name]:>12.3f}{fine[name]:>12.3f}")
    totals = [sum(sums.values()) for sums in (robot, training, fine)]
    print(f"{'return':<20}" + "".join(f"{total:>12.3f}" for total in totals))
    print(f"difference from training {100.0 * (totals[0] / totals[1] - 1.0):+.2f} %, "
          f"from training with 2 ms {100.0 * (totals[0] / totals[2] - 1.0):+.2f} %")


if __name__ == "__main__":
    main()
