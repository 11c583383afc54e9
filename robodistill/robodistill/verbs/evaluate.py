"""Compare teacher, student, exported file and zero action on the same seeds.

  robodistill evaluate run=mine
  robodistill evaluate run=mine range=low_friction   under conditions that the training has not seen, too

Reads   the checkpoints and policy.onnx of the run.
Writes  runs/<run>/evaluation/: evaluation.json (figures with 95 % intervals), episodes.npz, trajectories.npz; for
        ranges asked of a finished evaluation ranges.json, and the report anew where there is one.

Keys    evaluate.episodes=512                    paired episodes
        evaluate.seed=1000003                    of the evaluation's worlds, kept apart from training
        evaluate.ranges=[train,low_friction]     the task's ranges to compare under; range=<name> for one
        evaluate.diagnose=true                   where the student differs from its teacher, and why

Score = (R - R_zero) / (R_teacher - R_zero) on the same episodes, of the same range.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robodistill.decode import decode
from robodistill.pipeline import PipelineConfig
from robodistill.progress import Progress
from robodistill.records import read_record
from robodistill.runs import RunFolder, differences, plain
from robodistill.session import work
from robodistill_deploy.codec import to_plain

if TYPE_CHECKING:
    from robodistill.settings import RunConfig

STAGE = "evaluation"


def reword(words: Sequence[str]) -> list[str]:
    """Return the words with ``range=<name>`` spelt as the configuration has it."""
    return [f"evaluate.ranges=[{word[6:].strip('[]')}]" if word.startswith("range=") else word for word in words]


def run(config: RunConfig) -> int:
    """Run this stage, or add ranges to a finished one; the stages that feed it must be done."""
    inputs = _finished(config) if config.evaluate.ranges else None
    if inputs is None:
        return work(config, "evaluate", only=STAGE)
    from robodistill.stages import evaluate_ranges

    folder = RunFolder(Path(config.runs_dir) / config.run)
    result = evaluate_ranges(config, folder.stage(STAGE), inputs)
    if (folder.path / "report.html").exists():
        from robodistill.report import write_report

        write_report(folder.path)
    for name in config.evaluate.ranges:
        for policy, score in result.get(name, {}).get("score", {}).items():
            if score["mean"] is None:  # the teacher does no better than doing nothing
                continue
            low, high = score["ci95"]
            Progress.say(f"score   {name} {policy} {score['mean']:.3f} (95 %: {low:.3f} to {high:.3f})")
    return 0


def _finished(config: RunConfig) -> dict[str, Any] | None:
    """Return the inputs of the run's evaluation if that is done, but under other ranges."""
    folder = RunFolder(Path(config.runs_dir) / config.run)
    record = read_record(folder, STAGE)
    stored = folder.stage(STAGE).config() if record is not None and record.whole() else None
    differing = differences(stored["evaluate"], plain(to_plain(config.evaluate))) if stored else []
    if not differing or any(not phrase.startswith("ranges ") for phrase in differing):
        return None  # there is none, or the very one that is asked for, or one that this would contradict
    pipeline = decode(PipelineConfig, config.pipeline or {}, "pipeline")
    (stage,) = (stage for stage in pipeline.stages if stage.name == STAGE)
    found: dict[str, Any] = {}
    for name, source in stage.inputs.items():
        giver, _, output = source.partition(".")
        given = read_record(folder, giver)
        found[name] = given.outputs[output] if given else None
    return found
