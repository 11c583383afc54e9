"""What an exported file says beside its graph: the robot, the conditions of training, where it comes from."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import onnxruntime
import torch

from robodistill.runs import git_state
from robodistill_deploy import strict_json
from robodistill_deploy.codec import to_plain
from robodistill_deploy.conditions import CommandRule, Envelope, Range, Statistics
from robodistill_deploy.errors import SpecError
from robodistill_deploy.policy_spec import Provenance
from robodistill_deploy.robot_facts import JOINT_KINDS, RobotFacts, Waypoint
from robodistill_deploy.spec import InterfaceSpec
from robodistill_envs.config import CommandConfig, TaskConfig
from robodistill_envs.model import build_model, mjcf_path
from robodistill_policies.policy import Policy


@dataclass(frozen=True)
class Origin:
    """Where a student comes from."""

    method: str
    seed: int
    checkpoints: Mapping[str, str]
    """role -> sha256"""


def robot_facts(task: TaskConfig, spec: InterfaceSpec) -> RobotFacts:
    """Return the robot of ``task``; inertia and friction are read back from the compiled model."""
    model = build_model(task)
    joints = tuple(name for part in spec.actions if part.kind in JOINT_KINDS for name in part.names)

    def of_joints(field: str) -> tuple[float, ...]:
        values = getattr(model, field)
        ids = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name) for name in joints]
        return tuple(float(values[model.jnt_dofadr[i]]) for i in ids)

    return RobotFacts(
        mjcf_sha256=hashlib.sha256(mjcf_path(task.robot.mjcf).read_bytes()).hexdigest(),
        joints=joints,
        armature=of_joints("dof_armature"),
        friction=of_joints("dof_frictionloss"),
        damping=of_joints("dof_damping"),
        motor_order=tuple(_joint_of(motor, joints) for motor in task.robot.sdk_motor_order),
        stand_up=tuple(Waypoint(w.seconds, w.position) for w in task.robot.stand_up),
    )


def _joint_of(motor: str, joints: tuple[str, ...]) -> str:
    """Return the joint that ``motor`` drives: of the same name, or with ``_joint`` behind it."""
    for joint in joints:
        if joint in (motor, f"{motor}_joint"):
            return joint
    raise SpecError(f"robot: sdk_motor_order names {motor!r}, which drives none of {', '.join(joints)}")


def command_rules(task: TaskConfig, spec: InterfaceSpec) -> dict[str, CommandRule]:
    """Return the rules of the commands that ``spec`` reads."""
    return {c.signal: _rule(task.command) for c in spec.commands if task.command is not None}


def _rule(command: CommandConfig) -> CommandRule:
    return CommandRule(command.default or (0.0,) * len(command.elements), command.rate_limit or None)


def envelope_of(task: TaskConfig, policy: Policy, spec: InterfaceSpec) -> Envelope:
    """Return the conditions of training, from the task and from the statistics that the policy gathered."""
    ranges = {name: Range(p.low, p.high, p.unit) for name, p in task.parameters.items()}
    normalizer = policy.normalizers["sensors"]
    mean, std = normalizer.get_buffer("mean"), normalizer.get_buffer("var").sqrt()
    observations: dict[str, Statistics] = {}
    start = 0
    for term in spec.terms("sensors"):
        own = slice(start, start + term.dim)
        observations[term.name] = Statistics(tuple(mean[own].tolist()), tuple(std[own].tolist()))
        start += term.dim

    def span(name: str) -> tuple[float, float]:
        drawn = task.parameters.get(name)
        return (drawn.low[0], drawn.high[0]) if drawn is not None else (0.0, 0.0)

    read = {signal.name for signal in spec.signals}
    signals = {name: s for name, s in task.signals.items() if name in read}
    return Envelope(
        signal_noise={name: s.noise for name, s in signals.items() if s.noise > 0.0},
        signal_quantum={name: s.quantum for name, s in signals.items() if s.quantum > 0.0},
        signal_delay=span("signal_delay"), action_delay=span("action_delay"),
        randomization=ranges, observations=observations,
    )  # fmt: skip


def provenance(origin: Origin, task: TaskConfig) -> Provenance:
    """Return versions, hashes and the time."""
    git = git_state() or {}
    commit = str(git.get("commit", "unknown")) + ("-dirty" if git.get("changed") else "")
    resolved = strict_json.dumps(to_plain(task), "task")
    return Provenance(
        robodistill=importlib.metadata.version("robodistill"), git=commit, torch=torch.__version__,
        onnxruntime=onnxruntime.__version__,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        method=origin.method, checkpoints=dict(origin.checkpoints),
        task_sha256=hashlib.sha256(resolved.encode()).hexdigest(), seed=origin.seed, license="Apache-2.0",
    )  # fmt: skip
