"""A memoryless encoder, as a teacher has for privileged state."""

from __future__ import annotations

from torch import Tensor

from robodistill_policies.config import EncoderConfig
from robodistill_policies.encoders.base import Encoder, State
from robodistill_policies.mlp import mlp


class MLPEncoder(Encoder):
    """Hidden layers of widths ``hidden``, then a linear layer to ``out_dim``."""

    def __init__(self, config: EncoderConfig, input_dim: int) -> None:
        """Make the layers."""
        super().__init__(config, input_dim)
        self.net = mlp(input_dim, config.hidden, self.out_dim, config.activation)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return features (N, out_dim); there is no state."""
        return self.net(x), state

    def unroll(self, x: Tensor, state: State, resets: Tensor) -> tuple[Tensor, State]:
        """Return features (T, N, out_dim); there is nothing to reset."""
        return self.net(x), state
