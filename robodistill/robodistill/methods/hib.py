"""Historical information bottleneck: a latent that knows the privileged state and little else of the history.

He et al. 2024, "Bridging the Sim-to-Real Gap from the Information Bottleneck Perspective", arXiv 2305.18464, eq. 10:
min -I(Z; S^p) + alpha I(H; Z). No code was published; this form is ours:

    q(z|h) = N(m(h), s(h)^2)     z = m + s eps in training, m on the robot
    L = L_ppo( pi(a|o, z), V(o, s_p) ) + lambda ( L_sim + alpha KL(q || N(0, I)) )

with z not detached in the actor. -I(Z; S^p) is bounded by one of three ``L_sim``:

    decoder   - log N(s_p | W(z), I), up to a constant: cannot collapse
    cosine    - cos(P(z), sg(E_ema(s_p))): E learns from the return (``ground``), never from the cosine
    infonce   - log softmax_j( cos(P(z_i), E(s_p_j)) / tau )_i: other samples keep E apart (van den Oord et al. 2018)

A target that says the same of all worlds makes the cosine perfect and worthless, so its spread is watched.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robodistill.methods.heads import Head
from robodistill.methods.targets import group
from robodistill.segment import Minibatch
from robodistill_policies.mlp import mlp

COLLAPSED = 0.1
"""Spread of the target below which it says too little; an isotropic one has 1."""


class Embedding(nn.Module):
    """E(s_p), and the value head by which the return grounds it."""

    def __init__(self, inputs: int, width: int, hidden: tuple[int, ...]) -> None:
        """Make the networks for ``inputs`` privileged numbers and embeddings of ``width``."""
        super().__init__()
        self.online = mlp(inputs, hidden, width, "elu")
        self.value = mlp(width, (), 1, "elu")

    def forward(self, privileged: Tensor) -> Tensor:
        """Return embeddings (..., width) of privileged numbers (..., inputs)."""
        return self.online(privileged)


def spread(embedding: Tensor) -> Tensor:
    """Return the deviation over the batch of unit vectors (..., d), mean over d, times sqrt(d): in [0, 1]."""
    unit = F.normalize(embedding, dim=-1).flatten(0, -2)
    return unit.std(0, correction=0).square().mean().sqrt() * unit.shape[-1] ** 0.5


def _watch(batch: Minibatch, embedding: Tensor) -> None:
    with torch.no_grad():
        batch.metrics["target_spread"] = spread(embedding)
        batch.metrics["target_collapsed"] = (batch.metrics["target_spread"] < COLLAPSED).float()


def decoded(batch: Minibatch, *, policy: str, decoder: str, critic: str, of: str = "privileged") -> Tensor:
    """Return -log N(s_p | W(z), I) without its constant: half the squared error, summed over s_p, mean over steps."""
    target = group(batch, critic, of)
    error = batch.module(decoder, Head)(batch.output(policy).latent) - target
    with torch.no_grad():
        batch.metrics["decoded_r2"] = 1.0 - error.square().mean() / target.flatten(0, -2).var(0).mean().clamp_min(1e-8)
    return 0.5 * error.square().sum(-1).mean()


def cosine(
    batch: Minibatch, *, policy: str, projector: str, target: str, critic: str, of: str = "privileged"
) -> Tensor:
    """Return 1 - cos(P(z), E_ema(s_p)), mean over steps; ``target``, the slow copy of E, gets no gradient."""
    with torch.no_grad():
        wanted = batch.module(target, Embedding)(group(batch, critic, of))
    _watch(batch, wanted)
    projected = batch.module(projector, Head)(batch.output(policy).latent)
    return 1.0 - F.cosine_similarity(projected, wanted, dim=-1).mean()


def ground(batch: Minibatch, *, embedding: str, critic: str, of: str = "privileged") -> Tensor:
    """Return the squared error of the return as told from E(s_p), in deviations of the batch: what trains E."""
    network = batch.module(embedding, Embedding)
    returns = batch["return"]
    target = (returns - returns.mean()) / (returns.std() + 1e-6)
    return F.mse_loss(network.value(network(group(batch, critic, of))).squeeze(-1), target)


def infonce(
    batch: Minibatch, *, policy: str, projector: str, embedding: str, critic: str, temperature: float = 0.1,
    of: str = "privileged", most: int = 512,
) -> Tensor:  # fmt: skip
    """Return the cross-entropy of finding each step's privileged state among those of up to ``most`` steps."""
    ours = batch.module(projector, Head)(batch.output(policy).latent).flatten(0, -2)
    theirs = batch.module(embedding, Embedding)(group(batch, critic, of)).flatten(0, -2)
    # evenly from the whole minibatch: steps of one world stay among each other's negatives
    stride = -(-len(ours) // most)
    ours, theirs = ours[::stride], theirs[::stride]
    _watch(batch, theirs)
    logits = F.normalize(ours, dim=-1) @ F.normalize(theirs, dim=-1).t() / temperature
    return F.cross_entropy(logits, torch.arange(len(logits)))
