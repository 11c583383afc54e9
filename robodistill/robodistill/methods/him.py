"""Hybrid internal model: history and next observation are given the same prototype (HIMLoco).

Long et al. 2024, arXiv 2312.11460; the swapped prediction is that of SwAV (Caron et al. 2020):

    p = softmax(c . z / tau) over K prototypes c of length one, z of length one, for z_s(h) and for z_t(o')
    q = Sinkhorn(c . z / eps): the same scores with every prototype used equally often, no gradient
    L = mse(v_hat, v) - 1/2 mean_batch sum_k ( q_s log p_t + q_t log p_s )

The published code takes the mean over prototypes as well, which makes the second term K times smaller; here that is
the loss's weight. Neither estimate nor z get a gradient from PPO: its phase does not name the encoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robodistill.methods.targets import free_of, group
from robodistill.segment import Minibatch
from robodistill_policies.mlp import mlp


class Prototypes(nn.Module):
    """Encodes the next observation, and compares latents with K directions."""

    def __init__(self, inputs: int, latent: int, count: int, hidden: tuple[int, ...]) -> None:
        """Make the target network for ``inputs`` numbers, and ``count`` prototypes of width ``latent``."""
        super().__init__()
        self.target = mlp(inputs, hidden, latent, "elu")
        self.directions = nn.Parameter(F.normalize(torch.randn(count, latent), dim=-1))

    def encode(self, following: Tensor) -> Tensor:
        """Return unit latents (B, latent) of next observations (B, inputs)."""
        return F.normalize(self.target(following), dim=-1)

    def forward(self, latent: Tensor) -> Tensor:
        """Return the cosine of unit latents (B, latent) to every prototype, (B, K)."""
        return latent @ F.normalize(self.directions, dim=-1).t()


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Return assignments (B, K): rows sum to 1, columns nearly to B / K (Cuturi 2013; in logarithms)."""
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(0, keepdim=True)
        log_q = log_q - log_q.logsumexp(1, keepdim=True)
    return log_q.exp()


def swapped(source: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of each view's assignment under the other's prediction; scores (B, K)."""
    log_s, log_t = (F.log_softmax(scores / temperature, dim=-1) for scores in (source, target))
    return -0.5 * (sinkhorn(source) * log_t + sinkhorn(target) * log_s).sum(-1).mean()


def contrast(
    batch: Minibatch, *, policy: str, prototypes: str, critic: str, temperature: float = 3.0, of: str = "sensors"
) -> Tensor:
    """Return the swapped prediction loss between the history's latent and the next observation."""
    network = batch.module(prototypes, Prototypes)
    source = network(free_of(batch, policy)).flatten(0, -2)
    target = network(network.encode(group(batch, critic, of, following=True))).flatten(0, -2)
    with torch.no_grad():
        share = F.one_hot(source.argmax(-1), source.shape[-1]).float().mean(0)
        batch.metrics["prototypes_used"] = (share > 0).float().mean()
    return swapped(source, target, temperature)
