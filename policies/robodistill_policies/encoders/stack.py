"""A stack of the last observations through an MLP."""

from __future__ import annotations

from torch import Tensor

from robodistill_policies.config import EncoderConfig
from robodistill_policies.encoders.window import WindowEncoder
from robodistill_policies.mlp import mlp


class StackEncoder(WindowEncoder):
    """Hidden layers of widths ``hidden`` over the flattened window, then a linear layer to ``out_dim``."""

    def __init__(self, config: EncoderConfig, input_dim: int) -> None:
        """Make the layers."""
        super().__init__(config, input_dim)
        self.net = mlp(input_dim * config.history, config.hidden, self.out_dim, config.activation)

    def encode(self, windows: Tensor) -> Tensor:
        """Return features (B, out_dim) of windows (B, history, input_dim)."""
        return self.net(windows.flatten(1))
