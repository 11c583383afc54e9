"""Put a finished run's policy.onnx into the deploy layer's zoo, with a card made from what the run measured.

python benchmarks/publish_to_zoo.py runs/full unitree_go2_flat --title "Go2 walks to a velocity command"

The run must be evaluated, also out of range where its task has ranges (`robodistill evaluate run=full range=...`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from robodistill_deploy import zoo
from robodistill_deploy.codec import to_plain
from robodistill_deploy.policy_file import open_policy_file

POLICY = "onnx"
"""Whose figures stand on the card: the file that it lies beside."""
UNTRIED = "no hardware was at hand: nobody has seen this file drive a real robot"


def measured(conditions: str, episodes: int, result: dict[str, Any]) -> zoo.Measured:
    """Return the figures of one set of episodes; what has no interval is left out."""
    values = {"score": result["score"][POLICY], "return": result["policies"][POLICY]["return"]}
    values |= result["policies"][POLICY]["metrics"]
    kept = {
        name: (value["mean"], *value["ci95"])
        for name, value in values.items()
        if isinstance(value, dict) and value.get("mean") is not None
    }
    return zoo.Measured(conditions, episodes, kept)


def trained(run: Path, summary: dict[str, Any]) -> dict[str, str]:
    """Return how the policy came to be, in words."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    steps = {role: summary["training"][role] for role in ("teacher", "student")}
    told = {
        role: f"{config[role]['method']['name']}, {steps[role]['env_steps'] / 1e6:.1f} million environment steps, "
        f"{steps[role]['wall_s'] / 60:.0f} min"
        for role in steps
    }
    versions = ", ".join(f"{name} {version}" for name, version in config["provenance"]["versions"].items())
    return {**told, "seed": str(config["seed"]), "commit": config["provenance"]["git"]["commit"], "versions": versions}


def limits(run: Path, config: dict[str, Any]) -> tuple[str, ...]:
    """Return what the policy was trained within, and what nobody tried."""
    task = config["task"]
    command = task["command"]
    ranges = ", ".join(
        f"{name} {low} to {high}"
        for name, low, high in zip(command["elements"], command["lower"], command["upper"], strict=True)
    )
    drawn = ", ".join(
        f"{name} {min(p['low'])} to {max(p['high'])} {p['unit']}".removesuffix(" 1")
        for name, p in task["parameters"].items()
    )
    return (f"commands trained: {ranges} ({command['unit']})", f"randomised in training: {drawn}", UNTRIED)


def main() -> None:
    """Write the policy and its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--title", required=True)
    options = parser.parse_args()
    run: Path = options.run
    config = yaml.safe_load((run / "config.yaml").read_text())
    evaluation = json.loads((run / "evaluation" / "evaluation.json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    spec = open_policy_file(run / "policy.onnx").spec
    sets = [measured("as trained", evaluation["episodes"], evaluation)]
    beyond = run / "evaluation" / "ranges.json"
    others = json.loads(beyond.read_text()) if beyond.exists() else evaluation.get("ranges", {})
    sets += [measured(f"beyond the training: {name}", evaluation["episodes"], r) for name, r in others.items()]
    metrics = evaluation["policies"][POLICY]["metrics"]
    units = {name: value["unit"] for name, value in metrics.items() if value.get("unit", "1") != "1"}
    folder = Path(zoo.__file__).parent / options.name
    folder.mkdir(exist_ok=True)
    shutil.copyfile(run / "policy.onnx", folder / "policy.onnx")
    card = zoo.Card(
        zoo.SCHEMA, options.name, options.title, spec.interface.robot, spec.interface.task,
        hashlib.sha256((folder / "policy.onnx").read_bytes()).hexdigest(),
        trained(run, summary), units, tuple(sets), limits(run, config), spec.provenance.license,
    )  # fmt: skip
    (folder / "card.json").write_text(json.dumps(to_plain(card), indent=1) + "\n")
    print(zoo.describe(card), end="")


if __name__ == "__main__":
    main()
