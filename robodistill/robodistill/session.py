"""One session at the terminal: run a pipeline, or one stage of it, and show what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robodistill.decode import decode
from robodistill.pipeline import PipelineConfig, run_pipeline
from robodistill.progress import Progress
from robodistill.runs import RunFolder
from robodistill.summaries import table

if TYPE_CHECKING:
    from robodistill.settings import RunConfig


def work(config: RunConfig, verb: str, only: str | None = None) -> int:
    """Run the configured pipeline, or ``only`` one of its stages, then show times and files; return the exit code."""
    from rich.console import Console

    given = config.pipeline
    pipeline = given if isinstance(given, PipelineConfig) else decode(PipelineConfig, given or {}, "pipeline")
    folder = RunFolder(Path(config.runs_dir) / config.run)
    announce = (lambda line: None) if config.quiet else Progress.say
    outcome = run_pipeline(pipeline, config, folder, announce, only, verb)
    console = Console(highlight=False)
    console.print(table(outcome.records if only is None else {only: outcome.records[only]}))
    for name, score in outcome.summary.get("score", {}).items():
        if score["mean"] is None:
            console.print(f"score   {name}: none, for the teacher does no better than doing nothing")
            continue
        low, high = score["ci95"]
        console.print(f"score   {name} {score['mean']:.3f} (95 %: {low:.3f} to {high:.3f})")
    check = outcome.summary.get("check", {})
    if check.get("passed") and only in (None, "check"):
        console.print(f"check   passed: {check['ticks']} ticks, file and torch differ by {check['onnx_vs_torch']:.1e}")
    for name, file in {**outcome.summary["files"], "summary": "summary.json"}.items():
        console.print(f"{name:<8}{(folder.path / file).resolve()}", soft_wrap=True)
    return _judge(outcome.summary)


def _judge(summary: Mapping[str, Any]) -> int:
    """Say what stands against the result; return 1 when the exported file failed its check."""
    valid = summary.get("valid", {})
    if not valid.get("teacher_reaches_floor", True):
        Progress.say(
            f"the score does not count: the teacher is below its task's floor of {valid['teacher_floor']}"
        )
    if not valid.get("zero_at_most_half", True):
        Progress.say("the score does not count: doing nothing earns more than half of the teacher's return")
    check = summary.get("check", {})
    if check.get("passed", True):
        return 0
    difference = check["first_difference"] or f"onnx and torch differ by {check['onnx_vs_torch']:.2e}"
    Progress.say(f"check failed: {difference}")
    return 1
