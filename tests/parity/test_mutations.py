"""What must not go unnoticed: each mutation of a policy or its file fails, by the name of what is wrong."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from robodistill.builders import student_networks
from robodistill.check import PlainRobot, check_policy
from robodistill.export import Origin, export_policy
from robodistill.networks import check_same_interface, group_dims
from robodistill_deploy import runtime
from robodistill_deploy.errors import RobodistillError, SpecError
from robodistill_deploy.policy_file import METADATA_KEY, stamp
from robodistill_deploy.policy_spec import PLACEHOLDER
from robodistill_deploy.spec import InterfaceSpec
from robodistill_envs import rotations
from robodistill_envs.config import TermConfig
from robodistill_envs.interface import interface_of
from robodistill_envs.vector import VecEnv
from robodistill_policies.encoders.window import WindowEncoder
from robodistill_policies.normalizer import Normalizer
from robodistill_policies.policy import Policy

Export = Callable[[str, str], Any]
ORIGIN = Origin("dagger", 0, {})


def rewritten(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A sealed copy of a policy file whose interface was changed, but not its graph."""
    model = onnx.load_model(str(source))
    (entry,) = [p for p in model.metadata_props if p.key == METADATA_KEY]
    spec = json.loads(entry.value)
    change(spec["interface"])
    spec["digest"] = PLACEHOLDER
    entry.value = json.dumps(spec, separators=(",", ":"))
    onnx.save_model(model, str(target))
    stamp(target)
    return target


def failure(path: Path, made: Any, ticks: int = 40) -> str:
    """What ``check`` says about the file in ``path``; empty if it passes."""
    result = check_policy(path, made.policy, made.task, seed=4, ticks=ticks)
    assert result.to_dict()["passed"] == (not result.first)
    return result.first


def swap(names: list[str], a: str, b: str) -> None:
    i, j = names.index(a), names.index(b)
    names[i], names[j] = names[j], names[i]


def swap_in_actions(interface: dict[str, Any]) -> None:
    for part in interface["actions"]:
        swap(part["names"], "FL_thigh_joint", "FL_calf_joint")


def swap_in_signals(interface: dict[str, Any]) -> None:
    for signal in interface["signals"]:
        if "FL_thigh_joint" in signal["elements"]:
            swap(signal["elements"], "FL_thigh_joint", "FL_calf_joint")


def swap_everywhere(interface: dict[str, Any]) -> None:
    swap_in_actions(interface)
    swap_in_signals(interface)


def scalar_last(interface: dict[str, Any]) -> None:
    (quaternion,) = [s for s in interface["signals"] if s["name"] == "imu_quat_wxyz"]
    quaternion["elements"] = ["x", "y", "z", "w"]


def test_the_control_an_unchanged_interface_passes(exported: Export, tmp_path: Path) -> None:
    made = exported("go2_flat", "gru")
    assert failure(rewritten(made.path, tmp_path / "same.onnx", lambda interface: None), made) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (swap_everywhere, "term 'joint_pos' differs by"),
        (swap_in_signals, "term 'joint_pos' differs by"),
        (swap_in_actions, "action 'joint_position' differs by"),
        (scalar_last, "term 'projected_gravity' differs by"),
    ],
)
def test_another_order_in_the_interface_is_named(
    exported: Export, tmp_path: Path, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    made = exported("go2_flat", "gru")
    path = rewritten(made.path, tmp_path / "mutated.onnx", change)
    runtime.load_policy(path)  # sealed, and its self-test knows no names: only the check can tell
    assert failure(path, made).startswith(expected)
    assert failure(path, made).endswith("at tick 0")


@pytest.mark.parametrize(
    ("signal", "change", "expected"),
    [
        ("imu_quat_wxyz", lambda value: np.roll(value, -1), "term 'projected_gravity' differs by"),
        ("joint_vel", lambda value: value * np.float32(1.001), "term 'joint_vel' differs by"),
        ("joint_pos", lambda value: value + np.float32(2e-5), "term 'joint_pos' differs by"),
        ("imu_gyro", lambda value: value[[1, 0, 2]], "term 'imu_gyro' differs by"),
    ],
    ids=["scalar last", "0.1 % fast", "20 urad off", "x and y swapped"],
)
def test_a_driver_that_delivers_something_else_is_named(
    exported: Export, monkeypatch: pytest.MonkeyPatch, signal: str, change: Callable[[Any], Any], expected: str
) -> None:
    made, read = exported("go2_flat", "gru"), PlainRobot.read

    def other_driver(robot: PlainRobot, command: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        signals = read(robot, command)
        return {**signals, signal: change(signals[signal])}

    monkeypatch.setattr(PlainRobot, "read", other_driver)
    assert failure(made.path, made).startswith(expected)


@pytest.mark.slow
def test_a_graph_that_takes_the_quaternion_scalar_last_is_named(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, right = exported("go2_flat", "gru"), rotations.projected_gravity
    with monkeypatch.context() as patch:
        patch.setattr(rotations, "projected_gravity", lambda q: right(torch.roll(q, 1, -1)))
        export_policy(made.policy, made.task, made.spec, ORIGIN, tmp_path / "policy.onnx")
    assert failure(tmp_path / "policy.onnx", made).startswith("action 'joint_position' differs by")


def without_normaliser(policy: Policy) -> None:
    for normalizer in policy.normalizers.values():
        assert isinstance(normalizer, Normalizer)
        normalizer.mean.zero_()
        normalizer.var.fill_(1.0)


def newest_first(policy: Policy) -> None:
    encoder = policy.encoder
    assert isinstance(encoder, WindowEncoder)
    right = encoder.encode_window

    def reversed_window(window: Tensor) -> Tensor:
        return right(window.flip(1))

    encoder.encode_window = reversed_window


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mutate", "tick"),
    [("gru", without_normaliser, 0), ("stack", newest_first, 1), ("tcn", newest_first, 1)],
)
def test_a_graph_that_computes_something_else_is_named(
    exported: Export, tmp_path: Path, kind: str, mutate: Callable[[Policy], None], tick: int
) -> None:
    made = exported("cartpole_balance", kind)
    assert failure(made.path, made) == ""  # the control
    other = copy.deepcopy(made.policy)
    mutate(other)
    export_policy(other, made.task, made.spec, ORIGIN, tmp_path / "policy.onnx")
    said = failure(tmp_path / "policy.onnx", made)
    assert said.startswith("action 'joint_effort' differs by")
    # a window holds one observation alone in the first tick: in whatever order, it is the same
    assert said.endswith(f"at tick {tick}")


def test_base_velocity_among_the_sensors_is_refused_by_name(student: Callable[[str, str], Any]) -> None:
    made = student("go2_flat", "gru")
    velocity = next(t for t in made.task.groups["privileged"] if t.name == "base_velocity")
    assert isinstance(velocity, TermConfig)
    groups = {**made.task.groups, "sensors": (*made.task.groups["sensors"], velocity)}
    spec: InterfaceSpec = interface_of(dataclasses.replace(made.task, groups=groups))
    with pytest.raises(SpecError, match=r"'sensors'.*'base_velocity' is privileged"):
        Policy(made.policy.config, group_dims(spec), spec.action_dim, deploy_terms=spec.groups)
    Policy(made.policy.config, group_dims(made.spec), made.spec.action_dim, deploy_terms=made.spec.groups)


def test_a_student_that_reads_the_privileged_group_is_refused(student: Callable[[str, str], Any]) -> None:
    made = student("go2_flat", "gru")
    config = dataclasses.replace(made.policy.config, groups=("sensors", "privileged"))
    with pytest.raises(SpecError, match=r"'privileged'.*'base_velocity' is privileged"):
        Policy(config, group_dims(made.spec), made.spec.action_dim, deploy_terms=made.spec.groups)
    peeking = Policy(config, group_dims(made.spec), made.spec.action_dim)  # as a teacher may
    with pytest.raises(RobodistillError, match=r"'privileged'.*a robot delivers only"):
        export_policy(peeking, made.task, made.spec, ORIGIN, Path("never.onnx"))
    train = dataclasses.replace(made.train, policy=config, copy_head=False)
    with pytest.raises(RobodistillError, match="privileged"):
        student_networks(train, made.spec, made.policy.config, None)


def test_an_environment_of_another_order_is_refused_at_once(student: Callable[[str, str], Any]) -> None:
    # the environment is built from the same YAML: two joints swapped there do not pass as the same interface
    made = student("go2_flat", "gru")
    (part,) = made.task.robot.actions
    names = list(part.names)
    swap(names, "FL_thigh_joint", "FL_calf_joint")
    robot = dataclasses.replace(made.task.robot, actions=(dataclasses.replace(part, names=tuple(names)),))
    other = VecEnv(dataclasses.replace(made.task, robot=robot), 1, threads=1)
    with pytest.raises(RobodistillError, match="FL_thigh_joint"):
        check_same_interface(made.spec, other.spec, ("sensors",), "teacher")
