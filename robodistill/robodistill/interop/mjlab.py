"""mjlab: one ONNX file whose metadata are comma-separated lists, ``;`` within an entry. Floats keep all digits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx

from robodistill.interop.classic import classic
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_policies.policy import Policy

TERMS = {
    "angular_velocity": "base_ang_vel",
    "gravity": "projected_gravity",
    "joint_position": "joint_pos",
    "joint_velocity": "joint_vel",
    "last_action": "actions",
    "velocity_command": "command",
}


def write(policy: Policy, spec: PolicySpec, folder: Path) -> list[Path]:
    """Write ``policy.onnx`` with mjlab's metadata below ``folder``.

    mjlab has no key for the limits of targets: its reader relies on the joints' own.
    """
    made = classic(policy, spec, TERMS, "mjlab")
    part, terms = made.part, made.terms
    reads_command = any(name == TERMS["velocity_command"] for name, _ in terms)
    # one observation is "no history" there
    history = made.history if made.history > 1 else 0
    entries = {
        "run_path": "local",
        "joint_names": ",".join(part.names),
        "joint_stiffness": _numbers(part.kp),
        "joint_damping": _numbers(part.kd),
        "default_joint_pos": _numbers(part.default),
        "command_names": "twist" if reads_command else "",
        "observation_names": ",".join(name for name, _ in terms),
        "observation_terms_scale": ",".join(_scale(term.scale) for _, term in terms),
        "observation_terms_flatten_history_dim": _numbers(float(history > 0) for _ in terms),
        "observation_terms_history_length": _numbers(float(history) for _ in terms),
        "observation_terms_clip": ",".join("-inf;inf" for _ in terms),
        "action_scale": _numbers(part.scale),
    }
    onnx.helper.set_model_props(made.model, entries)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "policy.onnx"
    onnx.save_model(made.model, str(path))
    return [path]


def _numbers(values: Iterable[float]) -> str:
    return ",".join(map(repr, values))


def _scale(scale: tuple[float, ...]) -> str:
    return repr(scale[0]) if len(set(scale)) == 1 else ";".join(map(repr, scale))
