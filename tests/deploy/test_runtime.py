"""Ticking: what goes in and out, by name, and what is refused before it reaches a motor."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from robodistill_deploy import binding
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runtime import Policy, SignalError, load_policy
from robodistill_deploy.spec import SCHEMA, ActionPart, InterfaceSpec, SignalSpec

Values = dict[str, npt.NDArray[np.float64]]
Reference = Callable[[list[Values], set[int]], list[Values]]

JOINTS = ("hip", "thigh", "calf", "wheel")


def drive(policy: Policy, ticks: list[Values], resets: set[int]) -> list[dict[str, Any]]:
    targets = []
    for i, signals in enumerate(ticks):
        if i in resets:
            policy.reset()
        targets.append(policy.tick(signals))
    return targets


def same(got: list[dict[str, Any]], wanted: list[Values], atol: float = 1e-6) -> None:
    assert len(got) == len(wanted)
    for mine, right in zip(got, wanted, strict=True):
        assert list(mine) == list(right)
        for name, values in right.items():
            np.testing.assert_allclose(mine[name], values, rtol=0.0, atol=atol)


def test_follows_the_float64_reference_through_resets(
    path: Path, ticks: list[Values], run_reference: Reference
) -> None:
    policy = load_policy(path)
    targets = drive(policy, ticks, {13, 14})
    same(targets, run_reference(ticks, {13, 14}))
    assert targets[0]["legs"].dtype == np.float32
    assert targets[0]["legs"].shape == (3,)
    assert 0.0 <= policy.self_test_error <= 1e-6


def test_a_forgotten_reset_shows(path: Path, ticks: list[Values], run_reference: Reference) -> None:
    """The negative control of the test above: without the reset the run is another one."""
    with pytest.raises(AssertionError):
        same(drive(load_policy(path), ticks, set()), run_reference(ticks, {13}))


def test_reset_restores_the_initial_state(path: Path, ticks: list[Values]) -> None:
    policy = load_policy(path)
    fresh = drive(policy, ticks[:5], set())
    policy.reset()
    again = drive(policy, ticks[:5], set())
    for a, b in zip(fresh, again, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_clones_are_independent(path: Path, ticks: list[Values], run_reference: Reference) -> None:
    policy = load_policy(path)
    drive(policy, ticks[:3], set())
    first, second = policy.clone(), policy.clone()  # begin in the initial state, whatever policy has seen
    a, b, c = [], [], []
    for mine, other in zip(ticks[:20], ticks[20:], strict=True):
        a.append(first.tick(mine))
        b.append(second.tick(other))
        c.append(policy.tick(other))
    same(a, run_reference(ticks[:20], set()))
    same(b, run_reference(ticks[20:], set()))
    same(c, run_reference(ticks[:3] + ticks[20:], set())[3:])


def test_binding_a_clone_leaves_the_original(path: Path, ticks: list[Values]) -> None:
    policy = load_policy(path)
    policy.clone().bind_joints(JOINTS[::-1])
    assert policy.signals == policy.spec.interface.signals
    assert policy.tick(ticks[0])["legs"].shape == (3,)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_permuted_joints_give_permuted_targets(
    path: Path, ticks: list[Values], run_reference: Reference, order: tuple[int, ...]
) -> None:
    names = tuple(JOINTS[i] for i in order)
    legs = [name for name in names if name != "wheel"]
    policy = load_policy(path)
    policy.bind_joints(names)
    assert policy.actions[0].names == tuple(legs)
    robot = [{**t, "joint_pos": t["joint_pos"][list(order)]} for t in ticks[:8]]
    wanted = run_reference(ticks[:8], set())
    place = [JOINTS.index(name) for name in legs]
    same(drive(policy, robot, set()), [{**w, "legs": w["legs"][place]} for w in wanted])


def test_gains_limits_and_names_follow_the_robots_order(path: Path) -> None:
    policy = load_policy(path)
    policy.bind_joints(("wheel", "calf", "hip", "thigh"))
    legs, wheel = policy.actions
    assert legs.names == ("calf", "hip", "thigh")
    assert legs.kp == (22.0, 20.0, 21.0)
    assert legs.default == (-1.5, 0.1, 0.8)
    assert legs.upper == (-0.8, 1.0, 1.1)
    assert wheel.names == ("wheel",)
    assert [s.elements for s in policy.signals] == [
        ("x", "y", "z"),
        ("wheel", "calf", "hip", "thigh"),
        ("vx", "yaw_rate"),
    ]
    assert policy.spec.interface.actions[0].names == ("hip", "thigh", "calf")  # the file's own order stays


def test_mirror_follows_the_robots_order(spec: PolicySpec) -> None:
    """Reflecting in the robot's order is reflecting in the policy's order and then reordering."""
    legs = dataclasses.replace(spec.interface.actions[0], mirror=((1, 0, 2), (1.0, 1.0, -1.0)))
    face = dataclasses.replace(spec.interface, actions=(legs, *spec.interface.actions[1:]))
    value = np.array([10.0, 20.0, 30.0])

    def mirrored(mirror: Any, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.array(mirror[1]) * x[list(mirror[0])]

    for names in itertools.permutations(JOINTS):
        bound = binding.bind(face, names)
        order = bound.outbound["legs"]
        take = slice(None) if order is None else order
        np.testing.assert_array_equal(
            mirrored(bound.actions[0].mirror, value[take]), mirrored(legs.mirror, value)[take]
        )


def test_binding_again_starts_from_the_files_order(path: Path, ticks: list[Values]) -> None:
    policy = load_policy(path)
    policy.bind_joints(JOINTS[::-1])
    policy.bind_joints(JOINTS)
    wanted = load_policy(path).tick(ticks[0])
    np.testing.assert_array_equal(policy.tick(ticks[0])["legs"], wanted["legs"])


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("hip", "thigh", "calff", "wheel"), "unknown joint 'calff': did you mean 'calf'"),
        (("hip", "thigh", "calf"), "does not list the policy's joint 'wheel'"),
        (("hip", "thigh", "calf", "wheel", "hip"), "'hip' twice"),
        (("hip", "thigh", "calf", "wheel", "arm"), "unknown joint 'arm'"),
        ((), "does not list the policy's joint 'hip'"),
    ],
)
def test_joints_that_do_not_fit_are_refused(path: Path, names: tuple[str, ...], says: str) -> None:
    policy = load_policy(path)
    with pytest.raises(RobodistillError, match=says):
        policy.bind_joints(names)
    assert policy.signals == policy.spec.interface.signals


def test_signals_by_element_name(path: Path, ticks: list[Values]) -> None:
    policy, other = load_policy(path), load_policy(path)
    policy.bind_joints(JOINTS[::-1])
    named = {
        signal.name: dict(zip(reversed(signal.elements), reversed(ticks[0][signal.name]), strict=True))
        for signal in other.signals
    }
    got, wanted = policy.tick(named), other.tick(ticks[0])
    np.testing.assert_array_equal(got["legs"], wanted["legs"][::-1])


def test_lists_integers_and_strangers_are_taken(path: Path) -> None:
    policy = load_policy(path)
    a = policy.tick(
        {"imu_gyro": [1, 0, 2], "joint_pos": np.zeros(4, int), "command": (0, 1), "foot_force": "?"}
    )
    b = policy.clone().tick(
        {"imu_gyro": np.array([1.0, 0.0, 2.0]), "joint_pos": [0.0] * 4, "command": [0.0, 1.0]}
    )
    np.testing.assert_array_equal(a["legs"], b["legs"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"joint_pos": None}, r"'joint_pos' has shape \(\)"),
        ({"joint_pos": np.zeros(3)}, r"has shape \(3,\), expected \(4,\): hip, thigh, calf, wheel"),
        ({"joint_pos": np.zeros((1, 4))}, r"has shape \(1, 4\)"),
        ({"joint_pos": [0.0, [1.0], 0.0, 0.0]}, "not a list of numbers"),
        ({"joint_pos": np.array(["0", "1", "2", "3"])}, "expected real numbers"),
        ({"joint_pos": np.zeros(4, complex)}, "expected real numbers"),
        ({"joint_pos": np.array([0.0, np.nan, 0.0, 0.0])}, "'joint_pos', element 'thigh' is nan"),
        ({"joint_pos": np.array([0.0, 0.0, 0.0, -np.inf])}, "'joint_pos', element 'wheel' is -inf"),
        ({"command": np.array([0.0, 1e39])}, "'command', element 'yaw_rate' is inf"),
        ({"command": {"vx": 0.0}}, "element 'yaw_rate' is missing"),
        ({"command": {"vx": 0.0, "yaw": 0.0}}, "unknown element 'yaw': did you mean 'yaw_rate'"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_signals_are_refused_and_leave_the_state(
    path: Path, ticks: list[Values], change: dict[str, Any], says: str
) -> None:
    policy, clean = load_policy(path), load_policy(path)
    policy.tick(ticks[0])
    clean.tick(ticks[0])
    with pytest.raises(SignalError, match=says):
        policy.tick({**ticks[1], **change})
    got, wanted = policy.tick(ticks[1]), clean.tick(ticks[1])
    for name in wanted:
        np.testing.assert_array_equal(got[name], wanted[name])


def test_a_non_finite_element_is_named_in_the_robots_order(path: Path, ticks: list[Values]) -> None:
    policy = load_policy(path)
    policy.bind_joints(("calf", "wheel", "hip", "thigh"))
    with pytest.raises(SignalError, match="element 'calf' is nan"):
        policy.tick({**ticks[0], "joint_pos": [np.nan, 0.0, 0.0, 0.0]})


def test_a_missing_signal_is_named(path: Path, ticks: list[Values]) -> None:
    policy = load_policy(path)
    signals: dict[str, Any] = dict(ticks[0])
    signals["imu_gyr0"] = signals.pop("imu_gyro")
    with pytest.raises(SignalError, match=r"'imu_gyro' \(x, y, z\) is missing, 'imu_gyr0' was delivered"):
        policy.tick(signals)
    with pytest.raises(SignalError, match="is missing"):
        policy.tick({})


def test_targets_are_the_callers_to_keep(path: Path, ticks: list[Values]) -> None:
    policy, other = load_policy(path), load_policy(path)
    kept = policy.tick(ticks[0])
    before = kept["legs"].copy()
    kept["wheel"][:] = 99.0
    policy.tick(ticks[1])
    np.testing.assert_array_equal(kept["legs"], before)
    other.tick(ticks[0])
    other.tick(ticks[1])
    np.testing.assert_array_equal(policy.tick(ticks[2])["wheel"], other.tick(ticks[2])["wheel"])


def test_a_policy_without_state_or_joints(stateless: Path) -> None:
    policy = load_policy(stateless)
    policy.reset()
    policy.bind_joints(())
    target = policy.tick({"imu_gyro": [1.0, 2.0, 4.0]})["base"]
    np.testing.assert_array_equal(target, [0.5, 0.5, -0.5])
    with pytest.raises(RobodistillError, match="unknown joint 'hip'"):
        policy.bind_joints(("hip",))


PASSIVE = ("slider", "hinge")


def cart(elements: tuple[str, ...] = PASSIVE, driven: tuple[str, ...] = ("slider",)) -> InterfaceSpec:
    """Return a cart's interface: ``driven`` joints have motors, all ``elements`` are measured."""
    n = len(driven)
    part = ActionPart(
        "push", "joint_effort", driven, default=(0.0,) * n, scale=(1.0,) * n, lower=(-1.0,) * n, upper=(1.0,) * n,
        kp=(0.0,) * n, kd=(0.0,) * n, effort_limit=(1.0,) * n, velocity_limit=(1.0,) * n, unit="N", mirror=None,
    )  # fmt: skip
    signal = SignalSpec("joint_pos", elements, "m and rad", "joint", "sensor")
    return InterfaceSpec(SCHEMA, "cart", "balance", 0.02, 0.005, (signal,), (), {}, (part,), ())


def test_a_joint_that_nothing_drives_need_not_be_listed() -> None:
    bound = binding.bind(cart(), ("slider",))
    assert bound.signals[0].elements == PASSIVE
    assert bound.inbound["joint_pos"] is None
    turned = binding.bind(cart(), ("hinge", "slider"))
    assert turned.signals[0].elements == ("hinge", "slider")
    with pytest.raises(RobodistillError, match="does not list the policy's joint 'slider'"):
        binding.bind(cart(), ("hinge",))


def test_an_order_that_nobody_can_know_is_refused() -> None:
    face = cart(("a", "b", "free"), ("a", "b"))
    assert binding.bind(face, ("a", "b")).inbound["joint_pos"] is None
    with pytest.raises(RobodistillError, match="does not list 'free', so the signal's order is unknown"):
        binding.bind(face, ("b", "a"))
    binding.check_joints(face, ("b", "a"))  # a driver that names its elements leaves nothing open
    assert binding.bind(face, ("b", "free", "a")).signals[0].elements == ("b", "free", "a")
