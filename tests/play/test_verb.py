"""The verb: runs of earlier versions, its keys, the video, and what is said where there is no viser."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from robodistill import cli
from robodistill.config import compose, decode
from robodistill.pipeline import PipelineConfig, run_pipeline
from robodistill.play.film import act_out, script
from robodistill.play.session import Session
from robodistill.runs import RunFolder, plain
from robodistill.settings import PlayConfig, RunConfig
from robodistill_deploy.codec import to_plain
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.render import available_backend

MakeSession = Callable[..., Session]
SavePolicy = Callable[..., Path]
TASK = "cartpole_balance"


@pytest.fixture
def old_run(save_policy: SavePolicy, tmp_path: Path) -> list[str]:
    """Return the words that name a run whose config.yaml was written before there was anything to play."""
    save_policy(tmp_path / "old", TASK, "teacher")
    run = RunFolder(tmp_path / "old")
    config = plain(to_plain(decode(RunConfig, compose([f"task={TASK}"]))))
    run.write_config({key: value for key, value in config.items() if key != "play"})
    assert "play" not in yaml.safe_load(run.config_path.read_text())
    return ["run=old", f"runs_dir={tmp_path}"]


def test_legal_keys_are_no_misspelling_of_the_verbs_own() -> None:
    roots = [field.name for field in fields(RunConfig)]
    own = [field.name for field in fields(PlayConfig)]
    words = [f"{key}=x" for key in (*roots, *own, *(f"play.{key}" for key in own), "method@teacher.method", "+mode")]
    cli.refuse_misspelt(words, own)
    with pytest.raises(RobodistillError, match="unknown key 'checkpiont': did you mean 'checkpoint'"):
        cli.refuse_misspelt([*words, "checkpiont=x"], own)


def test_runs_of_earlier_versions_load_and_take_the_keys(old_run: list[str]) -> None:
    assert cli.load_config(old_run).play == PlayConfig()
    config = cli.load_config([*old_run, "play.port=9000", "play.checkpoint=latest"])
    assert (config.play.port, config.play.checkpoint) == (9000, "latest")
    with pytest.raises(RobodistillError, match=r"unknown key 'play\.prot': did you mean 'play\.port'"):
        cli.load_config([*old_run, "play.prot=1"])
    with pytest.raises(RobodistillError, match="unknown value 'newest'"):
        cli.load_config([*old_run, "play.checkpoint=newest"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"seconds": 0.0}, "seconds"), ({"port": 70000}, "port"), ({"video": "out.gif"}, "ends in .mp4")],
)
def test_values_out_of_range_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RobodistillError, match=said):
        PlayConfig(**changed)


def test_its_keys_need_not_be_spelt_out(
    old_run: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["play", *old_run, "port=9001", "seconds=3", "--config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["play"]["port"], shown["play"]["seconds"], shown["run"]) == (9001, 3.0, "old")
    assert cli.main(["evaluate", *old_run, "port=9001", "--config"]) == 2  # another verb has no such section
    assert "unknown key 'port': did you mean 'play.port'" in capsys.readouterr().err


def count_up(config: RunConfig, folder: RunFolder, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    del config, inputs
    folder.path.mkdir(parents=True, exist_ok=True)
    made = folder.path / "made"
    made.write_text(str(int(made.read_text()) + 1 if made.exists() else 1))
    return {"made": made}


def test_playing_changes_nothing_that_a_run_makes(tmp_path: Path) -> None:
    stage = {"name": "count", "type": f"{__name__}:count_up"}
    pipeline = decode(PipelineConfig, {"stages": [stage]})
    run = RunFolder(tmp_path / "run")
    for port in ("8080", "9000"):
        config = decode(RunConfig, compose([f"task={TASK}", f"play.port={port}"], RunConfig))
        run_pipeline(pipeline, config, run)
    assert (run.path / "count" / "made").read_text() == "1"
    with pytest.raises(RobodistillError, match="was made with another configuration"):  # what does change it
        run_pipeline(pipeline, decode(RunConfig, compose([f"task={TASK}", "seed=5"])), run)


def test_the_script_visits_every_limit(make_session: MakeSession) -> None:
    command = make_session().task.command
    assert command is not None
    steps = script(command)
    assert steps[0].tolist() == [0.0, 0.0, 0.0]
    assert len(steps) == 7
    assert (np.count_nonzero(steps[1:], axis=1) == 1).all()
    assert np.allclose(steps.max(0), 0.7 * np.array(command.upper))
    assert np.allclose(steps.min(0), 0.7 * np.array(command.lower))


def test_the_film_acts_the_script_out(make_session: MakeSession) -> None:
    session = make_session(policy="zero_action")
    told: list[int] = []
    views = act_out(session, 1.4, told.append)
    assert len(views) == told[-1] == 70
    assert len({tuple(v.command) for v in views}) == 7
    assert [v.time_s for v in views] == pytest.approx([0.02 * i for i in range(70)])
    assert act_out(make_session(TASK), 0.2, told.append)[-1].command.shape == (0,)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw without OpenGL, as everywhere."""
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    assert available_backend() is None


@pytest.mark.usefixtures("drawn")
def test_a_video_is_written(old_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    assert cli.main(["play", *old_run, f"video={out}", "seconds=0.5", "quiet=true"]) == 0
    assert out.stat().st_size > 1000
    assert str(out) in capsys.readouterr().out


@pytest.mark.usefixtures("drawn")
def test_without_viser_there_is_a_video_and_a_hint(
    old_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "viser" else real(name, *more))
    assert cli.main(["play", *old_run, "seconds=0.5", "quiet=true"]) == 0
    assert (tmp_path / "old" / "play.mp4").stat().st_size > 1000
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install 'robodistill[view]'" in said


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["play", f"task={TASK}", "run=none", f"runs_dir={tmp_path}"]) == 2
    assert "no run" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1
