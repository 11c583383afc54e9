"""Pipelines: each stage once, resumed where it stopped, never over another configuration's results."""

from __future__ import annotations

import dataclasses
import errno
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from robodistill.pipeline import PipelineConfig, StageConfig, run_pipeline
from robodistill.runs import RunFolder
from robodistill.summaries import table
from robodistill_deploy.errors import RobodistillError


@dataclass(frozen=True)
class Settings:
    task: dict[str, Any] = field(default_factory=lambda: {"name": "toy"})
    lr: float = 0.1
    episodes: int = 8
    seed: int = 0
    quiet: bool = False


class Toys:
    """Three stages that count how often they ran; ``fail_in`` makes one stop half-way."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail_in = ""

    def begin(self, name: str, folder: RunFolder) -> None:
        self.calls.append(name)
        (folder.path / "half").write_text(name)
        if self.fail_in == name:
            raise KeyboardInterrupt

    def teach(self, config: Settings, folder: RunFolder, inputs: Mapping[str, Any]) -> dict[str, Any]:
        assert inputs == {}
        self.begin("teach", folder)
        (folder.path / "net").write_text(f"net {config.lr}")
        return {
            "net": folder.path / "net",
            "summary": {"env_steps": 100, "policies": {"teacher": {"return": 3.0}}},
        }

    def export(self, config: Settings, folder: RunFolder, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.begin("export", folder)
        (folder.path / "policy.onnx").write_text(inputs["net"].read_text() + " onnx")
        policy = folder.path / "policy.onnx"
        return {"policy": policy, "sizes": (1, 2), "summary": {"files": {"policy": policy}, "env_steps": 1}}

    def evaluate(self, config: Settings, folder: RunFolder, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.begin("evaluate", folder)
        assert inputs["sizes"] == [1, 2]
        policies = {"onnx": {"return": float(config.episodes)}, "teacher": {"metrics": {"falls": 0}}}
        return {"summary": {"episodes": config.episodes, "policies": policies}}

    def careless(self, config: Settings, folder: RunFolder, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"net": folder.path / "never_written"}

    def unsayable(self, config: Settings, folder: RunFolder, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"net": object()}


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Toys:
    toys, module = Toys(), ModuleType("toy_stages")
    monkeypatch.setattr("os.fsync", lambda handle: None)  # waiting for the disk tells nothing here
    for name in ("teach", "export", "evaluate", "careless", "unsayable"):
        setattr(module, name, getattr(toys, name))
    monkeypatch.setitem(sys.modules, "toy_stages", module)
    return toys


STAGES = (
    StageConfig("teacher", "toy_stages:teach", ("task", "lr")),
    StageConfig("export", "toy_stages:export", ("task",), {"net": "teacher.net"}),
    StageConfig(
        "evaluate", "toy_stages:evaluate", ("episodes",), {"policy": "export.policy", "sizes": "export.sizes"}
    ),
)
PIPELINE = PipelineConfig(STAGES)


def test_the_whole_and_again(toys: Toys, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "demo")
    first = run_pipeline(PIPELINE, Settings(), run)
    assert toys.calls == ["teach", "export", "evaluate"]
    assert (run.path / "policy.onnx").read_text() == "net 0.1 onnx"
    summary = run.summary()
    assert summary == first.summary
    assert {k: summary[k] for k in ("status", "verb", "task", "seed", "env_steps", "episodes", "files")} == {
        "status": "complete", "verb": "pipeline", "task": "toy", "seed": 0, "env_steps": 101, "episodes": 8,
        "files": {"policy": "policy.onnx"},
    }  # fmt: skip
    assert summary["policies"] == {
        "teacher": {"return": 3.0, "metrics": {"falls": 0}},
        "onnx": {"return": 8.0},
    }
    stages = summary["stages"]
    assert summary["wall_s"] == sum(s["wall_s"] for s in stages.values())
    (run.path / "policy.onnx").unlink()
    again = run_pipeline(PIPELINE, Settings(quiet=True), run)
    assert toys.calls == ["teach", "export", "evaluate"]
    assert again.summary == summary
    assert run.summary() == summary
    assert (run.path / "policy.onnx").exists()
    assert {r.origin for r in again.records.values()} == {"cached"}


@pytest.mark.parametrize("failing", ["teach", "export", "evaluate"])
def test_resumes_at_the_stage_that_was_stopped(toys: Toys, tmp_path: Path, failing: str) -> None:
    run = RunFolder(tmp_path / "demo")
    toys.fail_in = failing
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(PIPELINE, Settings(), run)
    assert run.status == "partial"
    before, toys.fail_in, toys.calls = toys.calls, "", []
    lines: list[str] = []
    outcome = run_pipeline(PIPELINE, Settings(), run, lines.append)
    assert before[:-1] + toys.calls == ["teach", "export", "evaluate"]
    assert [r.origin for r in outcome.records.values()].index("resumed") == len(before) - 1
    assert lines[len(before) - 1].endswith("goes on")
    fresh = run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path / "fresh")).summary
    for timing in ("wall_s", "stages", "env_steps_per_s"):
        del fresh[timing]
    assert {key: outcome.summary[key] for key in fresh} == fresh


def test_killed_between_a_record_and_its_summary_the_summary_is_written_later(toys: Toys, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "demo")
    run_pipeline(PIPELINE, Settings(), run)
    summary = run.stage("teacher").summary()
    run.stage("teacher").summary_path.unlink()
    run_pipeline(PIPELINE, Settings(), run)
    assert toys.calls == ["teach", "export", "evaluate"]
    assert run.stage("teacher").summary() == summary


def test_a_stage_that_runs_again_shows_no_summary_of_the_time_before(toys: Toys, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "demo")
    run_pipeline(PIPELINE, Settings(), run)
    (run.stage("teacher").path / "net").unlink()
    toys.fail_in = "teach"
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(PIPELINE, Settings(), run)
    assert not run.stage("teacher").summary_path.exists()
    assert run.stage("export").summary_path.exists()


def test_what_stopped_the_work_is_shown_though_the_record_cannot_be_written(
    toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def stop(name: str, folder: RunFolder) -> None:
        monkeypatch.setattr("os.fsync", full)
        raise RobodistillError("the reason")

    monkeypatch.setattr(toys, "begin", stop)
    with pytest.raises(RobodistillError, match="the reason"):
        run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path / "demo"))


def test_time_of_all_sessions_counts(toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("robodistill.records.time.monotonic", lambda: now[0])
    begin = toys.begin

    def slow(name: str, folder: RunFolder) -> None:
        now[0] += 10.0
        begin(name, folder)

    monkeypatch.setattr(toys, "begin", slow)
    toys.fail_in = "export"
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path))
    toys.fail_in = ""
    outcome = run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path))
    assert {n: r.wall_s for n, r in outcome.records.items()} == {
        "teacher": 10.0,
        "export": 20.0,
        "evaluate": 10.0,
    }
    assert outcome.summary["env_steps_per_s"] == pytest.approx(101 / 30)
    console = Console(file=io.StringIO(), width=80)
    console.print(table(outcome.records))
    assert isinstance(console.file, io.StringIO)
    rows = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["export", "resumed,", "done", "0:20", "1"] in rows
    assert ["all", "0:40", "101"] in rows


def test_another_configuration_does_not_touch_the_run(toys: Toys, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "demo")
    run_pipeline(PIPELINE, Settings(), run)
    with pytest.raises(
        RobodistillError, match=r"'evaluate' of .*demo .*: episodes is 8 there, 9 here; .*reuse=demo"
    ):
        run_pipeline(PIPELINE, Settings(episodes=9), run)
    assert len(toys.calls) == 3
    assert run.status == "complete"


@pytest.mark.parametrize("got_somewhere", [False, True])
def test_a_stage_that_failed_before_its_first_checkpoint_may_be_begun_otherwise(
    toys: Toys, tmp_path: Path, got_somewhere: bool
) -> None:
    run = RunFolder(tmp_path / "demo")
    toys.fail_in = "teach"
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(PIPELINE, Settings(), run)
    toys.fail_in = ""
    if got_somewhere:
        run.stage("teacher").checkpoint("last").mkdir(parents=True)
        with pytest.raises(RobodistillError, match=r"lr is 0.1 there, 0.2 here"):
            run_pipeline(PIPELINE, Settings(lr=0.2), run)
        return
    run_pipeline(PIPELINE, Settings(lr=0.2), run)
    assert (run.path / "policy.onnx").read_text() == "net 0.2 onnx"
    assert run.config()["lr"] == run.stage("teacher").config()["lr"] == 0.2


def test_a_damaged_file_does_not_replace_the_published_one(toys: Toys, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "demo")
    run_pipeline(PIPELINE, Settings(), run)
    made = run.stage("export").path / "policy.onnx"
    made.write_text("net 0.1 omnx")
    with pytest.raises(RobodistillError, match=r"export/policy\.onnx was damaged or changed .* 'export' made it"):
        run_pipeline(PIPELINE, Settings(), run)
    assert (run.path / "policy.onnx").read_text() == "net 0.1 onnx"
    made.write_text("net 0.1 onnx")
    run_pipeline(PIPELINE, Settings(), run)
    assert toys.calls == ["teach", "export", "evaluate"]


def test_what_no_stage_so_far_used_may_change(toys: Toys, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "demo")
    toys.fail_in = "export"
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(PIPELINE, Settings(), run)
    toys.fail_in = ""
    with pytest.raises(RobodistillError, match=r"stage 'teacher' of .*: lr is 0.1 there, 0.2 here; choose"):
        run_pipeline(PIPELINE, Settings(lr=0.2, episodes=9), run)
    assert run.config()["episodes"] == 8
    outcome = run_pipeline(PIPELINE, Settings(episodes=9), run)
    assert toys.calls == ["teach", "export", "export", "evaluate"]
    assert outcome.summary["episodes"] == run.config()["episodes"] == 9
    assert run.stage("teacher").config()["episodes"] == 8


def test_a_lost_output_runs_the_stage_again(toys: Toys, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "demo")
    run_pipeline(PIPELINE, Settings(), run)
    (run.stage("teacher").path / "net").unlink()
    run_pipeline(PIPELINE, Settings(), run)
    assert toys.calls == ["teach", "export", "evaluate", "teach"]


@pytest.mark.parametrize(
    ("changed", "ran"),
    [
        ({"episodes": 9}, ["evaluate"]),
        ({"lr": 0.2}, ["teach", "export", "evaluate"]),
        ({"seed": 1}, ["teach", "export", "evaluate"]),
        ({"quiet": True}, []),
        ({"task": {"name": "toy", "floor": 1}}, ["teach", "export", "evaluate"]),
    ],
)
def test_reusing_another_run_copies_what_would_be_the_same(
    toys: Toys, tmp_path: Path, changed: dict[str, Any], ran: list[str]
) -> None:
    run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path / "demo"))
    toys.calls.clear()
    other = RunFolder(tmp_path / "other")
    reusing = dataclasses.replace(PIPELINE, reuse="demo")
    outcome = run_pipeline(reusing, dataclasses.replace(Settings(), **changed), other)
    assert toys.calls == ran
    copied = [name for name, record in outcome.records.items() if record.origin == "copied"]
    assert len(copied) == 3 - len(ran)
    (tmp_path / "demo").rename(tmp_path / "gone")
    run_pipeline(PIPELINE, dataclasses.replace(Settings(), **changed), other)
    assert toys.calls == ran


def test_why_a_stage_is_not_copied_is_said(toys: Toys, tmp_path: Path) -> None:
    run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path / "demo"))
    reusing, lines = dataclasses.replace(PIPELINE, reuse="demo"), list[str]()
    run_pipeline(reusing, Settings(lr=0.2, episodes=9), RunFolder(tmp_path / "other"), lines.append)
    there = tmp_path / "demo"
    assert lines == [
        f"[1/3] teacher: begins, not copied from {there}: lr is 0.1 there, 0.2 here",
        f"[2/3] export: begins, not copied from {there}: a stage before it differs",
        f"[3/3] evaluate: begins, not copied from {there}: episodes is 8 there, 9 here",
    ]
    assert toys.calls == ["teach", "export", "evaluate"] * 2
    lines.clear()
    run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path / "started"), only="teacher")
    run_pipeline(
        dataclasses.replace(PIPELINE, reuse="started"), Settings(), RunFolder(tmp_path / "last"), lines.append
    )
    assert lines[0] == "[1/3] teacher: copied from the run to reuse"
    assert lines[1] == f"[2/3] export: begins, {tmp_path / 'started'} has no finished stage 'export'"
    lines.clear()
    teacher, *others = PIPELINE.stages
    also = dataclasses.replace(teacher, uses=(*teacher.uses, "episodes"))
    run_pipeline(
        dataclasses.replace(reusing, stages=(also, *others)), Settings(), RunFolder(tmp_path / "also"), lines.append
    )
    assert lines[0].endswith(f"not copied from {there}: the pipeline describes the stage in another way")
    lines.clear()
    (there / "export/policy.onnx").unlink()
    run_pipeline(reusing, Settings(), RunFolder(tmp_path / "lost"), lines.append)
    assert lines[1] == f"[2/3] export: begins, {there} has no finished stage 'export'"


def test_a_run_folder_may_move(toys: Toys, tmp_path: Path) -> None:
    run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path / "demo"))
    (tmp_path / "demo").rename(tmp_path / "moved")
    run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path / "moved"))
    assert len(toys.calls) == 3


def test_a_run_of_another_name_is_unknown(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(RobodistillError, match=r"pipeline\.reuse=dmo: there is no run"):
        run_pipeline(dataclasses.replace(PIPELINE, reuse="dmo"), Settings(), RunFolder(tmp_path / "demo"))


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([StageConfig("a", "x:y"), StageConfig("a", "x:y")], "'a' stands twice"),
        ([StageConfig("a", "x:y", inputs={"net": "teachr.net"})], "input 'net': unknown stage 'teachr'"),
        ([STAGES[0], StageConfig("a", "x:y", inputs={"net": "teachr.net"})], "did you mean 'teacher'"),
        ([STAGES[0], StageConfig("a", "x:y", inputs={"net": "teacher"})], "write <stage>.<output>"),
    ],
)
def test_a_pipeline_that_cannot_run_is_refused(stages: list[StageConfig], said: str) -> None:
    with pytest.raises(RobodistillError, match=said):
        PipelineConfig(tuple(stages))


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (StageConfig("b", "toy_stages:tech"), "did you mean 'teach'|unknown name 'tech'"),
        (
            StageConfig("b", "toy_stages:teach", ("task.nam",)),
            "uses 'task.nam': unknown key 'nam': did you mean",
        ),
        (
            StageConfig("b", "toy_stages:export", ("lr",), {"net": "teacher.nte"}),
            "unknown output of stage 'teacher'",
        ),
        (StageConfig("b", "toy_stages:careless"), "never_written was not written"),
        (StageConfig("b", "toy_stages:unsayable"), "an output is no JSON value or Path"),
    ],
)
def test_a_stage_that_does_not_keep_its_word(
    toys: Toys, tmp_path: Path, stage: StageConfig, said: str
) -> None:
    with pytest.raises(RobodistillError, match=said):
        run_pipeline(PipelineConfig((STAGES[0], stage)), Settings(), RunFolder(tmp_path))
    assert RunFolder(tmp_path).status != "complete"
    if "tech" in stage.type:
        assert toys.calls == []


def test_without_uses_everything_but_the_free_keys_counts(toys: Toys, tmp_path: Path) -> None:
    pipeline = PipelineConfig((StageConfig("teacher", "toy_stages:teach"),))
    run_pipeline(pipeline, Settings(), RunFolder(tmp_path / "a"))
    reusing = dataclasses.replace(pipeline, reuse="a")
    run_pipeline(reusing, Settings(quiet=True), RunFolder(tmp_path / "b"))
    assert len(toys.calls) == 1
    run_pipeline(reusing, Settings(episodes=1), RunFolder(tmp_path / "c"))
    assert len(toys.calls) == 2


def test_one_stage_at_a_time_makes_the_same_run(toys: Toys, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "demo")
    with pytest.raises(
        RobodistillError, match=r"evaluate needs export, which is not done in .*demo; `robodistill pipeline run=demo"
    ):
        run_pipeline(PIPELINE, Settings(), run, only="evaluate")
    assert toys.calls == []
    lines: list[str] = []
    run_pipeline(PIPELINE, Settings(), run, lines.append, only="teacher", verb="train")
    assert lines == ["[1/3] teacher: begins"]
    assert run.summary()["verb"] == run.stage("teacher").summary()["verb"] == "train"
    assert run.status == "partial"
    assert run.stage("teacher").status == "complete"
    assert run.stage("teacher").config() == run.config()
    run_pipeline(PIPELINE, Settings(), run, only="export")
    run_pipeline(PIPELINE, Settings(), run, only="evaluate")
    assert run.status == "complete"
    whole = run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path / "whole")).summary
    assert toys.calls == ["teach", "export", "evaluate"] * 2
    for timing in ("wall_s", "stages", "env_steps_per_s"):
        del whole[timing]
    assert {key: run.summary()[key] for key in whole} == whole
    run_pipeline(PIPELINE, Settings(), run, only="teacher")
    assert run.status == "complete"
    assert len(toys.calls) == 6


def test_one_stage_takes_what_feeds_it_from_the_run_to_reuse(toys: Toys, tmp_path: Path) -> None:
    run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path / "demo"))
    other = RunFolder(tmp_path / "other")
    outcome = run_pipeline(
        dataclasses.replace(PIPELINE, reuse="demo"), Settings(episodes=9), other, only="evaluate"
    )
    assert toys.calls == ["teach", "export", "evaluate", "evaluate"]
    assert outcome.summary["episodes"] == 9


def test_an_unknown_stage_is_named(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(RobodistillError, match="unknown stage 'teachr': did you mean 'teacher'"):
        run_pipeline(PIPELINE, Settings(), RunFolder(tmp_path), only="teachr")


def test_an_input_that_the_configuration_has_no_use_for_is_left_out(tmp_path: Path, toys: Toys) -> None:
    teach, export = "toy_stages:teach", "toy_stages:without"

    def export_alone(config: Settings, folder: RunFolder, inputs: Mapping[str, Any]) -> dict[str, Any]:
        toys.begin("without", folder)
        return {"had": sorted(inputs)}

    sys.modules["toy_stages"].without = export_alone  # pyright: ignore[reportAttributeAccessIssue]
    stages = (
        StageConfig("teach", teach, ("lr",)),
        StageConfig("export", export, ("task",), {"net": "teach.net"}, {"net": "task.needs_net"}),
    )
    for needs in (False, True):
        config = Settings(task={"name": "toy", "needs_net": needs})
        run = RunFolder(tmp_path / str(needs))
        if needs:
            with pytest.raises(RobodistillError, match="export needs teach"):
                run_pipeline(PipelineConfig(stages), config, run, only="export")
        else:
            run_pipeline(PipelineConfig(stages), config, run, only="export")
            assert toys.calls == ["without"]  # nobody taught
        made = run_pipeline(PipelineConfig(stages), config, run)
        assert made.records["export"].outputs["had"] == (["net"] if needs else [])
    with pytest.raises(RobodistillError, match="optional: unknown input 'nett'"):
        PipelineConfig((stages[0], dataclasses.replace(stages[1], optional={"nett": "task"})))
