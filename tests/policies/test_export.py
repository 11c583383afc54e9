"""Every kind exports, and the exported graph carries its state as torch does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from robodistill_policies.config import EncoderConfig
from robodistill_policies.policy import Policy

STEPS, RESET_AT = 100, 57


class Tick(nn.Module):
    """A policy with positional inputs and outputs: sensors, then the state in the order of its keys."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        self.keys = sorted(policy.initial_state(1))

    def forward(self, sensors: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        output, after = self.policy.step({"sensors": sensors}, dict(zip(self.keys, state, strict=True)))
        return output.mean, *(after[key] for key in self.keys)


def export(tick: Tick, path: Path) -> ort.InferenceSession:
    state = tick.policy.initial_state(1)
    torch.onnx.export(
        tick.eval(),
        (torch.zeros(1, 5), *(state[key] for key in tick.keys)),
        path,
        dynamo=True,
        opset_version=18,
        external_data=False,
        verbose=False,
        input_names=["sensors", *(f"state.{key}" for key in tick.keys)],
        output_names=["action", *(f"next.{key}" for key in tick.keys)],
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_onnx_is_torch_over_many_ticks_and_a_reset(
    kind: EncoderConfig, make_policy: Callable[..., Policy], tmp_path: Path
):
    tick = Tick(make_policy(kind, latent_norm="l2" if kind.history > 1 else "tanh"))
    session = export(tick, tmp_path / "policy.onnx")
    assert [i.name for i in session.get_inputs()] == ["sensors", *(f"state.{key}" for key in tick.keys)]
    initial = [s.numpy() for s in (tick.policy.initial_state(1)[key] for key in tick.keys)]
    there, here, worst = initial, [torch.from_numpy(s) for s in initial], 0.0
    actions: list[np.ndarray] = []
    for step in range(STEPS):
        if step == RESET_AT:
            there, here = initial, [torch.from_numpy(s) for s in initial]
        sensors = 3.0 + 2.0 * torch.randn(1, 5)
        feeds = dict(zip([f"state.{key}" for key in tick.keys], there, strict=True))
        action, *there = (np.asarray(out) for out in session.run(None, {"sensors": sensors.numpy(), **feeds}))
        with torch.no_grad():
            expected, *here = tick(sensors, *here)
        worst = max(worst, float(np.abs(action - expected.numpy()).max()))
        actions.append(action)
    assert worst <= 1e-5
    assert np.std(np.concatenate(actions), axis=0).min() > 1e-3
