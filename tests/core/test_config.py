"""Configuration: what is legal becomes dataclasses, what is not becomes one line with the path."""

from __future__ import annotations

import copy
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hydra import compose as hydra_compose

from robodistill import config
from robodistill.config import ConfigError, compose, decode, groups, overlay
from robodistill_deploy.errors import RobodistillError

FILES = {
    "config.yaml": """
        defaults:
          - task: ???
          - recipe: ${task}
          - method: dagger
          - _self_
        run: ${task.name}-${seed}
        seed: 0
        quiet: false
    """,
    "task/go2_flat.yaml": "name: go2_flat\nlimits: [1, 2.5]\nterms:\n  - {name: gyro, scale: 0.25}\n",
    "task/pendulum.yaml": "name: pendulum\nlimits: []\nterms: []\n",
    "recipe/go2_flat.yaml": "# @package _global_\nppo: {lr: 1e-3, schedule: adaptive, epochs: 5}\n",
    "recipe/pendulum.yaml": "# @package _global_\nppo: {lr: 1, schedule: fixed, epochs: 2}\n",
    "method/dagger.yaml": "loss: mse\n",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"toy_tree_{tmp_path.name}"
    _write(tmp_path / name, FILES)
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


@dataclass(frozen=True)
class Term:
    name: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise RobodistillError(f"scale {self.scale} is not positive")


@dataclass(frozen=True)
class Task:
    name: str
    limits: tuple[float, ...]
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Ppo:
    lr: float
    schedule: Literal["adaptive", "fixed"]
    epochs: int
    clip: float = 0.2
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    loss: str


@dataclass(frozen=True)
class Run:
    task: Task
    ppo: Ppo
    method: Method
    run: str
    seed: int
    quiet: bool


def test_words_to_dataclasses(tree: str) -> None:
    data = compose(["task=go2_flat", "ppo.epochs=7", "seed=3"], tree=tree)
    assert type(data["task"]["terms"]) is list
    run = decode(Run, data)
    assert run == Run(
        Task("go2_flat", (1.0, 2.5), (Term("gyro", 0.25),)),
        Ppo(1e-3, "adaptive", 7),
        Method("mse"),
        "go2_flat-3",
        3,
        False,
    )
    assert type(run.task.limits[0]) is float
    assert type(decode(Run, compose(["task=pendulum"], tree=tree)).ppo.lr) is float


def test_keys_that_no_yaml_mentions_are_those_of_the_class(tree: str) -> None:
    data = compose(["task=go2_flat", "ppo.clip=0.1", "ppo.extra.a=[1]", "seed=4"], Run, tree)
    run = decode(Run, data)
    assert (run.ppo.clip, run.ppo.extra, run.seed) == (0.1, {"a": [1]}, 4)
    with pytest.raises(
        ConfigError, match=r"'ppo.clp': did you mean 'ppo.clip'\? legal in 'ppo': clip, epochs, extra,"
    ):
        compose(["task=go2_flat", "ppo.clip=0.1", "ppo.clp=0.1"], Run, tree)
    with pytest.raises(ConfigError, match=r"unknown key 'ppo.clip': legal"):
        compose(["task=go2_flat", "~ppo.clip"], tree=tree)


def test_what_fits_is_composed_once(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Composing is what a command waits for before its first line, and a benchmark does it for every cell."""
    composed: list[list[str]] = []

    def counted(name: str, words: list[str]) -> Any:
        composed.append(words)
        return hydra_compose(name, words)

    monkeypatch.setattr(config, "hydra_compose", counted)
    compose(["task=go2_flat", "ppo.lr=1", "ppo.clip=0.1", "ppo.extra.a=[1]", "+ppo.extra.b=2", "seed=4"], Run, tree)
    assert len(composed) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no task chosen: add task=<name>; legal: go2_flat, pendulum"),
        (["task=go2_flt"], "unknown task 'go2_flt': did you mean 'go2_flat'? legal: go2_flat, pendulum"),
        (["taks=go2_flat"], "unknown key 'taks': did you mean 'task'?"),
        (["task=go2_flat", "method=dager"], "unknown method 'dager': did you mean 'dagger'?"),
        (
            ["task=go2_flat", "ppo.lrr=1"],
            "unknown key 'ppo.lrr': did you mean 'ppo.lr'? legal in 'ppo': epochs,",
        ),
        (["task=go2_flat", "lr=1"], "unknown key 'lr': did you mean 'ppo.lr'? legal: method,"),
        (["task=go2_flat", "sed=1"], "unknown key 'sed': did you mean 'seed'?"),
        (["task=go2_flat", "zzz.yyy=1"], "unknown key 'zzz.yyy': legal: method, ppo, quiet"),
        (["task=go2_flat", "ppo.lr.x=1"], "unknown key 'ppo.lr.x': did you mean 'ppo.lr'? legal in 'ppo'"),
        (["task=go2_flat", "seed"], "cannot read 'seed': write key=value"),
        (["task=go2_flat", "seed=[1,"], "cannot read 'seed=[1,'"),
        (["task=go2_flat", "seed=1,2"], "Ambiguous value for argument 'seed=1,2'"),
        (["task=go2_flat", "seed=???"], "key 'seed' is not set: add seed=<value>"),
        (["task=go2_flat", "run=${tsk.name}"], "key 'run': Interpolation key 'tsk.name' not found"),
        (["task=go2_flat", "config_dir=/nowhere"], "config_dir=/nowhere: no such folder"),
    ],
)
def test_what_does_not_compose_is_one_line(tree: str, words: list[str], said: str) -> None:
    for cls, legal in ((None, "legal in 'ppo': epochs,"), (Run, "legal in 'ppo': clip,")):
        with pytest.raises(ConfigError) as caught:
            compose(words, cls, tree)
        assert str(caught.value).startswith(said.replace("legal in 'ppo': epochs,", legal))
        assert "\n" not in str(caught.value)


def test_what_is_wrong_inside_of_a_mapping_is_named_with_its_path(tree: str) -> None:
    with pytest.raises(ConfigError, match=r"ppo: .*'epoch'.*did you mean 'epochs'"):
        decode(Run, compose(["task=go2_flat", "ppo={epoch: 3}"], Run, tree))


COMPOSED: dict[str, Any] = {
    "task": {"name": "go2_flat", "limits": [1, 2.5], "terms": [{"name": "gyro", "scale": 0.25}]},
    "ppo": {"lr": 1e-3, "schedule": "adaptive", "epochs": 5},
    "method": {"loss": "mse"},
    "run": "go2_flat-0",
    "seed": 0,
    "quiet": False,
}
GONE = object()


def _edited(key: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(COMPOSED)
    *parents, last = key.split(".")
    node: dict[str, Any] = data
    for parent in parents:
        node = node[parent]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return data


def test_the_composed_values(tree: str) -> None:
    assert compose(["task=go2_flat"], tree=tree) == COMPOSED


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ppo.lr", "fast", "ppo.lr: expected float, got str 'fast'"),
        ("ppo.lr", True, "ppo.lr: expected float, got bool True"),
        ("ppo.epochs", 2.5, "ppo.epochs: expected int, got float 2.5"),
        ("ppo.epochs", True, "ppo.epochs: expected int, got bool True"),
        ("seed", None, "seed: expected int, got NoneType None"),
        ("ppo", 3, "ppo: expected a mapping, got int 3"),
        (
            "ppo.schedule",
            "fixd",
            "ppo.schedule: unknown value 'fixd': did you mean 'fixed'? legal: adaptive, fixed",
        ),
        ("ppo.lrr", 3, "ppo: unknown key 'lrr': did you mean 'lr'? legal: clip, epochs, extra, lr, schedule"),
        ("sed", 3, "unknown key 'sed': did you mean 'seed'?"),
        ("ppo.lr", GONE, "ppo: key 'lr' is missing"),
        ("seed", GONE, "configuration: key 'seed' is missing"),
        ("task.limits", [1, "a"], "task.limits: expected tuple[float, ...], got tuple (1.0, 'a')"),
        ("task.limits", 2, "task.limits: expected tuple[float, ...], got int 2"),
        ("task.terms", [{"name": "gyro", "scale": 0}], "task.terms[0]: scale 0.0 is not positive"),
        (
            "task.terms",
            [{"name": "a"}, {"nam": "b"}],
            "task.terms[1]: unknown key 'nam': did you mean 'name'?",
        ),
    ],
)
def test_what_does_not_decode_is_one_line_with_the_path(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(Run, _edited(key, value))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_folder_of_ones_own_adds_choices(tree: str, tmp_path: Path) -> None:
    own = tmp_path / "my own"
    _write(own, {"task/hexapod.yaml": "name: hexapod\nlimits: [3]\nterms: []\n", "recipe/hexapod.yaml": "{}"})
    data = compose(["task=hexapod", f"config_dir={own}"], tree=tree)
    assert data["task"] == {"name": "hexapod", "limits": [3], "terms": []}
    assert sorted(groups(own, tree)["task"]) == ["go2_flat", "hexapod", "pendulum"]
    with pytest.raises(ConfigError, match="unknown task 'hexapod'"):
        compose(["task=hexapod"], tree=tree)
    _write(own, {"task/broken.yaml": "name: [1,\n", "recipe/broken.yaml": "{}"})
    with pytest.raises(ConfigError, match="broken"):
        compose(["task=broken", f"config_dir={own}"], tree=tree)


def test_a_task_without_a_recipe_says_so(tree: str, tmp_path: Path) -> None:
    _write(tmp_path / "own", {"task/hexapod.yaml": "name: hexapod\n"})
    with pytest.raises(ConfigError, match="unknown choice for recipe 'hexapod': legal: "):
        compose(["task=hexapod", f"config_dir={tmp_path / 'own'}"], tree=tree)


@dataclass(frozen=True)
class Everything:
    pair: tuple[str, float] = ("a", 0.0)
    maybe: float | None = None
    either: float | str = 0.0
    one: Term | tuple[float, ...] = ()
    table: dict[str, float] = field(default_factory=dict)
    terms: dict[str, Term] = field(default_factory=dict)
    nested: tuple[tuple[int, ...], ...] = ()
    names: list[str] = field(default_factory=list)
    where: Path = Path()
    params: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"pair": ["b", 2]}, Everything(pair=("b", 2.0))),
        ({"maybe": 1}, Everything(maybe=1.0)),
        ({"maybe": None}, Everything()),
        ({"either": 1}, Everything(either=1.0)),
        ({"either": "x"}, Everything(either="x")),
        ({"one": {"name": "t", "scale": 2}}, Everything(one=Term("t", 2.0))),
        ({"one": [1, 2]}, Everything(one=(1.0, 2.0))),
        ({"table": {"a": 1}}, Everything(table={"a": 1.0})),
        ({"terms": {"t": {"name": "t"}}}, Everything(terms={"t": Term("t")})),
        ({"nested": [[0, 1], []]}, Everything(nested=((0, 1), ()))),
        ({"names": ["a"]}, Everything(names=["a"])),
        ({"where": "a/b"}, Everything(where=Path("a/b"))),
        ({"params": {"a": [1, {"b": True}]}}, Everything(params={"a": [1, {"b": True}]})),
    ],
)
def test_every_kind_of_field(given: dict[str, Any], wanted: Everything) -> None:
    made = decode(Everything, given)
    assert made == wanted
    assert repr(made) == repr(wanted)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pair": ["b"]}, "x.pair: expected 2 values, got 1"),
        ({"maybe": "a"}, r"x.maybe: expected .*float.*None.*, got str 'a'"),
        ({"either": [1]}, r"x.either: expected .*float.*str.*, got list \[1\]"),
        ({"table": {"a": True}}, "x.table.a: expected float, got bool"),
        ({"terms": {"t": {"nam": 1}}}, "x.terms.t: unknown key 'nam'"),
        ({"nested": [[0.5]]}, r"x.nested: expected tuple\[tuple\[int"),
        ({"names": "abc"}, "x.names: expected list"),
    ],
)
def test_every_kind_of_misfit(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        decode(Everything, given, "x")


def test_words_on_top_of_a_runs_own_configuration() -> None:
    changed = overlay(COMPOSED, ["ppo.lr=0.5", "task.limits=[3]", "run=other"])
    assert changed == {
        **COMPOSED,
        "ppo": {**COMPOSED["ppo"], "lr": 0.5},
        "task": changed["task"],
        "run": "other",
    }
    assert changed["task"] == {**COMPOSED["task"], "limits": [3]}
    assert COMPOSED["ppo"]["lr"] == 1e-3


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ppo.lrr=1", "unknown key 'ppo.lrr': did you mean 'ppo.lr'?"),
        ("+new=1", "unknown key 'new': legal: "),
        ("method=other", "method=other would exchange a whole part: say task=<name> too"),
    ],
)
def test_what_does_not_overlay_is_one_line(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        overlay(COMPOSED, [word])
    assert str(caught.value).startswith(said)
