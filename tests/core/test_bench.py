"""Measurements of speed: what they count, that every part they name exists, one-line errors; no time is asserted."""

from __future__ import annotations

import cProfile
import json
import pstats
from pathlib import Path
from typing import Any

import pytest

from robodistill import cli
from robodistill.bench import env, train
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv

SMALL = ("task=pendulum_swingup", "run=bench")


def test_env_measures_each_number_of_worlds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "env.json"
    words = ["bench", "env", *SMALL, "worlds=3,8", "rounds=3", "steps=4", "settle_s=0.1", "compiled=false"]
    words.append(f"out={out}")
    assert cli.main(words) == 0
    result = json.loads(out.read_text())
    assert [row["worlds"] for row in result["rows"]] == [3, 8]
    for row in result["rows"]:
        assert 0.0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["env_steps_per_s"] > 0.0
        assert row["bare_steps_per_s"] > 0.0
        assert row["us_per_world_step"] == pytest.approx(1e6 / row["env_steps_per_s"])
    assert result["rows"][0]["kib_per_world"] > 0.0
    assert result["ratio"] == min(row["ratio"] for row in result["rows"])
    assert all("compiled" not in row for row in result["rows"])
    said = capsys.readouterr().err
    assert f"ratio={result['ratio']:.3f} (plain" in said
    assert "compiling" not in said


def test_env_measures_plain_and_compiled_where_there_is_a_compiler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []

    class Uncompiled(VecEnv):
        """Compiling takes a minute and is tested elsewhere."""

        def __init__(self, *args: Any, compiles: bool = False) -> None:
            made.append(compiles)
            super().__init__(*args)

    monkeypatch.setattr(env, "VecEnv", Uncompiled)
    words = ["bench", "env", *SMALL, "worlds=3,8", "rounds=2", "steps=4", "settle_s=0.1"]
    for here, which in ((True, "compiled"), (False, "plain")):
        made.clear()
        monkeypatch.setattr(env, "has_compiler", lambda here=here: here)
        assert cli.main([*words, f"out={tmp_path / which}"]) == 0
        result = json.loads((tmp_path / which).read_text())
        assert made.count(True) == (3 if here else 0)  # one to load what compiling needs, then one per number
        assert result["ratio_of"] == which
        assert [("compiled" in row) for row in result["rows"]] == [here, here]
        ratios = [row["compiled"]["ratio"] if here else row["ratio"] for row in result["rows"]]
        assert result["ratio"] == min(ratios)
        said = capsys.readouterr().err
        assert ("compiling takes about a minute" in said) == here
        assert f"ratio={result['ratio']:.3f} ({which}" in said


def test_train_finds_every_part_that_it_names(tmp_path: Path) -> None:
    """A function that was renamed would count as nothing."""
    out = tmp_path / "train.json"
    small = ["teacher.method.collect.num_envs=16", "teacher.method.collect.steps=8"]
    assert cli.main(["bench", "train", *SMALL, *small, "iterations=2", "warm_up=1", f"out={out}"]) == 0
    result = json.loads(out.read_text())
    assert result["seconds"].keys() == {*train.PARTS, "all else"}
    idle = {name for name, seconds in result["seconds"].items() if seconds <= 0.0}
    assert idle <= {"resets"}  # in so few steps none may end
    assert 0.0 < result["learner"] < 1.0


def test_a_part_is_what_its_functions_took() -> None:
    profile = cProfile.Profile()
    profile.enable()
    sorted(range(1000), key=lambda x: -x)
    profile.disable()
    parts = train.split(pstats.Stats(profile), 1)
    assert all(seconds == 0.0 for name, seconds in parts.items() if name != "all else")
    assert parts["all else"] > 0.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench"], "legal: env, methods, runtime, train"),
        (["bench", "evn", *SMALL], "did you mean 'env'"),
        (["bench", "env", *SMALL, "wrolds=3"], "unknown key 'wrolds': did you mean 'worlds'?"),
        (["bench", "methods", "tasks=pendulum_swingup", "recrods=x"], "unknown key 'recrods': did you mean 'records'?"),
        (["play", *SMALL, "vidoe=a.mp4"], "unknown key 'vidoe': did you mean 'video'?"),
        (["bench", "env", *SMALL, "worlds=0"], "at least 1"),
        (["bench", "env", *SMALL, "rounds=many"], "rounds"),
        (["bench", "env", *SMALL, "compiled=perhaps"], "compiled"),
        (["bench", "env", "task=pendulum_swing"], "pendulum_swingup"),
    ],
)
def test_errors_name_the_fix(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_settings_are_checked() -> None:
    with pytest.raises(RobodistillError, match="iterations"):
        train.Settings(iterations=0)


@pytest.mark.slow
def test_runtime_measures_a_tick_beside_a_bare_call(tmp_path: Path) -> None:
    from robodistill import bench_policies
    from robodistill.config import compose
    from robodistill.decode import decode
    from robodistill.settings import RunConfig

    config = decode(RunConfig, compose(["task=pendulum_swingup"]))
    path = bench_policies.build("gru", config, tmp_path / "gru.onnx")
    kept = path.read_bytes()
    assert bench_policies.build("gru", config, path).read_bytes() == kept  # what is there is not built again
    out = tmp_path / "runtime.json"
    words = ["bench", "runtime", *SMALL, f"policy={path}", "calls=100", "paced=5", "ticks=100", f"out={out}"]
    assert cli.main(words) == 0
    (row,) = json.loads(out.read_text())["rows"]
    for how in ("back_to_back", "paced"):
        assert 0.0 < row[how]["bare_p50_us"] <= row[how]["bare_p99_us"] <= row[how]["bare_p99.9_us"]
        assert row[how]["overhead_p50_us"] == pytest.approx(row[how]["tick_p50_us"] - row[how]["bare_p50_us"])
        bound = row[how]["tick_p50_us"] - row[how]["bound_p50_us"]
        assert row[how]["overhead_bound_p50_us"] == pytest.approx(bound)
    assert "memory_growth_mb" in row


def test_the_kinds_measured_are_all_there_are() -> None:
    import pkgutil

    from robodistill.bench_policies import KINDS
    from robodistill_policies import encoders

    modules = {info.name for info in pkgutil.iter_modules(encoders.__path__)} - {"base", "none", "timeline", "window"}
    assert modules <= set(KINDS), modules - set(KINDS)
