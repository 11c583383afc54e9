"""A pipeline: stages with named inputs and outputs, cached by what they depend on, resumed where they stopped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robodistill.dependencies import differing, digest_of, givers, select
from robodistill.files import claimed, writing
from robodistill.records import StageRecord, copy_stage, read_record, recorded
from robodistill.runs import RunFolder, another_configuration, differences, plain
from robodistill.summaries import summarise
from robodistill_deploy.codec import to_plain
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.resolve import resolve

_BEGIN = {
    "ran": "begins",
    "resumed": "goes on",
    "cached": "done before",
    "copied": "copied from the run to reuse",
}

_TOLD = 3
"""How many of the differences to a run to reuse are told"""

StageFunction = Callable[[Any, RunFolder, Mapping[str, Any]], Mapping[str, Any]]
"""``(config, folder of the stage, inputs by name) -> outputs by name``.

Outputs are JSON values and Paths. The output ``summary`` (a mapping) goes into the run's summary.json: mappings in
it merge, ``env_steps`` add up, and each of its ``files`` is copied to the run's own folder.
"""


@dataclass(frozen=True)
class StageConfig:
    """One stage."""

    name: str
    type: str
    """The function, as ``package.module:function``."""
    uses: tuple[str, ...] = ()
    """Dotted keys of the configuration that its result depends on, beside the seed; empty for all of it."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Name of the input -> ``<stage>.<output>`` of an earlier stage."""
    optional: dict[str, str] = field(default_factory=dict)
    """Name of an input -> the dotted key of the configuration that says whether the stage has it."""


@dataclass(frozen=True)
class PipelineConfig:
    """Stages in order."""

    stages: tuple[StageConfig, ...]
    reuse: str | None = None
    """Another run's folder (or its name beside this one): its finished stages that would be the same are copied."""

    def __post_init__(self) -> None:
        """Refuse doubled names and inputs that no earlier stage gives."""
        earlier: list[str] = []
        for stage in self.stages:
            if stage.name in earlier:
                raise RobodistillError(f"stage {stage.name!r} stands twice; give the second another name")
            for name, source in stage.inputs.items():
                giver, dot, _ = source.partition(".")
                if not dot:
                    raise RobodistillError(f"stage {stage.name!r}, input {name!r}: write <stage>.<output>")
                if giver not in earlier:
                    raise RobodistillError(
                        f"stage {stage.name!r}, input {name!r}: {unknown('stage', giver, earlier)}"
                    )
            for name in stage.optional:
                if name not in stage.inputs:
                    raise RobodistillError(f"stage {stage.name!r}, optional: {unknown('input', name, stage.inputs)}")
            earlier.append(stage.name)


@dataclass(frozen=True)
class PipelineRun:
    """What came of a pipeline: the summary, as the run's folder holds it, and the record of each stage."""

    summary: dict[str, Any]
    records: dict[str, StageRecord]


def run_pipeline(
    pipeline: PipelineConfig,
    config: Any,
    run: RunFolder,
    announce: Callable[[str], None] = lambda line: None,
    only: str | None = None,
    verb: str = "pipeline",
) -> PipelineRun:
    """Run the stages that are not done yet, in order; with ``only``, that one, after those that feed it are done.

    A stage that another configuration began is never touched: that is an error which says what differs. Keys that
    no stage so far depended on may change. ``config`` is the dataclass that the stages get. ``announce`` is given a
    line as each stage begins. ``verb`` goes into the summaries: the run's, and one in the folder of each stage.
    """
    values = plain(to_plain(config))
    pipeline = replace(pipeline, stages=tuple(_pruned(stage, values) for stage in pipeline.stages))
    if only is not None:
        _refuse_lacking(pipeline, only, run)
    with claimed(run.path):
        return _go_through(pipeline, config, values, run, announce, only, verb)


def _go_through(
    pipeline: PipelineConfig,
    config: Any,
    values: dict[str, Any],
    run: RunFolder,
    announce: Callable[[str], None],
    only: str | None,
    verb: str,
) -> PipelineRun:
    functions: dict[str, StageFunction] = {}
    digests: dict[str, str] = {}
    for stage in pipeline.stages:
        digests[stage.name] = digest_of(stage, values, digests)
    _take(pipeline, values, digests, run)
    done: dict[str, StageRecord] = {}
    for number, stage in enumerate(pipeline.stages, 1):
        lacking = [giver for giver in givers(stage) if giver not in done]
        if lacking and stage.name == only:
            raise _lacking(stage.name, lacking[0], run)
        if lacking:
            continue
        record = _find(pipeline, stage, digests[stage.name], run)
        if record.status == "partial" and only not in (None, stage.name):
            continue
        done[stage.name] = record
        if only in (None, stage.name):
            why = _why_ran(pipeline, stage, values, run) if record.origin == "ran" else ""
            announce(f"[{number}/{len(pipeline.stages)}] {stage.name}: {_BEGIN[record.origin]}{why}")
        if record.status == "partial":
            # All at once: a typo in the last one shows now, and a finished run is shown without importing torch.
            functions = functions or {each.name: resolve(each.type) for each in pipeline.stages}
            _perform(pipeline, stage, functions[stage.name], config, run, done)
            run.write_summary(summarise(values, done, verb), "partial")
        if not run.stage(stage.name).summary_path.exists():  # new, or killed between the record and this
            run.stage(stage.name).write_summary(summarise(values, {stage.name: record}, verb))
        _publish(run, record)
    run.write_summary(
        summarise(values, done, verb), "complete" if len(done) == len(pipeline.stages) else "partial"
    )
    return PipelineRun(run.summary(), done)


def _pruned(stage: StageConfig, values: Mapping[str, Any]) -> StageConfig:
    """Return the stage without the inputs that the configuration has no use for."""
    unused = {name for name, key in stage.optional.items() if not select(values, key, stage.name)}
    inputs = {name: source for name, source in stage.inputs.items() if name not in unused}
    return replace(stage, inputs=inputs, optional={})


def _perform(
    pipeline: PipelineConfig,
    stage: StageConfig,
    function: StageFunction,
    config: Any,
    run: RunFolder,
    done: Mapping[str, StageRecord],
) -> None:
    """Call a stage's function and keep what it gives in its record."""
    record, folder = done[stage.name], run.stage(stage.name)
    folder.write_config(to_plain(config))
    folder.summary_path.unlink(missing_ok=True)  # of a result that is no longer there
    inputs: dict[str, Any] = {}
    for name, source in stage.inputs.items():
        giver, _, output = source.partition(".")
        inputs[name] = done[giver].outputs[output]
    with recorded(record, run):
        record.finish(function(config, folder, inputs), run)
        _check_outputs(pipeline, stage, record.outputs)
        record.status = "complete"


def _refuse_lacking(pipeline: PipelineConfig, only: str, run: RunFolder) -> None:
    """Refuse a stage that cannot run, before anything is written: the name of the run may be misspelt."""
    stages = {stage.name: stage for stage in pipeline.stages}
    if only not in stages:
        raise RobodistillError(unknown("stage", only, stages))
    for giver in givers(stages[only]):
        if not pipeline.reuse and read_record(run, giver) is None:
            raise _lacking(only, giver, run)


def _lacking(only: str, giver: str, run: RunFolder) -> RobodistillError:
    home = "" if run.path.parent == Path("runs") else f" runs_dir={run.path.parent}"
    again = f"`robodistill pipeline run={run.path.name}{home}` does all that is missing"
    return RobodistillError(f"{only} needs {giver}, which is not done in {run.path}; {again}")


def _take(
    pipeline: PipelineConfig, values: dict[str, Any], digests: Mapping[str, str], run: RunFolder
) -> None:
    """Make ``values`` the run's configuration, unless a stage that began depended on what has changed."""
    for stage in pipeline.stages:
        record = read_record(run, stage.name)
        if record is None or record.hash == digests[stage.name] or _left_nothing(record, run):
            continue
        found, mine = differing(stage, run, values)
        hint = f" (pipeline.reuse={run.path.name} keeps what would be the same)"
        what = f"stage {stage.name!r} of {run.path}"
        raise another_configuration(what, mine or found or ["the list of stages"], hint)
    if not run.config_path.exists() or differences(run.config(), values):
        run.write_config(values)


def _why_ran(pipeline: PipelineConfig, stage: StageConfig, values: dict[str, Any], run: RunFolder) -> str:
    """Return why a stage that begins is not copied from the run to reuse, to be said once; empty without one."""
    if pipeline.reuse is None:
        return ""
    other = RunFolder(run.path.parent / pipeline.reuse)
    there = read_record(other, stage.name)
    if there is None or not there.whole():
        return f", {other.path} has no finished stage {stage.name!r}"
    _, mine = differing(stage, other, values)
    more = f" and {len(mine) - _TOLD} more" if len(mine) > _TOLD else ""
    unseen = "a stage before it differs" if givers(stage) else "the pipeline describes the stage in another way"
    return f", not copied from {other.path}: {'; '.join(mine[:_TOLD]) or unseen}{more}"


def _left_nothing(record: StageRecord, run: RunFolder) -> bool:
    """Return whether a stage failed before its first checkpoint: then its name is still free."""
    return record.status == "partial" and not (run.stage(record.stage).path / "checkpoints").exists()


def _find(pipeline: PipelineConfig, stage: StageConfig, digest: str, run: RunFolder) -> StageRecord:
    """Return what is there of a stage, in this run or in the one to reuse; else a new record."""
    record = read_record(run, stage.name)
    if record is None:
        return _copied(pipeline.reuse, stage, digest, run) or StageRecord(stage.name, digest)
    return (
        record if record.whole() else StageRecord(stage.name, digest, wall_s=record.wall_s, origin="resumed")
    )


def _copied(reuse: str | None, stage: StageConfig, digest: str, run: RunFolder) -> StageRecord | None:
    if reuse is None:
        return None
    other = RunFolder(run.path.parent / reuse)
    if not other.path.is_dir():
        raise RobodistillError(f"pipeline.reuse={reuse}: there is no run {other.path}; name one")
    there = read_record(other, stage.name)
    whole = there is not None and there.whole() and there.within(other.stage(stage.name).path)
    if there is None or there.hash != digest or not whole:
        return None
    copy_stage(other, run, stage.name)
    record = read_record(run, stage.name)
    if record is not None:
        record.origin = "copied"
    return record


def _check_outputs(pipeline: PipelineConfig, stage: StageConfig, outputs: Mapping[str, Any]) -> None:
    """Refuse a stage's outputs at once when a later stage would miss one."""
    for later in pipeline.stages:
        for source in later.inputs.values():
            giver, _, output = source.partition(".")
            if giver == stage.name and output not in outputs:
                raise RobodistillError(
                    f"stage {later.name!r}: {unknown(f'output of stage {giver!r}', output, outputs)}"
                )


def _publish(run: RunFolder, record: StageRecord) -> None:
    """Copy the files that a stage names to the run's own folder, each in one step."""
    for path in record.files:
        target = run.path / path.name
        if path != target:
            aside = target.with_name(f".{target.name}.tmp")
            with writing(target):
                shutil.copyfile(record.verified(path), aside)
                os.replace(aside, target)
