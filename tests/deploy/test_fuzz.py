"""A short run of the fuzzer: whatever is done to a file or a spec, it is refused in one line. See benchmarks/."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from robodistill_deploy import policy_file, zoo
from robodistill_deploy.drivers.base import Command
from robodistill_deploy.errors import SpecError
from robodistill_deploy.policy_file import open_policy_file
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.safety import SafetyFilter

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    return _script("fuzz_policy_file")


def test_altered_files_are_refused(fuzz: ModuleType, path: Path, tmp_path: Path) -> None:
    outcome = fuzz.fuzz_files(path, 400, 1, tmp_path)
    assert outcome["as it is: refused"] == 200
    # sealed anew, a mutation may hit a name or a comment that nothing depends on
    assert outcome["sealed anew: refused"] + outcome["sealed anew: accepted"] == 200
    assert outcome["sealed anew: refused"] >= 150


def test_the_control_without_the_digest_an_altered_file_gets_in(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.fixture(scope="module")
def messages(fuzz: ModuleType) -> ModuleType:  # its mutations are imported from there
    assert fuzz.__name__ in sys.modules
    pytest.importorskip("cyclonedds")
    return _script("fuzz_messages")


@pytest.mark.parametrize("end", ["unitree driver", "udp driver", "unitree robot", "udp robot"])
def test_damaged_messages_move_no_robot_wrongly(messages: ModuleType, end: str) -> None:
    spec = open_policy_file(zoo.locate("zoo:unitree_go2_flat")).spec
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = messages.ends(spec)[end](messages.rounds(2, 600))
    refused = sum(count for what, count in outcome.items() if what.startswith("refused: "))
    assert refused + outcome["taken"] == 600
    assert refused >= 200
    if end.endswith("driver"):
        assert outcome["followed"] >= 50
        assert outcome["trip: finite"] >= 5


def test_the_control_a_filter_that_lets_all_pass_is_found_out(
    messages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = open_policy_file(zoo.locate("zoo:unitree_go2_flat")).spec
    far = np.full(12, 9.0)
    monkeypatch.setattr(
        SafetyFilter, "_command", lambda self, done: Command(far, 0 * far, far, far, 0 * far, far[:0])
    )
    with pytest.raises(AssertionError, match="outside the limits"):
        messages.ends(spec)["udp driver"](messages.rounds(2, 100))
