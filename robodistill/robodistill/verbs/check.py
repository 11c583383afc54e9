"""Drive a plain MuJoCo loop with policy.onnx and compare it, term by term, with the training environment.

  robodistill check run=mine

Reads   policy.onnx and the student's checkpoint of the run.
Writes  runs/<run>/check/check.json: the largest difference of each term and each action part.

Anything above 1e-5 of a normalised unit fails, and the first that differs is named.

  robodistill check runs/mine/policy.onnx driver=sim

Runs the file as on a robot: runtime, safety filter and driver, against the simulated robot in a process of its own,
faster than real time: ahead, turning, sideways. Then one thing at a time is made worse (gain, delay, friction,
payload, noise) until the robot no longer stands: it fell, its base sank below 60 % of its height, safety stopped it,
or its velocity's RMSE against the command is above 1.5 times the task's target.

Reads   the file, and the configuration of the run whose folder it lies in; task=<name> elsewhere.
Writes  check/margins.json, margins.png beside the file (for zoo:<name> here): how far from nominal it stands, and
        what ended it there.
Exits with 1 when it does not even stand on the nominal robot.

Keys    only=payload,noise      some of gain_up, gain_down, delay, friction, payload, noise
        payload=1,2,4           levels of one of them, growing
        seconds=6               how long the policy drives in each run, under a fixed sequence of commands
        bisect=3                how often the gap between standing and falling is halved
        tracking=1.5            how many times the task's targets the errors of tracking may be
        seed=0                  of the noise
        out=<folder>            where to write
Other keys change the task.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from robodistill.session import work
from robodistill_deploy.errors import RobodistillError, unknown

if TYPE_CHECKING:
    from robodistill.settings import RunConfig


def run(config: RunConfig) -> int:
    """Run this stage; the ones that feed it must be done."""
    return work(config, "check", only="check")


_KEYS = {"driver": "", "only": "", "seconds": "6", "bisect": "3", "tracking": "1.5", "seed": "0", "out": ""}


def run_words(words: list[str]) -> int:
    """Measure how much the file that the first word names bears on the simulated robot."""
    from rich.console import Console

    from robodistill.margins import SWEEPS, Bench, chosen, measure
    from robodistill.margins_output import margins_dict, margins_table, write_margins
    from robodistill.progress import Progress
    from robodistill_deploy.runtime import load_policy
    from robodistill_deploy.zoo import PREFIX, locate

    path = locate(words[0])
    pairs = [word.partition("=") for word in words[1:]]
    given = {key: value for key, _, value in pairs if key in _KEYS or key in SWEEPS}
    keys = {**_KEYS, **{key: value for key, value in given.items() if key in _KEYS}}
    if keys["driver"] != "sim":
        raise RobodistillError(f"check {path}: {unknown('driver', keys['driver'], ['sim'])}; add driver=sim")
    sweeps = chosen(
        keys["only"] or ",".join(SWEEPS), {key: value for key, value in given.items() if key in SWEEPS}
    )
    seconds, bisect, seed = _number("seconds", keys), int(_number("bisect", keys)), int(_number("seed", keys))
    policy = load_policy(path)
    rest = [word for word, pair in zip(words[1:], pairs, strict=True) if pair[0] not in given]
    beside = Path() if words[0].startswith(PREFIX) else path.parent  # nothing is written into the package
    folder = Path(keys["out"]) if keys["out"] else beside / "check"
    task = _write_task(folder, path, policy.spec.interface.task, rest)
    with Bench(policy, task, seconds, seed, _number("tracking", keys)) as bench:
        Progress.say("the whole procedure on the nominal robot, from lying")
        nominal = bench.nominal()
        margins = []
        for name, sweep in sweeps.items() if nominal.stood else ():
            Progress.say(f"{name}: {', '.join(f'{level:g}' for level in sweep.levels)}")
            margins.append(measure(bench.known(sweep), name, bench.perturbed, bisect))
    digest = policy.spec.digest
    about = {"verb": "check", "driver": "sim", "policy": str(path), "digest": digest, "seconds": seconds, "seed": seed}
    files = write_margins(folder, margins_dict(nominal, margins, **about), margins)
    console = Console(highlight=False)
    console.print(f"{path}, digest {digest[:12]}", soft_wrap=True)
    console.print(margins_table(nominal, margins))
    for file in files:
        console.print(f"{file.stem:<8}{file.resolve()}", soft_wrap=True)
    return 0 if nominal.stood else 1


def _number(key: str, keys: dict[str, str]) -> float:
    try:
        value = float(keys[key])
    except ValueError as error:
        raise RobodistillError(f"{key}={keys[key]}: expected a number") from error
    if not 0.0 <= value <= 3600.0 or (key == "seconds" and value == 0.0):
        raise RobodistillError(f"{key}={keys[key]}: must lie in 0..3600, and seconds above 0")
    return value


def _write_task(folder: Path, policy: Path, name: str, words: list[str]) -> Path:
    """Write the resolved task for the robot's process; the run's own unless ``words`` choose one."""
    from robodistill.cli import load_config
    from robodistill_deploy.codec import to_plain

    home = policy.resolve().parent
    mine = any(word.startswith(("task=", "run=")) for word in words)
    if not mine and (home / "config.yaml").is_file():
        words = [f"run={home.name}", f"runs_dir={home.parent}", *words]
    elif not mine:
        words = [f"task={name}", *words]
    config = load_config(words)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "task.json"
    path.write_text(json.dumps({"task": to_plain(config.task)}))
    return path
