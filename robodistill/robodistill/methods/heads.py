"""The small network that turns a latent into what it should tell."""

from __future__ import annotations

from torch import Tensor, nn

from robodistill_policies.mlp import mlp


class Head(nn.Module):
    """An MLP on a latent."""

    def __init__(self, inputs: int, outputs: int, hidden: tuple[int, ...]) -> None:
        """Make the layers."""
        super().__init__()
        self.net = mlp(inputs, hidden, outputs, "elu")

    def forward(self, latent: Tensor) -> Tensor:
        """Return (..., outputs) of latents (..., inputs)."""
        return self.net(latent)
