"""A path in a configuration becomes a class, or an error that names the nearest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from robodistill_deploy.errors import RobodistillError, SpecError
from robodistill_deploy.resolve import resolve


def test_it_finds_classes_and_functions():
    assert resolve("robodistill_deploy.errors:SpecError", RobodistillError) is SpecError
    assert resolve("robodistill_deploy.resolve:resolve") is resolve


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("robodistill_deploy.errors", "write it as 'package.module:Name'"),
        (":Name", "write it as"),
        ("robodistill_deploy.errors:", "write it as"),
        ("robodistill_deploy.errors:SpecErorr", "did you mean 'SpecError'"),
        ("robodistill_deploy.erors:SpecError", "did you mean 'errors'"),
        ("robodistill_deploy.errors.deep:SpecError", r"'deep': legal: \(none\)"),
        ("robodistil_deploy.errors:SpecError", "no package 'robodistil_deploy'"),
        (
            "robodistill_deploy.errors:unknown",
            "does not derive from robodistill_deploy.errors:RobodistillError",
        ),
        ("robodistill_deploy.spec:InterfaceSpec", "does not derive from"),
    ],
)
def test_an_error_names_what_is_wrong(path: str, message: str):
    with pytest.raises(SpecError, match=message):
        resolve(path, RobodistillError)


def test_a_missing_third_party_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "needs_much.py").write_text("import a_package_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpecError, match="needs the package 'a_package_nobody_has'"):
        resolve("needs_much:Name")
    assert "needs_much" not in sys.modules


def test_an_error_inside_the_module_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "is_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        resolve("is_broken:Name")
