"""A policy small enough to check by hand, as an ONNX file built without torch.

It has what a real one has: two action parts, clipped targets, last action, and a recurrent state whose
initial value is not zero. ``reference`` computes the same in float64.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from robodistill_deploy.policy_file import METADATA_KEY, stamp
from robodistill_deploy.policy_spec import (
    PLACEHOLDER,
    SCHEMA,
    CommandRule,
    Envelope,
    PolicySpec,
    Provenance,
    Range,
    SelfTest,
    StateSpec,
    Statistics,
    Tick,
)
from robodistill_deploy.robot_facts import RobotFacts
from robodistill_deploy.safety_limits import limits_for
from robodistill_deploy.spec import SCHEMA as INTERFACE_SCHEMA
from robodistill_deploy.spec import ActionPart, CommandSpec, InterfaceSpec, InternalSpec, SignalSpec, TermSpec

Values = dict[str, npt.NDArray[np.float64]]
Memory = dict[str, npt.NDArray[np.float64]]
Write = Callable[..., Path]

LEGS = ("hip", "thigh", "calf")
SIGNALS = {"imu_gyro": ("x", "y", "z"), "joint_pos": (*LEGS, "wheel"), "command": ("vx", "yaw_rate")}
OBS_DIM = 3 + 4 + 2 + 4
RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(0.0, 0.4, (OBS_DIM, 4)).astype(np.float32)
BIAS = RNG.normal(0.0, 0.1, 4).astype(np.float32)
FROM_H = np.array([[0.7, -0.5, 0.3, 0.9]], np.float32)
TO_H = np.array([[0.3], [-0.2], [0.1]], np.float32)
KEEP = np.array([[0.9]], np.float32)
H0 = 0.5


def part(name: str, kind: str, names: tuple[str, ...], **values: tuple[float, ...]) -> ActionPart:
    n = len(names)
    fields = {
        "default": (0.0,) * n,
        "scale": (0.5,) * n,
        "lower": (-1.0,) * n,
        "upper": (1.0,) * n,
        "kp": (20.0,) * n,
        "kd": (0.5,) * n,
        "effort_limit": (23.7,) * n,
        "velocity_limit": (30.0,) * n,
    }
    fields.update(values)
    return ActionPart(name=name, kind=kind, names=names, unit="rad", mirror=None, **fields)  # pyright: ignore[reportArgumentType]


def interface() -> InterfaceSpec:
    internal = InternalSpec("last_action", "somewhere:LastAction", 4, {})
    units = {"imu_gyro": "rad/s", "joint_pos": "rad", "command": "m/s, rad/s"}
    signals = tuple(
        SignalSpec(name, elements, units[name], "body", "command" if name == "command" else "sensor")
        for name, elements in SIGNALS.items()
    )
    dims = {**{s.name: s.dim for s in signals}, "last_action": 4}
    terms = tuple(
        TermSpec(
            name=name,
            type="somewhere:identity",
            source="sensor",
            inputs=(name,),
            dim=dim,
            unit=units.get(name, "1"),
            frame="body",
            scale=(1.0,) * dim,
            clip=100.0,
            params={"origin": [0.1] * dim},
            mirror=None,
        )
        for name, dim in dims.items()
    )
    legs = part(
        "legs",
        "joint_position",
        LEGS,
        default=(0.1, 0.8, -1.5),
        scale=(0.25, 0.3, 0.5),
        lower=(-1.0, -0.6, -2.7),
        upper=(1.0, 1.1, -0.8),
        kp=(20.0, 21.0, 22.0),
        kd=(0.5, 0.6, 0.7),
    )
    return InterfaceSpec(
        schema=INTERFACE_SCHEMA,
        robot="toy",
        task="toy_task",
        control_dt=0.02,
        physics_dt=0.005,
        signals=signals,
        internals=(internal,),
        groups={"sensors": terms},
        actions=(
            legs,
            part("wheel", "joint_velocity", ("wheel",), scale=(3.0,), lower=(-9.0,), upper=(9.0,)),
        ),
        commands=(CommandSpec("command", (-1.0, -1.2), (1.5, 1.2)),),
    )


def initial() -> Memory:
    return {"last_action": np.zeros(4), "h": np.full(1, H0)}


def reference(face: InterfaceSpec, signals: Values, state: Memory) -> tuple[Values, Memory]:
    """The toy policy in float64: targets and next state."""
    obs = np.concatenate(
        [signals["imu_gyro"], signals["joint_pos"], signals["command"], state["last_action"]]
    )
    raw = obs @ WEIGHT.astype(float) + BIAS + (state["h"] @ FROM_H.astype(float))
    targets, start = {}, 0
    for action in face.actions:
        own = np.array(action.default) + np.array(action.scale) * raw[start : start + action.dim]
        targets[action.name] = np.clip(own, action.lower, action.upper)
        start += action.dim
    h = np.tanh(state["h"] * KEEP.astype(float)[0] + signals["imu_gyro"] @ TO_H.astype(float))
    return targets, {"last_action": raw, "h": h}


def random_signals(rng: np.random.Generator) -> Values:
    return {
        name: rng.normal(0.0, 0.6, len(elements)).astype(np.float32).astype(float)
        for name, elements in SIGNALS.items()
    }


def record(face: InterfaceSpec, resets: list[bool], seed: int) -> tuple[Tick, ...]:
    rng, state, ticks = np.random.default_rng(seed), initial(), []
    for reset in resets:
        state = initial() if reset else state
        signals = random_signals(rng)
        targets, state = reference(face, signals, state)
        plain = {name: tuple(map(float, value)) for name, value in signals.items()}
        ticks.append(Tick(reset, plain, {name: tuple(map(float, value)) for name, value in targets.items()}))
    return tuple(ticks)


def make_spec() -> PolicySpec:
    face = interface()
    return PolicySpec(
        schema=SCHEMA,
        group="sensors",
        interface=face,
        robot=RobotFacts(
            mjcf_sha256="12" * 32,
            joints=(*LEGS, "wheel"),
            armature=(0.01, 0.01, 0.02, 0.0),
            friction=(0.2,) * 4,
            damping=(0.1,) * 4,
            motor_order=("wheel", "calf", "hip", "thigh"),
            stand_up=(),
        ),
        states=(
            StateSpec("last_action", "internal", (1, 4), (0.0,) * 4),
            StateSpec("h", "hidden", (1, 1), (H0,)),
        ),
        commands={"command": CommandRule((0.0, 0.1), (2.0, 4.0))},
        envelope=Envelope(
            signal_noise={"imu_gyro": 0.1},
            signal_quantum={"joint_pos": 0.0005},
            signal_delay=(0.0, 0.02),
            action_delay=(0.005, 0.02),
            randomization={"payload": Range((-1.0,), (3.0,), "kg")},
            observations={
                term.name: Statistics((0.0,) * term.dim, (1.0,) * term.dim) for term in face.terms("sensors")
            },
        ),
        safety=limits_for(face),
        provenance=Provenance(
            robodistill="0.1.0",
            git="unknown",
            torch="2.13.0",
            onnxruntime="1.31.1",
            created="2026-11-22T03:00:00+00:00",
            method="dagger",
            checkpoints={"teacher": "ab" * 32, "student": "cd" * 32},
            task_sha256="ef" * 32,
            seed=0,
            license="Apache-2.0",
        ),
        self_test=SelfTest(
            atol=1e-5,
            ticks=record(face, [True] * 4, seed=1),
            sequence=record(face, [True, *[False] * 11, True, *[False] * 11], seed=2),
        ),
        digest=PLACEHOLDER,
    )


def make_model(face: InterfaceSpec) -> onnx.ModelProto:
    constants: dict[str, npt.NDArray[Any]] = {
        "W": WEIGHT,
        "b": BIAS[None],
        "from_h": FROM_H,
        "to_h": TO_H,
        "keep": KEEP,
    }
    node = helper.make_node
    nodes = [
        node("Concat", [*(f"signal.{name}" for name in SIGNALS), "state.last_action"], ["obs"], axis=1),
        node("MatMul", ["obs", "W"], ["linear"]),
        node("MatMul", ["state.h", "from_h"], ["memory"]),
        node("Add", ["linear", "memory"], ["sum"]),
        node("Add", ["sum", "b"], ["next.last_action"]),
        node("MatMul", ["signal.imu_gyro", "to_h"], ["drive"]),
        node("Mul", ["state.h", "keep"], ["kept"]),
        node("Add", ["drive", "kept"], ["mixed"]),
        node("Tanh", ["mixed"], ["next.h"]),
        node("Split", ["next.last_action", "sizes"], [f"raw.{a.name}" for a in face.actions], axis=1),
    ]
    constants["sizes"] = np.array([a.dim for a in face.actions], np.int64)
    for action in face.actions:
        for field in ("default", "scale", "lower", "upper"):
            constants[f"{action.name}.{field}"] = np.array([getattr(action, field)], np.float32)
        n = action.name
        nodes += [
            node("Mul", [f"raw.{n}", f"{n}.scale"], [f"scaled.{n}"]),
            node("Add", [f"scaled.{n}", f"{n}.default"], [f"target.{n}"]),
            node("Max", [f"target.{n}", f"{n}.lower"], [f"above.{n}"]),
            node("Min", [f"above.{n}", f"{n}.upper"], [f"action.{n}"]),
        ]

    def tensor(name: str, dim: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, dim])

    states = [("last_action", 4), ("h", 1)]
    graph = helper.make_graph(
        nodes,
        "toy",
        [tensor(f"signal.{s.name}", s.dim) for s in face.signals]
        + [tensor(f"state.{n}", d) for n, d in states],
        [tensor(f"action.{a.name}", a.dim) for a in face.actions]
        + [tensor(f"next.{n}", d) for n, d in states],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def write_policy(path: Path, model: onnx.ModelProto, text: str | None, *, sealed: bool = True) -> Path:
    if text is not None:
        helper.set_model_props(model, {METADATA_KEY: text})
    path.write_bytes(model.SerializeToString())
    if sealed:
        stamp(path)
    return path


@pytest.fixture(scope="session")
def spec() -> PolicySpec:
    """The toy policy's spec, not stamped."""
    return make_spec()


@pytest.fixture
def model(spec: PolicySpec) -> onnx.ModelProto:
    """The toy policy's graph, for a test to spoil."""
    return make_model(spec.interface)


@pytest.fixture
def write(tmp_path: Path, spec: PolicySpec, model: onnx.ModelProto) -> Write:
    """``write(spec=, model=, text=, sealed=)`` makes a policy file, by default a right one."""

    def call(
        spec: PolicySpec = spec,
        model: onnx.ModelProto = model,
        text: str | None = None,
        sealed: bool = True,
    ) -> Path:
        return write_policy(
            tmp_path / "policy.onnx", model, spec.to_json() if text is None else text, sealed=sealed
        )

    return call


@pytest.fixture
def path(write: Write) -> Path:
    """A right policy file."""
    return write()


@pytest.fixture
def run_reference(spec: PolicySpec) -> Callable[[list[Values], set[int]], list[Values]]:
    """``run_reference(ticks, resets)``: the float64 targets of a whole run; resets come before their tick."""

    def call(ticks: list[Values], resets: set[int]) -> list[Values]:
        state, out = initial(), []
        for i, signals in enumerate(ticks):
            targets, state = reference(spec.interface, signals, initial() if i in resets else state)
            out.append(targets)
        return out

    return call


@pytest.fixture
def ticks() -> list[Values]:
    """Forty ticks of random signals."""
    rng = np.random.default_rng(11)
    return [random_signals(rng) for _ in range(40)]


@pytest.fixture
def stateless(tmp_path: Path, spec: PolicySpec) -> Path:
    """A file without state, joints or commands: a base twist from the gyro, through one matrix."""
    face = spec.interface
    twist = dataclasses.replace(
        face.actions[0], name="base", kind="base_twist", names=("vx", "vy", "yaw"), unit="m/s"
    )
    twist = dataclasses.replace(twist, default=(0.0,) * 3, lower=(-1.5,) * 3, upper=(1.5,) * 3)
    narrow = dataclasses.replace(
        face,
        signals=face.signals[:1],
        internals=(),
        groups={"sensors": face.groups["sensors"][:1]},
        actions=(twist,),
        commands=(),
    )
    gain = np.diag([0.5, 0.25, -0.125]).astype(np.float32)

    def tick(i: int, reset: bool) -> Tick:
        x = (0.25 * (i % 3), -0.5, 0.125 * i)
        return Tick(reset, {"imu_gyro": x}, {"base": tuple(float(v) for v in np.array(x) @ gain)})

    test = SelfTest(
        1e-5, tuple(tick(i, True) for i in range(2)), tuple(tick(i, i % 15 == 0) for i in range(20))
    )
    seen = {"imu_gyro": spec.envelope.observations["imu_gyro"]}
    narrow_spec = dataclasses.replace(
        spec,
        interface=narrow,
        robot=RobotFacts("12" * 32, (), (), (), (), (), ()),
        safety=limits_for(narrow),
        states=(),
        commands={},
        envelope=dataclasses.replace(spec.envelope, signal_quantum={}, observations=seen),
        self_test=test,
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["signal.imu_gyro", "gain"], ["action.base"])],
        "stateless",
        [helper.make_tensor_value_info("signal.imu_gyro", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("action.base", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(gain, "gain")],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return write_policy(tmp_path / "stateless.onnx", built, narrow_spec.to_json())
