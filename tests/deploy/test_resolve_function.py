"""Functions named in YAML: their parameters are checked before the first tick, not by a traceback in the middle."""

from __future__ import annotations

import pytest

from robodistill_deploy.errors import SpecError
from robodistill_deploy.resolve import resolve_function


def needs(world: object, *, limit: float, gain: float = 1.0) -> float:
    """Stand in for a reward."""
    return limit * gain


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of ``needs`` as YAML would write it."""
    monkeypatch.setattr("robodistill_deploy.resolve.needs", needs, raising=False)
    return "robodistill_deploy.resolve:needs"


def test_right_parameters_pass(path: str) -> None:
    assert resolve_function(path, {"limit": 1.0}, "reward 'x'") is needs
    assert resolve_function(path, {"limit": 1.0, "gain": 2.0}, "reward 'x'") is needs


def test_unknown_parameter_names_the_nearest(path: str) -> None:
    with pytest.raises(SpecError, match=r"reward 'x'.*'limt'.*did you mean 'limit'"):
        resolve_function(path, {"limt": 1.0}, "reward 'x'")


def test_missing_parameter_is_named(path: str) -> None:
    with pytest.raises(SpecError, match=r"reward 'x'.*needs the parameter 'limit'"):
        resolve_function(path, {"gain": 1.0}, "reward 'x'")
