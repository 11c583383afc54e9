"""A stack of the last observations through an MLP."""

from __future__ import annotations

from torch import Tensor

from robodistill_policies.config import EncoderConfig
from robodistill_policies.encoders.window import WindowEncoder
from robodistill_policies.mlp import mlp, slide


class StackEncoder(WindowEncoder):
    """Hidden layers of widths ``hidden`` over the flattened window, then a linear layer to ``out_dim``."""

    def __init__(self, config: EncoderConfig, input_dim: int) -> None:
        """Make the layers."""
        super().__init__(config, input_dim)
        self.net = mlp(input_dim * config.history, config.hidden, self.out_dim, config.activation)

    def encode(self, lines: Tensor) -> Tensor:
        """Return features (M, L - history + 1, out_dim) of every window in lines (M, L, input_dim)."""
        taps = self.net.get_parameter("0.weight").unflatten(1, (self.config.history, self.input_dim))
        return slide(self.net, lines.transpose(1, 2), taps.transpose(1, 2))

    def encode_window(self, window: Tensor) -> Tensor:
        """Return features (N, out_dim) of one window each (N, history, input_dim)."""
        return self.net(window.flatten(1))
