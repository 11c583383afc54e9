"""Minibatches with latents and labels given by hand, for the losses of the methods."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from robodistill.builders import teacher_networks
from robodistill.checkpoint import save_tree
from robodistill.networks import checkpoint_texts
from robodistill.segment import Minibatch
from robodistill.trainer import Trainer
from robodistill_envs.vector import VecEnv
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.critic import Critic
from robodistill_policies.policy import Policy, PolicyOutput

DIMS = {"sensors": 3, "privileged": 2}
Make = Callable[..., Minibatch]


class Given(Minibatch):
    """A minibatch whose policies' outputs are given."""

    given: dict[str, PolicyOutput]

    def output(self, name: str) -> PolicyOutput:
        return self.given[name]


@pytest.fixture
def make_batch() -> Make:
    """Return a builder: latents by policy, in whose place a Gaussian one may give features, and stored tensors."""

    def make(
        latents: dict[str, Tensor], mean: Tensor | None = None, data: dict[str, Tensor] | None = None,
        obs: dict[str, Tensor] | None = None, networks: dict[str, nn.Module] | None = None,
    ) -> Given:  # fmt: skip
        batch = Given(networks or {}, obs or {}, data or {}, drivers=("teacher", "student"))
        batch.given = {}
        for name, features in latents.items():
            network = (networks or {}).get(name)
            latent = network.layout.latent(features) if isinstance(network, Policy) else features
            action = torch.zeros(*latent.shape[:-1], 1) if mean is None else mean
            batch.given[name] = PolicyOutput(action, torch.zeros(1), latent, features)
        return batch

    return make


@pytest.fixture
def gaussian_policy() -> Policy:
    """Return a policy that estimates the privileged group and has a Gaussian latent of width 2 beside it."""
    encoder = EncoderConfig("robodistill_policies.encoders.mlp:MLPEncoder", ("sensors",), (8,), 2)
    return Policy(PolicyConfig(encoder=encoder, latent_norm="gaussian", estimates=("privileged",)), DIMS, 1)


@pytest.fixture
def critic() -> Critic:
    """Return a critic whose statistics are: sensors as they are, privileged with mean 1, 2 and deviation 2, 0.5."""
    critic = Critic(DIMS, (4,))
    critic.normalizer.mean.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0]))
    critic.normalizer.var.copy_(torch.tensor([1.0, 1.0, 1.0, 4.0, 0.25]) - 1e-4)
    return critic


@pytest.fixture(scope="session")
def contract() -> ModuleType:
    """Return ``test_methods.py``, which makes small trainers of any method."""
    path = Path(__file__).parents[1] / "test_methods.py"
    spec = importlib.util.spec_from_file_location("learning_tests_contract", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def trained(contract: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of an untrained teacher of the contract's small run."""
    run = contract.config("ppo", "teacher")
    torch.manual_seed(0)
    env = VecEnv(run.task, contract.WORLDS, seed=0, threads=1)
    trainer = Trainer(run.teacher, env, teacher_networks(run.teacher, env.spec), 0, saved="teacher")
    policy = trainer.networks["teacher"]
    assert isinstance(policy, Policy)
    folder = tmp_path_factory.mktemp("trained") / "last"
    save_tree(folder, trainer.state_dict(), checkpoint_texts(policy, env.spec))
    return folder
