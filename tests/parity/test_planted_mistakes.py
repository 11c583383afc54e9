"""Mistakes that people make on the way to a robot, planted one at a time: each is refused before motors are armed.

``arm`` is what a robot's program does before it sends its first command: load the file, look at the robot. Each
refusal is one line that says what to do. What cannot be seen from there is in docs/policy-file.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from robodistill.interop.write import write_classic
from robodistill_deploy.drivers.base import Reading
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.policy_file import METADATA_KEY, stamp
from robodistill_deploy.policy_spec import PLACEHOLDER
from robodistill_deploy.preflight import preflight
from robodistill_deploy.runtime import load_policy

Export = Callable[[str, str], Any]
Array = npt.NDArray[np.float64]
SDK = tuple(f"{leg}_{joint}_joint" for leg in ("FR", "FL", "RR", "RL") for joint in ("hip", "thigh", "calf"))
LYING = np.array([0.0, 1.36, -2.65] * 4)
YAW = 0.4


@dataclass(frozen=True)
class Scene:
    """A file and a robot, as its driver shows it: motors in the vendor's order, lying level, at rest."""

    path: Path
    joints: tuple[str, ...] = SDK
    elements: tuple[str, ...] = ("w", "x", "y", "z")
    signals: tuple[str, ...] = ("imu_quat_wxyz", "imu_gyro", "joint_pos", "joint_vel")
    quat: tuple[float, ...] = (float(np.cos(YAW / 2)), 0.0, 0.0, float(np.sin(YAW / 2)))
    gyro: float = 0.01
    joint_pos: tuple[float, ...] = tuple(LYING)
    rate: float = 500.0
    readings: int = 500
    frozen: bool = False

    def declared(self) -> dict[str, tuple[str, ...]]:
        names = {
            "imu_quat_wxyz": self.elements,
            "imu_gyro": ("x", "y", "z"),
            "joint_pos": self.joints,
            "joint_vel": self.joints,
        }
        return {name: names[name] for name in self.signals}

    def read(self) -> list[Reading]:
        values: dict[str, Array] = {
            "imu_quat_wxyz": np.array(self.quat),
            "imu_gyro": np.array([self.gyro, -0.01, 0.0]),
            "joint_pos": np.array(self.joint_pos),
            "joint_vel": np.full(12, 0.02),
        }
        shown = {name: values[name] for name in self.signals}
        return [
            Reading(10.0 + i / self.rate, 7 if self.frozen else i, shown) for i in range(self.readings)
        ]


def arm(scene: Scene) -> None:
    policy = load_policy(scene.path)
    preflight(policy.spec, scene.joints, scene.declared(), scene.read())


def resealed(source: Path, target: Path, change: Callable[[dict[str, Any]], None], keep: bool = False) -> Path:
    """A copy with another spec, sealed anew: what somebody does who edits the file with a script.

    ``keep`` leaves the old digest in place: what somebody does with an editor.
    """
    model = onnx.load_model(str(source))
    (entry,) = [p for p in model.metadata_props if p.key == METADATA_KEY]
    spec = json.loads(entry.value)
    change(spec)
    if not keep:
        spec["digest"] = PLACEHOLDER
    entry.value = json.dumps(spec, separators=(",", ":"))
    onnx.save_model(model, str(target))
    if not keep:
        stamp(target)
    return target


def graph_of(source: Path, graph: Path, target: Path) -> Path:
    """The spec of one file in the graph of another, sealed anew."""
    (entry,) = [p for p in onnx.load_model(str(source)).metadata_props if p.key == METADATA_KEY]
    spec = json.loads(entry.value)
    return resealed(graph, target, lambda other: (other.clear(), other.update(spec))[0])


def action(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["interface"]["actions"][0]


def set_action(field: str, index: int, value: float) -> Callable[[dict[str, Any]], None]:
    def change(spec: dict[str, Any]) -> None:
        action(spec)[field][index] = value

    return change


def swap_names(spec: dict[str, Any]) -> None:
    names = action(spec)["names"]
    names[1], names[2] = names[2], names[1]


def without_normaliser(source: Path, target: Path) -> Path:
    model = onnx.load_model(str(source))
    for tensor in model.graph.initializer:
        if list(tensor.dims) == [47]:  # mean and scale of the observation
            values = numpy_helper.to_array(tensor)
            plain = np.zeros_like(values) if values.min() < 0 else np.ones_like(values)
            tensor.CopyFrom(numpy_helper.from_array(plain, tensor.name))
    onnx.save_model(model, str(target))
    stamp(target)
    return target


def truncated(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes()[:-4096])
    return target


Edit = Callable[[dict[str, Any]], None]
FILES: dict[str, tuple[Edit, bool, str]] = {
    "gain, in an editor": (set_action("kp", 0, 20.0), True, "changed or damaged.*export it again"),
    "rate, in an editor": (lambda s: s["interface"].update(control_dt=0.005), True, "changed or damaged"),
    "order of joints, in an editor": (swap_names, True, "changed or damaged"),
    "order of joints, by script": (swap_names, False, "joint 1 is 'FL_thigh_joint', of the actions 'FL_calf_joint'"),
    "scale, by script": (set_action("scale", 2, 0.5), False, "spec and graph do not belong together; export again"),
    "default pose, by script": (set_action("default", 4, 0.9), False, "spec and graph do not belong together"),
    "limits, by script": (set_action("upper", 2, -1.51), False, "outside|do not belong together"),
    "rate, by script": (lambda s: s["interface"].update(control_dt=0.01), False, "no multiple of physics_dt"),
    "gain of zero, by script": (set_action("kp", 3, 0.0), False, "gain of 'FR_hip_joint' must be above 0"),
    "tilt rule switched off": (lambda s: s["safety"].update(max_tilt=0.0), False, "max_tilt must be .*above 0"),
    "file of an older version": (lambda s: s.update(schema="robodistill.policy/1"), False, "export the policy again"),
    "file of a newer version": (lambda s: s.update(schema="robodistill.policy/3"), False, "this version reads"),
    "field left out": (lambda s: s["robot"].pop("armature"), False, "missing field 'armature'"),
    "field of another tool": (lambda s: s.update(action_scale=0.25), False, "unknown field 'action_scale'"),
    "history shortened": (lambda s: s["states"].pop(), False, "unknown input|lacks|no state"),
    "self-test removed": (lambda s: s["self_test"].update(sequence=[]), False, "sequence must have at least"),
}
ROBOTS: dict[str, tuple[dict[str, Any], str]] = {
    "another robot": ({"joints": ("slider", "hinge")}, "made for this robot"),
    "legs named otherwise": (
        {"joints": tuple(n.replace("FL_", "LF_") for n in SDK)},
        "unknown joint 'LF_hip_joint': did you mean",
    ),
    "a leg listed twice": ({"joints": (*SDK[:3], *SDK[:3], *SDK[6:])}, "twice"),
    "a signal is not delivered": (
        {"signals": ("imu_quat_wxyz", "joint_pos", "joint_vel")},
        "unknown signal 'imu_gyro'",
    ),
    "quaternion scalar last, said so": (
        {"elements": ("x", "y", "z", "w")},
        "order x, y, z, w, deliver w, x, y, z",
    ),
    "quaternion scalar last": (
        {"quat": (0.0, 0.0, float(np.sin(YAW / 2)), float(np.cos(YAW / 2)))},
        "w = 0 on a level robot: the order is not w, x, y, z",
    ),
    "quaternion scalar last, turned": ({"quat": (0.0, 0.0, 0.6, 0.8)}, "tilted by .* order is not w, x, y, z"),
    "quaternion as integers": ({"quat": (16384.0, 0.0, 0.0, 0.0)}, "norm 1.64e.04, not 1"),
    "IMU mounted upside down": ({"quat": (0.0, 1.0, 0.0, 0.0)}, "tilted by 3.14"),
    "joints in degrees": ({"joint_pos": tuple(np.degrees(LYING))}, "look like degrees: deliver rad"),
    "calf and thigh exchanged": ({"joint_pos": tuple(LYING.reshape(4, 3)[:, [0, 2, 1]].ravel())}, "order"),
    "a joint turns the other way": ({"joint_pos": (*LYING[:11], 2.65)}, "'RL_calf_joint' stands at 2.65"),
    "gyro in degrees, robot carried": ({"gyro": 11.0}, "at rest: hold it still; if it is, the unit is not"),
    "a broken sensor": ({"gyro": float("nan")}, "not finite: check the sensor"),
    "messages too seldom": ({"rate": 20.0}, "arrive at 20 Hz, the policy runs at 50 Hz"),
    "messages that repeat": ({"frozen": True}, "stands still or goes back"),
    "time that stands still": ({"rate": float("inf")}, "time.monotonic"),
    "robot is off": ({"readings": 0}, "is the robot on"),
    "driver delivers another size": ({"joint_pos": tuple(LYING[:9])}, "has shape .9,., the driver promised 12"),
}


def refusal(scene: Scene) -> str:
    with pytest.raises(RobodistillError) as caught:
        arm(scene)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 400
    return line


def test_the_control_a_right_file_and_a_right_robot_are_armed(exported: Export) -> None:
    path = exported("go2_flat", "gru").path
    arm(Scene(path))
    standing = dict(zip(SDK, load_policy(path).spec.interface.actions[0].names, strict=True))
    assert standing  # the robot's order is another one than the policy's
    assert list(standing) != list(standing.values())
    arm(Scene(path, rate=50.0, readings=25))


@pytest.mark.parametrize("mistake", FILES)
def test_a_file_that_was_tampered_with(exported: Export, tmp_path: Path, mistake: str) -> None:
    change, keep, says = FILES[mistake]
    path = resealed(exported("go2_flat", "gru").path, tmp_path / "policy.onnx", change, keep)
    with pytest.raises(RobodistillError, match=says):
        arm(Scene(path))
    assert refusal(Scene(path)).startswith(str(path))


@pytest.mark.parametrize("mistake", ROBOTS)
def test_a_robot_that_does_not_fit(exported: Export, mistake: str) -> None:
    values, says = ROBOTS[mistake]
    scene = replace(Scene(exported("go2_flat", "gru").path), **values)
    with pytest.raises(RobodistillError, match=says):
        arm(scene)
    refusal(scene)


def test_files_that_were_mixed_up(exported: Export, tmp_path: Path) -> None:
    made, other = exported("go2_flat", "gru"), exported("go2_plain", "gru")
    target = tmp_path / "policy.onnx"
    says = {
        "normaliser dropped": (without_normaliser(made.path, target), r"self-test ticks\[0\].*export again"),
        "truncated": (truncated(made.path, tmp_path / "cut.onnx"), "truncated, damaged or not a policy file"),
        "spec of another policy": (graph_of(other.path, made.path, tmp_path / "mixed.onnx"), "the graph has an|lacks"),
        "another task's robot": (exported("cartpole_balance", "none").path, "made for this robot"),
        "another stack's file": (
            write_classic(other.policy, other.returned, "mjlab", tmp_path / "mjlab")[0],
            "not a policy file",
        ),
    }
    for name, (path, words) in says.items():
        with pytest.raises(RobodistillError, match=words):
            arm(Scene(path))
        assert refusal(Scene(path)), name


def test_there_are_more_than_twenty() -> None:
    assert len(FILES) + len(ROBOTS) + 5 >= 20
