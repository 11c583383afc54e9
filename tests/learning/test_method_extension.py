"""A method of one's own: one module and one YAML in a folder anywhere, as the documentation shows, nothing edited."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from robodistill.config import compose, groups
from robodistill.decode import decode
from robodistill.settings import RunConfig
from robodistill_deploy.errors import RobodistillError

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"
FILE = re.compile(r"^cat > (\S+) <<'EOF'\n(.*?)^EOF$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the two files that the page writes."""
    files = FILE.findall(PAGE.read_text())
    assert [name for name, _ in files] == ["guess.py", "mine/method/dagger_guess.yaml"]
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "guess", raising=False)
    return tmp_path


def test_one_module_and_one_yaml_are_a_method(small: ModuleType, teacher: Path, folder: Path) -> None:
    assert "dagger_guess" in groups(folder / "mine")["method"]
    assert "dagger_guess" not in groups()["method"]
    words = [*small.SETTINGS, f"config_dir={folder / 'mine'}", "method@student.method=dagger_guess"]
    run = decode(RunConfig, compose(words, RunConfig))
    trainer = small.dagger(teacher, run.student)
    before = {k: v.clone() for k, v in trainer.networks.state_dict().items()}
    figures = small.iterate(trainer, 6)
    after = trainer.networks.state_dict()
    moved = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    assert moved == {"student", "head"}
    assert min(f["loss/guessed"] for f in figures[3:]) < figures[0]["loss/guessed"]
    assert all(0.0 <= f["shape/teacher_drove"] <= 1.0 for f in figures)
    other = small.dagger(teacher, run.student, seed=7)
    other.load_state_dict(trainer.state_dict())
    assert torch.equal(other.networks["head"].head.weight, trainer.networks["head"].head.weight)


def test_what_is_misspelt_in_it_is_named(small: ModuleType, teacher: Path, folder: Path) -> None:
    path = folder / "mine" / "method" / "dagger_guess.yaml"
    text = path.read_text()
    words = [*small.SETTINGS, f"config_dir={folder / 'mine'}", "method@student.method=dagger_guess"]
    for old, new, message in (
        ("params: {of: student}", "params: {of: studnet}", "did you mean 'student'"),
        ("guess:guessed", "guess:guesed", "did you mean 'guessed'"),
        ("[student, head]", "[student, hed]", "did you mean 'head'"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        run = decode(RunConfig, compose(words, RunConfig))
        with pytest.raises(RobodistillError, match=message):
            small.dagger(teacher, run.student)
