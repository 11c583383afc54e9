"""Going on with a run: what a checkpoint remembers of its machine, and what to do when it is damaged."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from robodistill.checkpoint import LAST, PREVIOUS, has_tree, is_whole
from robodistill.cli import available_cores
from robodistill.files import sync, writing
from robodistill.progress import Progress
from robodistill.records import read_record, write_record
from robodistill.runs import RunFolder
from robodistill_deploy.errors import RobodistillError

_LABELS = {"torch": "torch", "threads": "threads:", "cpu": "CPU:", "compile": "compile"}


def conditions(physics_threads: int, compiled: bool = False) -> dict[str, str]:
    """Return what the last bits of a result depend on beside the run: torch, threads, kind of CPU, compilation.

    ``physics_threads`` is as configured, 0 for one per core.
    """
    return {
        "torch": str(torch.__version__),
        "threads": f"{torch.get_num_threads()} of torch, {physics_threads or available_cores()} of physics",
        "cpu": f"{cpu_kind()}, torch uses {torch.backends.cpu.get_cpu_capability()}",
        "compile": str(compiled).lower(),
    }


def cpu_kind(path: Path = Path("/proc/cpuinfo")) -> str:
    """Return maker, family and model of the CPU, as far as the system says."""
    wanted = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
    found: dict[str, str] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in wanted:
                found.setdefault(key.strip(), value.strip())
    return " ".join([platform.machine(), *found.values()] if found else [platform.machine(), platform.processor()])


def warn_of_changes(there: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Say in one line when a checkpoint was written under conditions that may give other bits."""
    changed = [
        f"{label} {there[key]} there, {here[key]} here"
        for key, label in _LABELS.items()
        if key in there and there[key] != here[key]
    ]
    if changed:
        Progress.say(
            f"resumed under other conditions ({'; '.join(changed)}): "
            "the result may differ from that of an uninterrupted run"
        )


def fall_back(run: RunFolder) -> None:
    """Put the checkpoint before it in the place of each damaged last one in the run's stages."""
    for folder in sorted(run.path.glob(f"*/checkpoints/{LAST}")):
        if is_whole(folder):
            continue
        stage, previous = folder.parents[1], folder.with_name(PREVIOUS)
        if not (has_tree(previous) and is_whole(previous)):
            raise RobodistillError(
                f"checkpoint {folder}: is damaged, and so is the one before it, or there is none; "
                f"restore one, or delete {stage} to begin that stage again"
            )
        with writing(folder):
            record = read_record(run, stage.name)
            if record is not None and record.status == "complete":
                record.status = "partial"  # it trains again from there to the same end
                write_record(record, run)
            shutil.rmtree(folder)
            os.rename(previous, folder)  # killed in between, previous is what loads
            sync(folder.parent)
        Progress.say(f"{stage.name}: the last checkpoint is damaged, going on from the one before it")
