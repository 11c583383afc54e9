"""Run folders: a second run never overwrites, a partial one resumes, a complete one is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robodistill.runs import RunFolder, differences, git_state, plain
from robodistill_deploy.errors import RobodistillError

IN_CLONE = (Path(__file__).parents[2] / ".git").exists()
PPO = {"lr": 1e-5, "betas": (0.9, 0.999), "schedule": None}
CONFIG = {"task": "go2_flat", "seed": 0, "ppo": PPO, "quiet": True}


def test_life_of_a_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "demo")
    assert run.status == "new"
    assert run.prepare(CONFIG) == "new"
    assert run.prepare(CONFIG) == "partial"
    run.write_summary({"verb": "train", "wall_s": 1.5}, status="partial")
    assert run.prepare(CONFIG) == "partial"
    run.write_summary({"verb": "train", "wall_s": 2.5, "return": float("nan")})
    assert run.prepare(CONFIG) == "complete"
    assert run.summary() == {"status": "complete", "verb": "train", "wall_s": 2.5, "return": None}
    assert sorted(p.name for p in run.path.iterdir()) == ["config.yaml", "summary.json"]


def test_the_configuration_is_read_back_without_the_provenance(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.prepare(CONFIG)
    assert run.config() == plain(CONFIG)
    assert yaml.safe_load(run.config_path.read_text())["provenance"]["git"] == git_state()


def test_another_configuration_is_refused_in_one_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "demo")
    run.prepare(CONFIG)
    other: dict[str, Any] = {**CONFIG, "seed": 1, "ppo": {"lr": 1e-5, "betas": (0.9, 0.99)}, "extra": 2}
    with pytest.raises(RobodistillError) as caught:
        run.prepare(other)
    text = str(caught.value)
    assert "\n" not in text
    assert "run=<name>" in text
    assert "(and 1 more)" in text
    for part in ("extra is absent there, 2 here", "ppo.betas is [0.9, 0.999] there, [0.9, 0.99] here"):
        assert part in text
    assert run.config()["seed"] == 0


def test_free_keys_may_differ_and_only_they(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.prepare(CONFIG)
    assert run.prepare({**CONFIG, "quiet": False}, free=("quiet", "ppo.lr")) == "partial"
    with pytest.raises(RobodistillError, match="seed is 0 there"):
        run.prepare({**CONFIG, "quiet": False, "seed": 1}, free=("quiet",))
    with pytest.raises(RobodistillError, match="quietly"):
        run.prepare({**CONFIG, "quietly": 1}, free=("quiet",))


def test_one_and_one_point_zero_and_true_differ() -> None:
    assert len(differences({"a": 1, "b": 1, "c": 1}, {"a": 1.0, "b": True, "c": 1})) == 2


@pytest.mark.parametrize("text", ["{broken", "- a list\n", None])
def test_a_broken_config_is_one_line(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(RobodistillError, match=r"config\.yaml"):
        RunFolder(tmp_path).config()


@pytest.mark.parametrize("text", ["{broken", "[1]"])
def test_a_broken_summary_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(RobodistillError, match="summary"):
        RunFolder(tmp_path).summary()


@pytest.mark.skipif(not IN_CLONE, reason="not a git clone")
def test_git_state_is_of_this_repository() -> None:
    state = git_state()
    assert state is not None
    assert len(state["commit"]) == 40


_VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
_CONFIGS = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.recursive(_VALUES, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v)),
    max_size=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are shared
@given(_CONFIGS)
def test_every_configuration_equals_itself_after_yaml(config: dict[str, Any]) -> None:
    text = yaml.safe_dump(plain(config), sort_keys=False)
    assert differences(yaml.safe_load(text), plain(config)) == []


@pytest.mark.parametrize(
    ("git", "told"),
    [({"commit": "abc", "changed": False}, "abc"), ({"commit": "abc", "changed": True}, "abc+"), (None, "")],
)
def test_a_run_knows_the_code_that_made_it(git: dict[str, object] | None, told: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"provenance": {"git": git}, "seed": 1}))
    assert RunFolder(tmp_path).commit() == told
    assert RunFolder(tmp_path).config() == {"seed": 1}
