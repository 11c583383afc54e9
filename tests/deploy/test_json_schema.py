"""The published schema is that of the code, and refuses what the code refuses for its shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from robodistill_deploy.errors import SpecError
from robodistill_deploy.json_schema import FILE, policy_schema, to_text
from robodistill_deploy.policy_spec import PolicySpec


def test_the_published_file_is_up_to_date() -> None:
    assert FILE.read_text() == to_text(), "run: python -m robodistill_deploy.json_schema"


def test_it_is_a_schema_and_accepts_a_spec(spec: PolicySpec) -> None:
    schema = json.loads(FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(spec.to_json()))


SPOILED: list[tuple[tuple[str | int, ...], Any]] = [
    (("schema",), "robodistill.policy/1"),
    (("surplus",), 1),
    (("interface", "signals", 0, "unit"), 3),
    (("interface", "actions", 0, "kind"), "joint_torque"),
    (("interface", "actions", 0, "kp"), [20.0, "21", 22.0]),
    (("envelope", "signal_delay"), [0.0]),
    (("envelope", "signal_delay"), [0.0, 0.1, 0.2]),
    (("commands", "command", "rate_limit"), 3.0),
    (("states", 0, "shape"), [1.5]),
    (("self_test", "ticks", 0, "reset"), 1),
    (("robot", "stand_up"), [{"seconds": 1.0}]),
]


@pytest.mark.parametrize(("path", "value"), SPOILED)
def test_it_refuses_what_the_code_refuses(spec: PolicySpec, path: tuple[str | int, ...], value: Any) -> None:
    plain = json.loads(spec.to_json())
    place: Any = plain
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not jsonschema.Draft202012Validator(policy_schema()).is_valid(plain)
    with pytest.raises(SpecError, match=r"PolicySpec|policy schema"):
        PolicySpec.from_json(json.dumps(plain))


def test_every_field_is_required(spec: PolicySpec) -> None:
    validator = jsonschema.Draft202012Validator(policy_schema())
    for name in json.loads(spec.to_json()):
        plain = json.loads(spec.to_json())
        del plain[name]
        assert not validator.is_valid(plain), name


def test_it_travels_with_the_package() -> None:
    assert FILE.parent == Path(__import__("robodistill_deploy").__file__).parent
