"""A short run of the fuzzer: whatever is done to a file or a spec, it is refused in one line. See benchmarks/."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from robodistill_deploy import policy_file
from robodistill_deploy.errors import SpecError
from robodistill_deploy.policy_spec import PolicySpec

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_policy_file.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_policy_file", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_altered_files_are_refused(fuzz: ModuleType, path: Path, tmp_path: Path) -> None:
    outcome = fuzz.fuzz_files(path, 400, 1, tmp_path)
    assert outcome["as it is: refused"] == 200
    # sealed anew, a mutation may hit a name or a comment that nothing depends on
    assert outcome["sealed anew: refused"] + outcome["sealed anew: accepted"] == 200
    assert outcome["sealed anew: refused"] >= 150


def test_the_control_without_the_digest_an_altered_file_gets_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = policy_file.verify(path)
    path.write_bytes(path.read_bytes().replace(b'"seed":0', b'"seed":1'))
    with pytest.raises(SpecError, match="changed or damaged"):
        policy_file.open_policy_file(path)
    monkeypatch.setattr(policy_file, "_verified", lambda data, path: digest)
    assert policy_file.open_policy_file(path).spec.provenance.seed == 1


def test_altered_specs_are_refused_or_mean_something_else(fuzz: ModuleType, spec: PolicySpec) -> None:
    outcome = fuzz.fuzz_specs(spec.to_json(), 300, 1)
    assert outcome["refused in several lines"] == 0
    assert outcome["refused"] >= 200
    assert sum(outcome.values()) == 300


def test_every_file_mutation_alters(fuzz: ModuleType) -> None:
    data = bytes(range(200))
    assert all(fuzz.mutated_bytes(data, np.random.default_rng(i)) != data for i in range(200))
