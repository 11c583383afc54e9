"""The price of a Gaussian latent: how much it says about the history that it was made from."""

from __future__ import annotations

from torch import Tensor

from robodistill.methods.targets import gaussian_of
from robodistill.segment import Minibatch


def kl_to_standard_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    """Return KL(N(mean, s^2) || N(0, I)) (...,) [nat], summed over the latent (Kingma and Welling 2014, appendix B)."""
    return 0.5 * ((2.0 * log_std).exp() + mean.square() - 1.0 - 2.0 * log_std).sum(-1)


def compression(batch: Minibatch, *, policy: str) -> Tensor:
    """Return the mean of KL(q(z|h) || N(0, I)) [nat], an upper bound of I(H; Z) (Alemi et al. 2017)."""
    mean, log_std = gaussian_of(batch, policy)
    batch.metrics["latent_std"] = log_std.detach().exp().mean()
    return kl_to_standard_normal(mean, log_std).mean()
