"""The classic graph ``obs -> actions`` of a policy, as rsl_rl writes it, and what its reader must compute itself.

Observation terms are scaled by the reader; clipping, normalisation and the network are in the graph, so that no
format has to express them. Windowed policies read every term's history, oldest first, term after term; recurrent
ones have ``h_in`` and ``h_out``. Actions are raw: the reader adds the default pose and multiplies by the scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, nn

from robodistill.export import trace
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.spec import ActionPart, TermSpec
from robodistill_policies.encoders.window import WindowEncoder
from robodistill_policies.policy import Policy

_TERMS = "robodistill_envs.terms.observations:"
Roles = dict[str, str]
"""What a term is (``angular_velocity``, ``gravity``, ...) -> a format's name for it"""


@dataclass(frozen=True)
class Classic:
    """A policy in the terms that classic formats share."""

    part: ActionPart
    terms: tuple[tuple[str, TermSpec], ...]
    """(the format's name, our term), in the order of ``obs``"""
    history: int
    """Observations of each term in ``obs``; 1 is the present alone."""
    recurrent: bool
    model: onnx.ModelProto


class _Graph(nn.Module):
    """obs (1, width), and h_in (1, 1, units) of a recurrent policy -> raw actions (1, dim), and h_out."""

    clip: Tensor

    def __init__(self, policy: Policy, terms: tuple[TermSpec, ...], history: int) -> None:
        super().__init__()
        self.policy, self.history = policy, history
        self.widths = [term.dim for term in terms]
        self.names = list(policy.initial_state(1))
        clip = torch.tensor([term.clip for term in terms for _ in range(term.dim)])
        self.register_buffer("clip", clip, persistent=False)

    def forward(self, obs: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """Return the raw actions, then the next hidden state."""
        encoder = self.policy.encoder
        if isinstance(encoder, WindowEncoder):
            blocks = torch.split(obs, [width * self.history for width in self.widths], dim=-1)
            pairs = zip(blocks, self.widths, strict=True)
            rows = torch.cat([block.reshape(1, self.history, width) for block, width in pairs], dim=-1)
            rows = torch.clamp(rows, -self.clip, self.clip)
            # a window that is full but for its newest row, which step() pushes
            normal = self.policy.normalizers["sensors"](rows)
            past = torch.cat([normal[:, :1], normal[:, :-1]], dim=1)
            state = {"history": past, "filled": torch.ones(1, 1)}
            return (self.policy.step({"sensors": rows[:, -1]}, state)[0].mean,)
        state = {name: hidden.squeeze(0) for name, hidden in zip(self.names, memory, strict=True)}
        output, after = self.policy.step({"sensors": torch.clamp(obs, -self.clip, self.clip)}, state)
        return (output.mean, *(after[name].unsqueeze(0) for name in self.names))


def classic(policy: Policy, spec: PolicySpec, names: Roles, stack: str) -> Classic:
    """Return ``policy`` in classic form; what ``stack`` cannot express is an error that names it.

    ``names`` are the terms that the stack knows.
    """
    face = spec.interface
    if len(face.actions) != 1 or face.actions[0].kind != "joint_position":
        raise RobodistillError(f"format {stack}: it drives joints by position alone; use leapp or policy.onnx itself")
    part, terms = face.actions[0], face.terms(spec.group)
    named = tuple((_named(term, spec, names, stack), term) for term in terms)
    encoder = policy.encoder
    history = encoder.config.history if isinstance(encoder, WindowEncoder) else 1
    memory = [] if history > 1 else [value.unsqueeze(0) for value in policy.initial_state(1).values()]
    if len(memory) > 1:
        raise RobodistillError(f"format {stack}: {len(memory)} hidden states, it has one; use leapp")
    module = _Graph(policy, terms, history).eval()
    inputs = [torch.zeros(1, history * sum(term.dim for term in terms)), *memory]
    recurrent = bool(memory)
    model = trace(
        module, inputs,
        ["obs", *(["h_in"] if recurrent else [])], ["actions", *(["h_out"] if recurrent else [])],
    )  # fmt: skip
    return Classic(part, named, history, recurrent, model)


def _named(term: TermSpec, spec: PolicySpec, names: Roles, stack: str) -> str:
    role = _role(term, spec)
    if role not in names:
        raise RobodistillError(
            f"format {stack}: it has no observation like term {term.name!r} ({term.type.partition(':')[2]} of "
            f"{', '.join(term.inputs)}); train without it, or use leapp"
        )
    return names[role]


def _role(term: TermSpec, spec: PolicySpec) -> str:
    """Return what ``term`` is; empty if it is nothing that these formats know."""
    part = spec.interface.actions[0]
    kind, inputs = term.type.removeprefix(_TERMS), term.inputs
    if kind == "projected_gravity":
        return "gravity"
    if kind == "relative" and inputs == ("joint_pos",) and tuple(term.params["origin"]) == part.default:
        return "joint_position" if spec.interface.signal("joint_pos").elements == part.names else ""
    if kind != "identity":
        return ""
    if inputs == ("joint_vel",):
        return "joint_velocity" if spec.interface.signal("joint_vel").elements == part.names else ""
    if inputs in [(command.signal,) for command in spec.interface.commands]:
        return "velocity_command" if term.dim == 3 else ""
    last = [i.name for i in spec.interface.internals if i.type.endswith(":LastAction")]
    return {"imu_gyro": "angular_velocity", **dict.fromkeys(last, "last_action")}.get(inputs[0], "")
