"""unitree_rl_lab: ``exported/policy.onnx`` and ``params/deploy.yaml``, floats with all digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import yaml

from robodistill.interop.classic import Classic, classic
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_policies.policy import Policy

TERMS = {
    "angular_velocity": "base_ang_vel",
    "gravity": "projected_gravity",
    "joint_position": "joint_pos_rel",
    "joint_velocity": "joint_vel_rel",
    "last_action": "last_action",
    "velocity_command": "velocity_commands",
}


def write(policy: Policy, spec: PolicySpec, folder: Path) -> list[Path]:
    """Write both files below ``folder``."""
    made = classic(policy, spec, TERMS, "unitree_rl_lab")
    if made.recurrent:
        raise RobodistillError("format unitree_rl_lab: its runner feeds no hidden state back; use mjlab or leapp")
    if not spec.robot.motor_order:
        raise RobodistillError(
            f"format unitree_rl_lab: robot {spec.interface.robot!r} declares no sdk_motor_order; add it to its YAML"
        )
    paths = [folder / "exported" / "policy.onnx", folder / "params" / "deploy.yaml"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(made.model, str(paths[0]))
    paths[1].write_text(yaml.safe_dump(_deploy(made, spec), sort_keys=False, default_flow_style=None))
    return paths


def _deploy(made: Classic, spec: PolicySpec) -> dict[str, Any]:
    part, order = made.part, spec.robot.motor_order
    to_sdk = [order.index(name) for name in part.names]
    # gains are listed by motor, everything else by joint of the policy
    by_motor = [part.names.index(name) for name in order]
    return {
        "joint_ids_map": to_sdk,
        "step_dt": spec.interface.control_dt,
        "stiffness": [part.kp[i] for i in by_motor],
        "damping": [part.kd[i] for i in by_motor],
        "default_joint_pos": list(part.default),
        "commands": {"base_velocity": {"ranges": _ranges(spec)}} if spec.interface.commands else {},
        "actions": {
            "JointPositionAction": {
                "clip": [list(pair) for pair in zip(part.lower, part.upper, strict=True)],
                "joint_names": [".*"],
                "scale": list(part.scale),
                "offset": list(part.default),
                "joint_ids": None,
            }
        },
        "observations": {
            name: {"params": {}, "clip": None, "scale": list(term.scale), "history_length": made.history}
            for name, term in made.terms
        },
    }


def _ranges(spec: PolicySpec) -> dict[str, Any]:
    command = spec.interface.commands[0]
    keys = ("lin_vel_x", "lin_vel_y", "ang_vel_z")
    ends = zip(keys, command.lower, command.upper, strict=True)
    return {**{key: [low, high] for key, low, high in ends}, "heading": None}
