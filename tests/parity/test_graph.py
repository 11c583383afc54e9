"""The graph of every kind of policy: clean as a file, and the same numbers in torch, onnxruntime and numpy."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from robodistill.export import RobotGraph
from robodistill_deploy import runtime
from robodistill_deploy.errors import SpecError
from robodistill_envs.vector import VecEnv

Export = Callable[[str, str], Any]
KINDS = ("none", "mlp", "stack", "gru", "tcn", "transformer")
ON_NUMPY = ("none", "mlp", "stack", "gru")
WORLDS, STEPS = 25, 40


def marked(kinds: tuple[str, ...]) -> list[Any]:
    return [pytest.param(k, marks=() if k == "gru" else pytest.mark.slow) for k in kinds]


@pytest.mark.parametrize("kind", marked(KINDS))
def test_the_file_is_clean(exported: Export, kind: str) -> None:
    path: Path = exported("go2_flat", kind).path
    model = onnx.load_model(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert model.ir_version == 8
    assert [entry.key for entry in model.metadata_props] == ["robodistill.policy"]
    graph = model.graph
    things = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    assert not [thing for thing in things if thing.doc_string]
    assert not [thing for thing in things[1:] if thing.metadata_props]
    assert all(not tensor.external_data for tensor in graph.initializer)
    assert not {node.op_type for node in graph.node} & {"Constant", "Identity", "Dropout", "If", "Loop", "Shape"}
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_value == 1
    text = path.read_bytes().decode("latin1")
    assert not [place for place in (str(Path.cwd()), os.path.expanduser("~") + "/", "site-packages") if place in text]
    assert not re.search(r"\.py\b", text)


def recorded(made: Any) -> list[dict[str, torch.Tensor]]:
    """Signals of many worlds, driven at random, with noise, pushes and delays as in training."""
    env = VecEnv(made.task, WORLDS, seed=31, threads=1)
    torch.manual_seed(9)
    env.reset()
    signals = []
    for _ in range(STEPS):
        signals.append({name: value.clone() for name, value in env.world.signals.items()})
        env.step(0.7 * torch.randn(WORLDS, env.action_dim))
    return signals


def worst(made: Any, file: runtime.Policy, signals: list[dict[str, torch.Tensor]]) -> float:
    """The file against the torch graph on ``signals``, world by world, in units of the action scale."""
    graph = RobotGraph(made.policy, made.spec).eval()
    state = {n: v.expand(WORLDS, *v.shape[1:]).clone() for n, v in graph.initial().items()}
    parts = made.spec.actions
    scale = np.concatenate([part.scale for part in parts])
    theirs = []
    with torch.no_grad():
        for values in signals:
            targets, after = graph({s.name: values[s.name] for s in graph.spec.signals}, state)
            state = dict(zip(graph.state_names, after, strict=True))
            theirs.append(torch.cat(targets, dim=-1).numpy())
    error = 0.0
    for world in range(WORLDS):
        file.reset()
        for t, values in enumerate(signals):
            made_targets = file.tick({s.name: values[s.name][world].numpy() for s in file.signals})
            ours = np.concatenate([made_targets[part.name] for part in parts])
            error = max(error, float(np.abs((ours - theirs[t][world]) / scale).max()))
    return error


@pytest.mark.parametrize("task", ["go2_flat", "cartpole_balance"])
@pytest.mark.parametrize("kind", marked(KINDS))
def test_onnxruntime_agrees_with_torch_on_a_thousand_recorded_inputs(exported: Export, task: str, kind: str) -> None:
    made = exported(task, kind)
    assert worst(made, runtime.load_policy(made.path), recorded(made)) <= 1e-5
    assert WORLDS * STEPS >= 1000


@pytest.mark.parametrize("kind", marked(ON_NUMPY))
def test_numpy_agrees_with_torch_on_a_thousand_recorded_inputs(exported: Export, kind: str) -> None:
    made = exported("go2_flat", kind)
    file = runtime.load_policy(made.path, backend="numpy")
    assert file.backend.startswith("numpy ")
    assert worst(made, file, recorded(made)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "operator"), [("tcn", "Conv"), ("transformer", "LayerNormalization")])
def test_what_numpy_cannot_run_is_named(exported: Export, kind: str, operator: str) -> None:
    with pytest.raises(SpecError, match=f"no operator '{operator}'.*onnxruntime"):
        runtime.load_policy(exported("go2_flat", kind).path, backend="numpy")


def test_the_control_noise_on_the_weights_shows(exported: Export) -> None:
    made = exported("go2_flat", "gru")
    signals = recorded(made)
    file = runtime.load_policy(made.path)
    with torch.no_grad():
        bias = next(p for n, p in made.policy.named_parameters() if n == "encoder.head.0.bias")
        bias.add_(1e-3)
        try:
            assert worst(made, file, signals) > 1e-5
        finally:
            bias.sub_(1e-3)
