"""The spec survives JSON exactly, and contradictions are refused by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robodistill_deploy.errors import SpecError
from robodistill_deploy.policy_spec import (
    CommandRule,
    Envelope,
    PolicySpec,
    Provenance,
    Range,
    SelfTest,
    StateSpec,
    Statistics,
    restrict,
)
from robodistill_deploy.spec import TermSpec

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(0.0, 1e300)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


def tuples(strategy: st.SearchStrategy[float], size: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[strategy] * size)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    ends = draw(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=3))
    return Range(tuple(map(min, ends)), tuple(map(max, ends)), draw(NAMES))


@st.composite
def changes(draw: st.DrawFn, spec: PolicySpec) -> PolicySpec:
    """``spec`` with every number, name and mapping that may vary drawn anew."""
    terms = spec.interface.terms(spec.group)
    shape = (1, *draw(st.lists(st.integers(0, 3), max_size=2)))
    size = 1
    for n in shape:
        size *= n
    low, high = sorted(draw(st.tuples(POSITIVE, POSITIVE)))
    envelope = Envelope(
        signal_noise=draw(
            st.dictionaries(st.sampled_from([s.name for s in spec.interface.signals]), POSITIVE)
        ),
        signal_quantum=draw(st.dictionaries(st.just("joint_pos"), POSITIVE)),
        signal_delay=(low, high),
        action_delay=(low, high),
        randomization=draw(st.dictionaries(NAMES, ranges(), max_size=3)),
        observations={
            t.name: Statistics(draw(tuples(FLOATS, t.dim)), draw(tuples(POSITIVE, t.dim))) for t in terms
        },
    )
    texts = {f.name: draw(NAMES) for f in dataclasses.fields(Provenance) if f.type == "str"}
    provenance = Provenance(
        checkpoints=draw(st.dictionaries(NAMES, NAMES, max_size=2)),
        seed=draw(st.integers(-(2**63), 2**63)),
        **texts,
    )
    first = spec.self_test.ticks[0]
    tick = dataclasses.replace(
        first, signals={name: draw(tuples(FLOATS, len(values))) for name, values in first.signals.items()}
    )
    test = dataclasses.replace(spec.self_test, atol=draw(st.floats(1e-12, 1e-3)), ticks=(tick, first))
    action = spec.interface.actions[0]
    mirror = draw(st.none() | st.just(((1, 0, 2), (1.0, -1.0, 1.0))))
    params = {"value": draw(st.recursive(st.none() | st.booleans() | FLOATS | NAMES, st.lists, max_leaves=4))}
    face = dataclasses.replace(
        spec.interface,
        actions=(
            dataclasses.replace(action, scale=draw(tuples(FLOATS, action.dim)), mirror=mirror),
            *spec.interface.actions[1:],
        ),
        groups={spec.group: (dataclasses.replace(terms[0], params=params), *terms[1:])},
    )
    return dataclasses.replace(
        spec,
        interface=face,
        robot=dataclasses.replace(
            spec.robot, armature=draw(tuples(POSITIVE, 4)), motor_order=tuple(draw(st.permutations(spec.robot.joints)))
        ),
        states=(spec.states[0], StateSpec(draw(NAMES) + "?", "hidden", shape, draw(tuples(FLOATS, size)))),
        commands={"command": CommandRule((draw(st.floats(-1.0, 1.5)), 0.0), draw(st.none() | st.just((1.0, 2.5))))},
        envelope=envelope,
        provenance=provenance,
        self_test=test,
        digest=draw(st.text("0123456789abcdef", min_size=64, max_size=64)),
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_json_round_trip_is_exact(spec: PolicySpec, data: st.DataObject) -> None:
    changed = data.draw(changes(spec))
    text = changed.to_json()
    assert text.isascii()
    assert "\n" not in text
    again = PolicySpec.from_json(text)
    assert again == changed
    assert again.to_json() == text  # equality takes -0.0 for 0.0, the digits do not


def dictionaries(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every mapping that is a dataclass (not a free mapping) below ``value``."""
    found = []
    if isinstance(value, dict):
        found.append(path)
        for key, item in value.items():
            found += dictionaries(item, (*path, key))
    elif isinstance(value, list) and value:
        found += dictionaries(value[0], (*path, 0))
    return found


FREE = {
    "params",
    "groups",
    "signal_noise",
    "signal_quantum",
    "randomization",
    "observations",
    "checkpoints",
    "signals",
    "actions",
    "commands",
    "max_target_rate",
    "damping_kd",
}


def test_every_missing_or_unknown_field_is_refused_by_name(spec: PolicySpec) -> None:
    plain = json.loads(spec.to_json())
    paths = [p for p in dictionaries(plain) if not (p and p[-1] in FREE)]
    assert len(paths) > 12
    for path in paths:
        for field in [*at(plain, path)]:
            short = json.loads(spec.to_json())
            del at(short, path)[field]
            with pytest.raises(SpecError, match=f"missing field '{field}'"):
                PolicySpec.from_json(json.dumps(short))
        long = json.loads(spec.to_json())
        at(long, path)["surplus"] = 1
        with pytest.raises(SpecError, match="unknown field 'surplus'"):
            PolicySpec.from_json(json.dumps(long))


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_unknown_field_is_told_the_nearest(spec: PolicySpec) -> None:
    text = spec.to_json().replace('"self_test":', '"self_tests":')
    with pytest.raises(SpecError, match="did you mean 'self_test'"):
        PolicySpec.from_json(text)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"atol":1e-05', '"atol":NaN', "self_test.atol: nan is not a finite number"),
        ('"atol":1e-05', '"atol":1e999', "inf is not a finite number"),
        ('"seed":0', '"seed":0.5', "expected int, got float"),
        ('"seed":0', '"seed":true', "expected int, got bool"),
        ('"seed":0', f'"seed":{10**400}', "more than 64 bits"),
        ('"group":"sensors"', '"group":"sensors","group":"sensors"', "'group' is written twice"),
        ('{"schema":', '["schema":', "is not JSON"),
        ("robodistill.policy/2", "robodistill.policy/1", "this version reads"),
        ('"unit":"kg"', '"unit":"\\ud800"', "half a character"),
        ('"kind":"joint_position"', '"kind":"joint_positon"', "did you mean 'joint_position'"),
    ],
)
def test_ill_formed_json_is_refused(spec: PolicySpec, old: str, new: str, says: str) -> None:
    text = spec.to_json()
    assert old in text
    with pytest.raises(SpecError, match=says):
        PolicySpec.from_json(text.replace(old, new, 1))


def first_term(spec: PolicySpec, **values: Any) -> tuple[TermSpec, ...]:
    terms = spec.interface.terms(spec.group)
    return (dataclasses.replace(terms[0], **values), *terms[1:])


def with_test(spec: PolicySpec, **values: Any) -> SelfTest:
    return dataclasses.replace(spec.self_test, **values)


Change = Callable[[PolicySpec], dict[str, Any]]
CONTRADICTIONS: list[tuple[str, Change]] = [
    ("missing group|unknown group", lambda s: {"group": "privileged"}),
    (
        "'imu_gyro': privileged",
        lambda s: {
            "interface": dataclasses.replace(
                s.interface, groups={"sensors": first_term(s, source="privileged")}
            )
        },
    ),
    (
        "restrict",
        lambda s: {"interface": dataclasses.replace(s.interface, groups={**s.interface.groups, "more": ()})},
    ),
    ("declared twice", lambda s: {"states": (s.states[0], s.states[0])}),
    ("64 hexadecimal", lambda s: {"digest": "0" * 63}),
    ("control_dt", lambda s: {"interface": dataclasses.replace(s.interface, control_dt=0.0)}),
    (
        "unknown signal 'imu_gyros': did you mean 'imu_gyro'",
        lambda s: {"envelope": dataclasses.replace(s.envelope, signal_noise={"imu_gyros": 1.0})},
    ),
    ("no observation statistics", lambda s: {"envelope": dataclasses.replace(s.envelope, observations={})}),
    (
        r"sequence\[3\]: signal 'imu_gyro' has 2 values, expected 3",
        lambda s: {"self_test": with_test(s, sequence=shortened(s))},
    ),
    (
        r"ticks\[0\]: no action 'wheel'",
        lambda s: {
            "self_test": with_test(
                s,
                ticks=(
                    dataclasses.replace(s.self_test.ticks[0], actions={"legs": (0.0,) * 3}),
                    s.self_test.ticks[1],
                ),
            )
        },
    ),
]


def shortened(spec: PolicySpec) -> tuple[Any, ...]:
    ticks = list(spec.self_test.sequence)
    ticks[3] = dataclasses.replace(ticks[3], signals={**ticks[3].signals, "imu_gyro": (0.0, 0.0)})
    return tuple(ticks)


@pytest.mark.parametrize(("says", "change"), CONTRADICTIONS)
def test_contradictions_are_refused(spec: PolicySpec, says: str, change: Change) -> None:
    with pytest.raises(SpecError, match=says):
        dataclasses.replace(spec, **change(spec))


def test_a_self_test_that_could_not_fail_is_refused(spec: PolicySpec) -> None:
    sequence = spec.self_test.sequence
    never_reset = tuple(dataclasses.replace(tick, reset=i == 0) for i, tick in enumerate(sequence))
    for values, says in [
        ({"atol": 0.0}, "atol"),
        ({"atol": 1.0}, "atol"),
        ({"ticks": ()}, "at least 2"),
        ({"sequence": sequence[:19]}, "at least 20"),
        ({"sequence": sequence[1:]}, "begin with a reset"),
        ({"sequence": never_reset}, "reset after its first"),
    ]:
        with pytest.raises(SpecError, match=says):
            with_test(spec, **values)


def test_states_and_ranges_are_checked() -> None:
    with pytest.raises(SpecError, match="begin with 1"):
        StateSpec("h", "hidden", (2, 3), (0.0,) * 6)
    with pytest.raises(SpecError, match="5 initial values"):
        StateSpec("h", "hidden", (1, 6), (0.0,) * 5)
    with pytest.raises(SpecError, match="above its upper"):
        Range((1.0,), (0.0,), "kg")
    with pytest.raises(SpecError, match="lower ends"):
        Range((1.0,), (), "kg")


def test_restrict_keeps_what_the_group_reads(spec: PolicySpec) -> None:
    face = spec.interface
    gyro = [t for t in face.groups["sensors"] if t.name == "imu_gyro"]
    wide = dataclasses.replace(face, groups={**face.groups, "gyro_only": tuple(gyro)})
    narrow = restrict(wide, "gyro_only")
    assert [s.name for s in narrow.signals] == ["imu_gyro"]
    assert narrow.internals == ()
    assert narrow.commands == ()
    assert list(narrow.groups) == ["gyro_only"]
    assert restrict(wide, "sensors") == face
    with pytest.raises(SpecError, match="did you mean 'sensors'"):
        restrict(wide, "sensor")
