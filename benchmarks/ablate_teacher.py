"""Leave out, or replace, one ingredient of the Go2's teacher at a time, over three seeds, and see what it was worth.

  python benchmarks/ablate_teacher.py --folder runs/ablation --jobs 2            # 27 trainings of 1.25 million steps

Each training is ``robodistill train task=go2_flat`` with one thread and the words of VARIANTS; one that is finished is
not repeated. Then all teachers are driven without exploration through the same worlds under the full randomisation. The
table gives means over seeds with 95 % intervals by Student's t, and paired differences from the first variant.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from robodistill.cli import load_config
from robodistill.evaluation.drivers import TorchDriver
from robodistill.evaluation.statistics import over_seeds
from robodistill.networks import load_policy
from robodistill.stages import compare_ranges

PPO = "teacher.method.phases.ppo"
VALUE_PHASE = (
    "{networks:[critic],lr:1e-3,schedule:linear,final_lr:1e-4,epochs:2,minibatches:4,split:step,mirror:0.5,"
    "losses:{value:{type:'robodistill.losses:value',params:{critic:critic}}}}"
)
VARIANTS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "no symmetry": (f"{PPO}.mirror=0.0",),
    "symmetry as a loss": (
        f"{PPO}.mirror=0.0",
        f"+{PPO}.losses.symmetry={{type:'robodistill.losses:symmetry',weight:0.5,params:{{policy:teacher}}}}",
    ),
    "no curriculum": ("teacher.method.collect.curriculum_start=1.0",),
    "3 epochs instead of 4": (f"{PPO}.epochs=3",),
    "2 epochs of the critic": (
        f"~{PPO}.losses.value", f"{PPO}.networks=[teacher]", f"+teacher.method.phases.value={VALUE_PHASE}",
    ),
    "noise not pressed down at the end": (f"{PPO}.losses.entropy.final_weight=0.0",),
    "initial std 0.4 instead of 0.8": ("teacher.policy.init_std=0.4",),
    "advantages scaled, not centred": (f"{PPO}.center_advantage=false",),
}  # fmt: skip
Row = dict[str, Any]


def name_of(variant: str, seed: int) -> str:
    """Return the name of a run."""
    return f"{variant.replace(' ', '_').replace(',', '')}_s{seed}"


def train(folder: Path, variant: str, seed: int, steps: int) -> None:
    """Train one teacher in a process of its own, unless that is done."""
    name = name_of(variant, seed)
    record = folder / name / "teacher" / "stage.json"
    if record.exists() and json.loads(record.read_text()).get("status") == "complete":
        return
    words = ["train", "task=go2_flat", f"runs_dir={folder}", f"run={name}", f"seed={seed}", "threads=1", "quiet=true",
             f"teacher.total_steps={steps}", *VARIANTS[variant]]  # fmt: skip
    subprocess.run([sys.executable, "-m", "robodistill", *words], check=True, stdout=subprocess.DEVNULL)
    print(f"{name} trained", flush=True)


def reached(folder: Path, name: str, level: float) -> dict[str, float]:
    """Return the steps and seconds until the return in training passed ``level`` with all commands and pushes in full.

    Smoothed over five iterations; nan where it never did.
    """
    rows = [json.loads(line) for line in (folder / name / "teacher" / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "episode/return" in row and row["collect/curriculum"] >= 1.0]
    if len(rows) < 5:
        return {"steps": np.nan, "seconds": np.nan, "learner": np.nan}
    smooth = np.convolve([row["episode/return"] for row in rows], np.full(5, 0.2), mode="valid")
    share = median(row["time/learn_s"] / (row["time/learn_s"] + row["time/collect_s"]) for row in rows)
    past = np.flatnonzero(smooth >= level)
    at = rows[past[0] + 4] if len(past) else {}
    return {"steps": at.get("env_steps", np.nan), "seconds": at.get("wall_s", np.nan), "learner": share}


def judge(folder: Path, seeds: int, level: float, episodes: int) -> dict[str, list[Row]]:
    """Return for each variant a row a seed: return and falls without noise, and what ``reached`` tells."""
    config = load_config(["task=go2_flat", "threads=2"])
    config = replace(config, evaluate=replace(config.evaluate, episodes=episodes))
    names = {name_of(v, s): (v, s) for v in VARIANTS for s in range(seeds)}
    drivers = {
        name: TorchDriver(load_policy(folder / name / "teacher" / "checkpoints" / "last", "teacher").policy)
        for name in names
    }
    found = compare_ranges(config, drivers, ["train"])["train"]["policies"]
    rows: dict[str, list[Row]] = {variant: [] for variant in VARIANTS}
    for name, (variant, _) in names.items():
        falls = found[name]["metrics"]["falls_per_minute"]["mean"]
        rows[variant].append({"return": found[name]["return"]["mean"], "falls": falls, **reached(folder, name, level)})
    return rows


def _told(values: list[float], digits: int) -> str:
    known: Any = over_seeds(values)
    low, high = known["ci95"]
    return f"{known['mean']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def tell(rows: dict[str, list[Row]], level: float) -> str:
    """Return the table in Markdown."""
    head = ("variant", "return", "difference", "falls / min", f"million steps to a return of {level:g} in training",
            "minutes to it", "learner's share")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    base = [row["return"] for row in next(iter(rows.values()))]
    for variant, mine in rows.items():
        difference = [row["return"] - other for row, other in zip(mine, base, strict=True)]
        to_level = [f"{row['steps'] / 1e6:.2f}" if row["steps"] == row["steps"] else "never" for row in mine]
        minutes = [f"{row['seconds'] / 60:.1f}" if row["seconds"] == row["seconds"] else "never" for row in mine]
        lines.append("| " + " | ".join((
            variant, _told([row["return"] for row in mine], 2), _told(difference, 2) if any(difference) else "",
            _told([row["falls"] for row in mine], 2), ", ".join(to_level), ", ".join(minutes),
            f"{median(row['learner'] for row in mine):.2f}",
        )) + " |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Train what is left to train, judge all, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--steps", type=int, default=1_250_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--level", type=float, default=4.0, help="return that 'steps to' is about")
    parser.add_argument("--episodes", type=int, default=256)
    given = parser.parse_args()
    with ThreadPoolExecutor(given.jobs) as pool:
        cells = [(v, s) for v in VARIANTS for s in range(given.seeds)]
        list(pool.map(lambda cell: train(given.folder, cell[0], cell[1], given.steps), cells))
    rows = judge(given.folder, given.seeds, given.level, given.episodes)
    (given.folder / "ablation.json").write_text(json.dumps(rows, indent=1))
    print(tell(rows, given.level))


if __name__ == "__main__":
    main()
