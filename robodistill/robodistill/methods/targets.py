"""What latents are compared with: groups of the observation by the critic's statistics, without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill.segment import Minibatch
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy, PolicyOutput


def group(batch: Minibatch, critic: str, name: str, following: bool = False) -> Tensor:
    """Return group ``name`` (..., dim), normalised as ``critic`` sees it; ``following`` is what each step led to."""
    values = batch[f"next_{name}"] if following else batch.obs[name]
    with torch.no_grad():
        return batch.module(critic, Critic).normalised(name, values)


def features_of(policy: str, output: PolicyOutput) -> Tensor:
    """Return what the encoder of ``policy`` gave (..., features)."""
    if output.features is None:
        raise RobodistillError(f"loss: policy {policy!r} has no encoder to train; choose policy.encoder.type")
    return output.features


def gaussian_of(batch: Minibatch, policy: str) -> tuple[Tensor, Tensor]:
    """Return mean and ln s (..., implicit) of the latent of ``policy``, which must have a Gaussian part."""
    network = batch.module(policy, Policy)
    if network.layout.norm != "gaussian":
        raise RobodistillError(
            f"loss: the latent of {policy!r} has norm {network.layout.norm!r}; set policy.latent_norm: gaussian"
        )
    return network.layout.gaussian(features_of(policy, batch.output(policy)))


def estimate_of(batch: Minibatch, policy: str) -> Tensor:
    """Return the latent's first elements (..., explicit), which estimate ``policy.estimates``."""
    width = batch.module(policy, Policy).layout.explicit
    if not width:
        raise RobodistillError(f"loss: policy {policy!r} estimates nothing; set policy.estimates: [privileged]")
    return batch.output(policy).latent[..., :width]


def free_of(batch: Minibatch, policy: str) -> Tensor:
    """Return the latent (..., implicit) behind its estimates."""
    return batch.output(policy).latent[..., batch.module(policy, Policy).layout.explicit :]
