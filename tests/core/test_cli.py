"""The command line: verbs found by themselves, help without torch, errors of one line, exit codes."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from robodistill import bench, cli
from robodistill_deploy.errors import RobodistillError


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let main() set its variables in a copy."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.fixture
def toy_verb(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes ``robodistill toy`` run what it is given."""

    def install(**attributes: Any) -> None:
        module = ModuleType("robodistill.verbs.toy")
        for name, value in attributes.items():
            setattr(module, name, value)
        monkeypatch.setitem(sys.modules, "robodistill.verbs.toy", module)
        monkeypatch.setattr(cli, "verbs", lambda: {"toy": "A toy.", "train": "Another."})

    return install


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_overview_names_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert {"doctor", "list", "pipeline"} <= set(cli.verbs())
    assert all(f"  {verb} " in shown for verb in cli.verbs())


@pytest.mark.parametrize("verb", sorted(cli.verbs()))
def test_help_teaches(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].endswith(".")
    for part in ("\nReads ", "\nWrites ", f"\n  robodistill {verb}"):
        assert part in shown, f"the help of {verb} lacks {part.strip()!r}"
    assert max(map(len, shown.splitlines())) <= 130


@pytest.mark.parametrize("measurement", [info.name for info in pkgutil.iter_modules(bench.__path__)])
def test_each_measurement_teaches_its_own_keys(measurement: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", measurement, "--help"]) == 0
    shown = capsys.readouterr().out
    settings = importlib.import_module(f"robodistill.bench.{measurement}").Settings
    told = shown.partition("\nKeys")[2]
    lacking = [key for key in ("out", *(field.name for field in fields(settings))) if f" {key}=" not in told]
    assert not lacking, f"the help of bench {measurement} lacks {lacking}"
    numbers = {field.name: field.default for field in fields(settings) if type(field.default) in (int, float)}
    shown_otherwise = [f"{key}={value}" for key, value in numbers.items() if value and f" {key}={value}" not in told]
    assert not shown_otherwise, f"the help of bench {measurement} shows no such default: {shown_otherwise}"
    assert f"\n  robodistill bench {measurement}" in shown
    assert max(map(len, shown.splitlines())) <= 130


def test_help_of_what_is_no_measurement_is_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    # modules inside, of that package and of another, and what is no name of a file
    inside = [["play", "server"], ["bench", "../listing"], ["play", f"play.video={'x' * 300}"]]
    for words in ([*named, "--help"] for named in (["bench", "nothing"], *inside)):
        assert cli.main(words) == 0
        assert capsys.readouterr().out == f"{cli.verbs()[words[0]]}\n"


def test_help_and_list_need_no_torch(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['torch'] = None; sys.modules['mujoco'] = None\n"
    for words in (["--help"], ["pipeline", "--help"], ["bench", "env", "--help"], ["list", "tasks"]):
        code = f"{blocked}from robodistill.cli import main\nsys.exit(main({words}))"
        path = os.pathsep.join(sys.path)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "unknown verb 'trian': did you mean 'train'?"),
        (["toy", "--verbose"], "unknown option '--verbose': keys are written key=value; see toy --help"),
        (["toy"], "no such luck"),
    ],
)
def test_errors_are_one_line_and_two(
    toy_verb: Callable[..., None], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    def fail(words: list[str]) -> int:
        raise RobodistillError("no such luck")

    toy_verb(run_words=fail)
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"robodistill: {said}")
    assert err.count("\n") == 1


def test_interrupted_says_how_to_go_on(
    toy_verb: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(words: list[str]) -> int:
        raise KeyboardInterrupt

    toy_verb(run_words=interrupt)
    assert cli.main(["toy", "run=my walk"]) == 130
    assert capsys.readouterr().err.endswith("the last checkpoint: robodistill toy 'run=my walk'\n")


def test_a_missing_package_names_the_extra(
    toy_verb: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def need(name: str) -> Callable[[list[str]], int]:
        def run_words(words: list[str]) -> int:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return run_words

    toy_verb(run_words=need("hydra.core"))
    assert cli.main(["toy"]) == 2
    assert "pip install 'robodistill[train]'" in capsys.readouterr().err
    toy_verb(run_words=need("robodistill.typo"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["toy"])


@pytest.mark.parametrize(("given", "code"), [(1, 1), (0, 0), (None, 0), ({"verb": "toy"}, 0)])
def test_what_a_verb_returns(toy_verb: Callable[..., None], given: Any, code: int) -> None:
    toy_verb(run_words=lambda words: given)
    assert cli.main(["toy", "a", "b=c"]) == code


def test_threads_sleep_unless_the_user_decided() -> None:
    chosen: dict[str, str] = {}
    cli.set_threads(chosen)
    cores = str(cli.available_cores())
    assert chosen == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": cores}
    own = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": "1"}
    cli.set_threads(kept := dict(own))
    assert kept == own


def test_threads_are_set_before_torch_is_there(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom robodistill import cli\n"
        "assert 'torch' not in sys.modules\n"
        "seen = []\ncli._dispatch = lambda words: seen.append('torch' in sys.modules) or 0\n"
        "cli.main(['x'])\nassert seen == [False]\nassert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


def test_a_runs_own_configuration_is_taken_up(
    toy_verb: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    toy_verb(run=seen.append)
    words = ["toy", f"runs_dir={tmp_path}", "run=walk"]
    assert cli.main([*words, "task=pendulum_swingup", "evaluate.episodes=64", "--config"]) == 0
    assert seen == []
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown)["evaluate"]["episodes"] == 64
    assert cli.main(words) == 2
    assert "unknown run in" in capsys.readouterr().err
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk" / "config.yaml").write_text(f"provenance: {{}}\n{shown}")
    assert cli.main([*words, "seed=5"]) == 0
    assert seen[0].seed == 5
    assert seen[0].evaluate.episodes == 64
    assert seen[0].task.name == "pendulum_swingup"


def test_a_verb_with_both_reads_words_when_the_first_sets_no_key(
    toy_verb: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "load_config", lambda words: ("config", words))
    seen: list[Any] = []
    toy_verb(run=seen.append, run_words=seen.append)
    for words in (["run=x"], [], ["compare", "out=x"]):
        assert cli.main(["toy", *words]) == 0
    assert seen == [("config", ["run=x"]), ("config", []), ["compare", "out=x"]]
    toy_verb(run=seen.append)  # words alone are then the configuration's to refuse
    assert cli.main(["toy", "x"]) == 0
    assert seen[-1] == ("config", ["x"])


def test_a_misspelt_run_is_named_and_makes_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "config.yaml").write_text("{}")
    assert cli.main(["evaluate", f"runs_dir={tmp_path}", "run=dmeo"]) == 2
    assert "did you mean 'demo'" in capsys.readouterr().err
    assert cli.main(["evaluate", "task=pendulum_swingup", f"runs_dir={tmp_path}", "run=dmeo"]) == 2
    assert "evaluation needs export, which is not done" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize(
    "word",
    [
        "threads=-1", "threads=5000", "seed=-1", "seed=99999999999999999999", "run=", "run=.", "run=../esc",
        "task.physics.timestep=0", "task.episode_s=-1", "teacher.checkpoint_every_s=-1", "runs_dir=/dev/null",
    ],
)  # fmt: skip
def test_values_out_of_range_are_one_line(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "task=pendulum_swingup", f"runs_dir={tmp_path}", "run=x", "quiet=true"]
    assert cli.main([*words, word]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert word.split("=", maxsplit=1)[0].rpartition(".")[2].partition("_dir")[0] in said or "/dev/null" in said
    assert not list(tmp_path.iterdir())
