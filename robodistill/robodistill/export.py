"""Export: one ``policy.onnx`` that takes signals and returns targets, with its PolicySpec inside."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxscript
import torch
from torch import Tensor, nn

from robodistill.export_facts import Origin, command_rules, envelope_of, provenance, robot_facts
from robodistill.files import writing
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.policy_file import METADATA_KEY, stamp
from robodistill_deploy.policy_spec import (
    PLACEHOLDER,
    SCHEMA,
    PolicySpec,
    SelfTest,
    StateKind,
    StateSpec,
    Tick,
    restrict,
)  # fmt: skip
from robodistill_deploy.resolve import resolve
from robodistill_deploy.runtime import load_policy
from robodistill_deploy.safety_limits import limits_for
from robodistill_deploy.spec import InterfaceSpec
from robodistill_envs.config import TaskConfig
from robodistill_envs.observation import SignalTerms
from robodistill_envs.vector import Disturbances, VecEnv
from robodistill_policies.encoders.window import WindowEncoder
from robodistill_policies.policy import Policy

__all__ = ["Origin", "RobotGraph", "export_policy", "to_onnx", "trace"]

OPSET = 18
ATOL = 1e-5
"""Tolerance of the self-test, in units of the action scale."""
_TICKS, _SEQUENCE = 8, 30
Signals = dict[str, Tensor]


class RobotGraph(nn.Module):
    """Signals and state in, targets and next state out: terms, normalisation, memory and scaling inside."""

    default: Tensor
    scale: Tensor
    lower: Tensor
    upper: Tensor

    def __init__(self, policy: Policy, spec: InterfaceSpec) -> None:
        super().__init__()
        if policy.config.reads != ("sensors",):
            raise RobodistillError(
                f"export: the policy reads {policy.config.reads}, a robot delivers only ('sensors',)"
            )
        self.spec = restrict(spec, "sensors")
        self.policy = policy
        self.terms = SignalTerms(self.spec, "sensors")
        internals = {i.name: resolve(i.type)(i.dim, spec.control_dt, **i.params) for i in self.spec.internals}
        self.internals = nn.ModuleDict(internals)
        self._internals: Signals = {name: module.initial().unsqueeze(0) for name, module in internals.items()}
        for field in ("default", "scale", "lower", "upper"):
            values = torch.tensor([v for part in spec.actions for v in getattr(part, field)])
            self.register_buffer(field, values, persistent=False)
        self.state_names = [*self.internals, *policy.initial_state(1)]

    def initial(self) -> dict[str, Tensor]:
        """Return every state of one robot at the start, (1, ...)."""
        return {**self._internals, **self.policy.initial_state(1)}

    def states(self) -> tuple[StateSpec, ...]:
        """Return what the graph carries from tick to tick."""
        return tuple(
            StateSpec(name, self._kind(name), tuple(value.shape), tuple(value.flatten().tolist()))
            for name, value in self.initial().items()
        )

    def _kind(self, name: str) -> StateKind:
        if name in self.internals:
            return "internal"
        if not isinstance(self.policy.encoder, WindowEncoder):
            return "hidden"
        return "flag" if name == "filled" else "window"

    def forward(self, signals: Signals, state: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the targets of each action part and the next states, in the order of ``state_names``."""
        obs = {"sensors": self.terms({**signals, **state})}
        output, memory = self.policy.step(obs, {k: v for k, v in state.items() if k not in self.internals})
        targets = torch.clamp(self.default + self.scale * output.mean, self.lower, self.upper)
        parts = torch.split(targets, [part.dim for part in self.spec.actions], dim=-1)
        after = {name: module(state[name], output.mean) for name, module in self.internals.items()} | memory
        return list(parts), [after[name] for name in self.state_names]


class _Positional(nn.Module):
    """The graph with tensors for arguments, as the exporter wants it."""

    def __init__(self, graph: RobotGraph) -> None:
        super().__init__()
        self.robot = graph

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return targets, then next states."""
        names = [s.name for s in self.robot.spec.signals]
        signals = dict(zip(names, tensors[: len(names)], strict=True))
        state = dict(zip(self.robot.state_names, tensors[len(names) :], strict=True))
        parts, after = self.robot(signals, state)
        return (*parts, *after)


def to_onnx(graph: RobotGraph) -> onnx.ModelProto:
    """Return the checked, optimised model of ``graph`` at batch 1."""
    signals = [torch.zeros(1, s.dim) for s in graph.spec.signals]
    state = graph.initial()
    names_in = [f"signal.{s.name}" for s in graph.spec.signals] + [f"state.{n}" for n in graph.state_names]
    names_out = [f"action.{p.name}" for p in graph.spec.actions] + [f"next.{n}" for n in graph.state_names]
    return trace(
        _Positional(graph), [*signals, *(state[name] for name in graph.state_names)], names_in, names_out
    )


def trace(module: nn.Module, inputs: Sequence[Tensor], names_in: list[str], names_out: list[str]) -> onnx.ModelProto:
    """Return the checked, optimised model of ``module`` for ``inputs`` of batch 1, weights inside, without notes."""
    with warnings.catch_warnings():
        # the exporter's own deprecations and its search for torchvision: nothing a user can act on
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)
        program = torch.onnx.export(
            module.eval(), tuple(inputs),
            input_names=names_in, output_names=names_out, dynamo=True, opset_version=OPSET, verbose=False,
        )  # fmt: skip
    if program is None:
        raise RobodistillError("export: torch returned no model")
    model = program.model_proto
    model = onnxscript.optimizer.optimize(model, input_size_limit=10**7, output_size_limit=10**7)
    # the exporter writes IR 10, which onnxruntime 1.17 refuses; nothing of it is used
    model.ir_version = 8
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes: stack traces with the paths of this machine."""
    graph = model.graph
    for item in (
        model,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        del item.metadata_props[:]
        item.doc_string = ""


@torch.no_grad()
def record(graph: RobotGraph, signals: list[Signals], resets: list[bool]) -> list[Tick]:
    """Return what ``graph`` does with recorded ``signals`` (each (1, dim)), beginning anew where ``resets``."""
    state = graph.initial()
    ticks: list[Tick] = []
    for values, reset in zip(signals, resets, strict=True):
        state = graph.initial() if reset else state
        parts, after = graph(values, state)
        state = dict(zip(graph.state_names, after, strict=True))
        targets = {p.name: tuple(t[0].tolist()) for p, t in zip(graph.spec.actions, parts, strict=True)}
        ticks.append(Tick(reset, {k: tuple(v[0].tolist()) for k, v in values.items()}, targets))
    return ticks


@torch.no_grad()
def drive_and_record(env: VecEnv, graph: RobotGraph, steps: int) -> list[Signals]:
    """Let ``graph`` drive world 0 of ``env`` and return the signals it saw, ``steps`` times (1, dim)."""
    env.reset()
    state, seen = graph.initial(), []
    for _ in range(steps):
        values = {s.name: env.world.signals[s.name][:1].clone() for s in graph.spec.signals}
        seen.append(values)
        parts, after = graph(values, state)
        state = dict(zip(graph.state_names, after, strict=True))
        env.step(((torch.cat(parts, dim=-1) - graph.default) / graph.scale).expand(env.num_envs, -1))
    return seen


def export_policy(
    policy: Policy, task: TaskConfig, spec: InterfaceSpec, origin: Origin, path: Path
) -> PolicySpec:
    """Write ``path``, one sealed file; the self-test inside holds signals of the simulated robot, driven by it."""
    graph = RobotGraph(policy.eval(), spec).eval()
    env = VecEnv(task, 1, seed=origin.seed + 77, threads=1, disturbances=Disturbances())
    seen = drive_and_record(env, graph, _SEQUENCE + 10 * _TICKS)
    sequence = record(graph, seen[:_SEQUENCE], [t in (0, _SEQUENCE // 2) for t in range(_SEQUENCE)])
    ticks = record(graph, seen[_SEQUENCE::10], [True] * _TICKS)
    policy_spec = PolicySpec(
        schema=SCHEMA, group="sensors", interface=graph.spec,
        robot=robot_facts(task, graph.spec), states=graph.states(), commands=command_rules(task, graph.spec),
        envelope=envelope_of(task, policy, graph.spec), safety=limits_for(graph.spec),
        provenance=provenance(origin, task),
        self_test=SelfTest(ATOL, tuple(ticks), tuple(sequence)), digest=PLACEHOLDER,
    )  # fmt: skip
    model = to_onnx(graph)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, policy_spec.to_json()
    aside = path.with_name(f".{path.stem}.tmp{path.suffix}")  # one name: what a killed export left is written over
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save_model(model, str(aside))
        stamp(aside)
        load_policy(aside)  # what would be refused on the robot is refused here
        os.replace(aside, path)
    return policy_spec
