"""``robodistill doctor``: each lack is named with the command that mends it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robodistill import doctor
from robodistill.verbs.doctor import run_words
from robodistill_deploy.errors import RobodistillError

REQUIREMENTS = [
    "numpy>=1.26",
    'torch>=2.9; extra == "train"',
    'dacite<1; extra == "train"',
    'no-such-thing>=1; extra == "sb3"',
    'robodistill[train]; extra == "sb3"',
]


def test_this_machine() -> None:
    findings = {
        f.name: f for f in (doctor.python((3, 11)), doctor.torch(), doctor.physics(), doctor.runtime())
    }
    assert {f.state for f in findings.values()} == {"ok"}
    assert "threads" in findings["torch"].text
    assert "3.14.0, mjbatch 0.1.4, which agree" in findings["mujoco"].text


def test_an_old_python_is_named() -> None:
    assert doctor.python((3, 9)).state == "missing"
    assert "Python >= 3.10" in doctor.python((3, 9)).text


@pytest.mark.parametrize(("free", "state"), [(10e9, "ok"), (1e9, "note"), (1e8, "missing")])
def test_disk(monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert doctor.disk(Path()).state == state


def test_extras_are_compared_with_what_is_installed() -> None:
    base, sb3, train = doctor.extras(REQUIREMENTS)
    assert (base.name, base.state) == ("base", "ok")
    assert (train.name, train.state) == ("[train]", "missing")
    assert "dacite is 1." in train.text
    assert "not <1; pip install 'robodistill[train]'" in train.text
    assert (sb3.name, sb3.state) == ("[sb3]", "note")
    assert sb3.text == "no-such-thing is not installed; pip install 'robodistill[sb3]'"
    (sources,) = doctor.extras(None)
    assert sources.state == "note"


def test_mujoco_and_mjbatch_that_disagree() -> None:
    needs = ["numpy", "mujoco==3.14.0"]
    assert doctor.agreement("3.14.0", "0.1.4", needs).state == "ok"
    clash = doctor.agreement("4.0.0", "0.1.4", needs)
    assert clash.state == "missing"
    assert clash.text.endswith("built against ==3.14.0; pip install 'mujoco==3.14.0'")


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_import", lambda name: None)
    for finding in (doctor.torch(), doctor.physics(), doctor.runtime()):
        assert finding.state == "missing"
        assert "pip install" in finding.text


def test_backends_are_tried_one_by_one_and_may_crash() -> None:
    script = "import os; os.environ['MUJOCO_GL'] == 'b' or os.abort()"
    assert doctor.graphics(("a", "b"), script).text == "b (choose one with MUJOCO_GL=b)"
    none = doctor.graphics(("a",), script)
    assert none.state == "note"
    assert "stick figures" in none.text


def test_a_backend_that_hangs_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: Any, **kwargs: Any) -> None:
        raise subprocess.TimeoutExpired("python", kwargs["timeout"])

    monkeypatch.setattr(doctor.subprocess, "run", hang)
    assert doctor.graphics(("a",)).state == "note"


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("note", 0), ("missing", 1)])
def test_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: doctor.State, code: int
) -> None:
    findings = [
        doctor.Finding("a", "ok", "fine"),
        doctor.Finding("b", state, "text"),
        doctor.Finding("c", "ok", "x"),
    ]
    monkeypatch.setattr("robodistill.verbs.doctor.examine", lambda: iter(findings))
    assert run_words([]) == code
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["a", "b", "c"]
    with pytest.raises(RobodistillError, match="takes no words"):
        run_words(["x"])
