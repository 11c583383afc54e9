"""LEAPP: the graph with named signals and its memory as feedback, a YAML that describes both, initial values beside.

Terms, history and scaling stay in the graph, so every policy can be written.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.spec import ActionPart, SignalSpec

NODE = "policy"
_STATE = {
    "joint_pos": "state/joint/position",
    "joint_vel": "state/joint/velocity",
    "imu_gyro": "state/body/angular_velocity",
    "imu_quat_wxyz": "state/body/rotation",
}
_TARGET = {
    "joint_position": "target/joint/position",
    "joint_velocity": "target/joint/velocity",
    "joint_effort": "target/joint/effort",
    "base_twist": "target/body/linear_velocity",
}


def write(source: Path, spec: PolicySpec, folder: Path) -> list[Path]:
    """Write the bundle below ``folder`` from the policy file ``source``."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load_model(str(source))
    del model.metadata_props[:]
    _rename(model, spec)
    _add_gains(model, spec)
    onnx.checker.check_model(model, full_check=True)
    paths = [folder / "policy.onnx", folder / "policy.yaml"]
    onnx.save_model(model, str(paths[0]))
    description = _description(spec, paths[0])
    if spec.states:
        initial = folder / "policy_initial_values.safetensors"
        values = {f"{NODE}/{s.name}": np.array(s.initial, np.float32).reshape(s.shape) for s in spec.states}
        save_file(values, str(initial))
        description["pipeline"]["initial_values"] = initial.name
        paths.append(initial)
    paths[1].write_text(yaml.safe_dump(description, sort_keys=False, default_flow_style=None))
    return paths


def _rename(model: onnx.ModelProto, spec: PolicySpec) -> None:
    """Name inputs after signals and states: LEAPP's names must not hold its separators."""
    names = {f"signal.{s.name}": s.name for s in spec.interface.signals}
    names |= {f"action.{p.name}": _target(p) for p in spec.interface.actions}
    names |= {f"state.{s.name}": s.name for s in spec.states}
    names |= {f"next.{s.name}": _next(s.name) for s in spec.states}
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _add_gains(model: onnx.ModelProto, spec: PolicySpec) -> None:
    """Return the gains beside the targets, as this format's readers expect them."""
    for part in _driven_by_position(spec):
        for name, values in (("kp", part.kp), ("kd", part.kd)):
            label = f"{part.name}_{name}"
            constant = numpy_helper.from_array(np.array([values], np.float32), f"{label}_value")
            model.graph.initializer.append(constant)
            model.graph.node.append(helper.make_node("Identity", [constant.name], [label]))
            model.graph.output.append(helper.make_tensor_value_info(label, TensorProto.FLOAT, [1, part.dim]))


def _driven_by_position(spec: PolicySpec) -> list[ActionPart]:
    return [part for part in spec.interface.actions if part.kind == "joint_position"]


def _target(part: ActionPart) -> str:
    return f"{part.name}_target"


def _next(state: str) -> str:
    return f"{state}_next"


def _description(spec: PolicySpec, model: Path) -> dict[str, Any]:
    face, data = spec.interface, model.read_bytes()
    inputs = [_signal(s) for s in face.signals] + [_tensor(s.name, s.shape) for s in spec.states]
    targets = [
        _tensor(_target(p), (1, p.dim), _TARGET[p.kind], p.names, {"unit": p.unit, "limits": [[*p.lower], [*p.upper]]})
        for p in face.actions
    ]
    for part in _driven_by_position(spec):
        targets += [_tensor(f"{part.name}_{gain}", (1, part.dim), gain, part.names) for gain in ("kp", "kd")]
    memory = [_tensor(_next(s.name), s.shape) for s in spec.states]
    return {
        "models": {
            NODE: {
                "inputs": inputs,
                "outputs": targets + memory,
                "parameters": {
                    "model_path": model.name,
                    "md5sum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
                    "sha256sum": hashlib.sha256(data).hexdigest(),
                    "backend": "onnx",
                    "opset_version": 18,
                },
            }
        },
        "pipeline": {
            "data_flow": {},
            "feedback_flow": {f"{NODE}/{_next(s.name)}": [f"{NODE}/{s.name}"] for s in spec.states},
            "inputs": {NODE: [s.name for s in face.signals]},
            "outputs": {NODE: [entry["name"] for entry in targets]},
            "configs": {"frequency": 1.0 / face.control_dt},
        },
        "system information": {"machine": platform.machine(), "robodistill": spec.provenance.robodistill},
    }


def _signal(signal: SignalSpec) -> dict[str, Any]:
    kind = _STATE.get(signal.name, "command/body/velocity" if signal.source == "command" else None)
    extra = {"unit": signal.unit, "frame": signal.frame}
    return _tensor(signal.name, (1, signal.dim), kind, signal.elements, extra)


def _tensor(
    name: str,
    shape: tuple[int, ...],
    kind: str | None = None,
    elements: tuple[str, ...] = (),
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "dtype": "float32", "shape": list(shape), "type": "tensor"}
    if kind:
        entry["kind"] = kind
    if elements:
        entry["element_names"] = [None, list(elements)]
    return {**entry, **(extra or {})}
