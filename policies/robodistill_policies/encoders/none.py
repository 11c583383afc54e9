"""No latent: the actor sees its groups and nothing else."""

from __future__ import annotations

from torch import Tensor

from robodistill_deploy.errors import SpecError
from robodistill_policies.config import EncoderConfig
from robodistill_policies.encoders.base import Encoder, State


class NoEncoder(Encoder):
    """A latent of width 0."""

    def __init__(self, config: EncoderConfig, input_dim: int) -> None:
        """Refuse groups, which nobody would read."""
        super().__init__(config, input_dim, out_dim=0)
        if config.groups:
            raise SpecError(f"encoder.groups: NoEncoder reads nothing, got {', '.join(config.groups)}")

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return (N, 0) and no state."""
        return x[..., :0], state

    def unroll(self, x: Tensor, state: State, resets: Tensor) -> tuple[Tensor, State]:
        """Return (T, N, 0) and no state."""
        return x[..., :0], state
