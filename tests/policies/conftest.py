"""Every encoder kind, small, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.encoders.base import Encoder, build_encoder
from robodistill_policies.policy import Policy

PATH = "robodistill_policies.encoders."
DIMS = {"sensors": 5, "privileged": 3}
ACTIONS = 4

KINDS = {
    "none": EncoderConfig(),
    "mlp": EncoderConfig(PATH + "mlp:MLPEncoder", ("sensors",), (16,), 6),
    "stack": EncoderConfig(PATH + "stack:StackEncoder", ("sensors",), (16,), 6, history=4),
    "stack_linear": EncoderConfig(PATH + "stack:StackEncoder", ("sensors",), (), 6, history=1),
    "gru": EncoderConfig(PATH + "gru:GRUEncoder", ("sensors",), (12,), 6),
    "gru_head": EncoderConfig(PATH + "gru:GRUEncoder", ("sensors",), (12, 10), 6),
    "tcn": EncoderConfig(
        PATH + "tcn:TCNEncoder",
        ("sensors",),
        (),
        6,
        history=11,
        params={"channels": 8, "kernels": [3, 3, 2], "strides": [2, 2, 1]},
    ),
    "tcn_head": EncoderConfig(
        PATH + "tcn:TCNEncoder",
        ("sensors",),
        (9,),
        6,
        history=12,
        params={"channels": 8, "kernels": [4, 2], "strides": [2, 1]},
    ),
    "transformer": EncoderConfig(
        PATH + "transformer:TransformerEncoder",
        ("sensors",),
        (16, 24),
        6,
        history=7,
        params={"layers": 2, "heads": 2},
    ),
}


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> EncoderConfig:
    """One of all encoder kinds."""
    return KINDS[request.param]


@pytest.fixture(params=[name for name, config in KINDS.items() if config.history > 1])
def window_kind(request: pytest.FixtureRequest) -> EncoderConfig:
    """One of the kinds with a window of several steps."""
    return KINDS[request.param]


@pytest.fixture
def make_encoder() -> Callable[[EncoderConfig], Encoder]:
    """Return a builder of encoders in float64 whose biases are not zero."""

    def make(config: EncoderConfig) -> Encoder:
        encoder = build_encoder(config, DIMS["sensors"]).double()
        for parameter in encoder.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
        return encoder

    return make


@pytest.fixture
def make_policy() -> Callable[..., Policy]:
    """Return a builder of policies whose action depends visibly on everything."""

    def make(encoder: EncoderConfig, **fields: object) -> Policy:
        config = PolicyConfig(encoder=encoder, actor_hidden=(16,), **fields)  # pyright: ignore[reportArgumentType]
        policy = Policy(config, DIMS, ACTIONS)
        for parameter in policy.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
        policy.update_normalizer({g: 3.0 + 2.0 * torch.randn(64, DIMS[g]) for g in config.reads})
        return policy

    return make
