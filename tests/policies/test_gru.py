"""The GRU against torch's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from robodistill_policies.config import EncoderConfig
from robodistill_policies.encoders.base import Encoder
from robodistill_policies.encoders.gru import GRUEncoder


def test_it_is_the_gru_of_torch(make_encoder: Callable[[EncoderConfig], Encoder]):
    config = EncoderConfig("robodistill_policies.encoders.gru:GRUEncoder", ("sensors",), (12,), 6)
    encoder = make_encoder(config)
    assert isinstance(encoder, GRUEncoder)
    reference = nn.GRU(5, 12).double()
    weights = {"ih": encoder.from_input, "hh": encoder.from_hidden}
    copied = {f"weight_{key}_l0": layer.weight for key, layer in weights.items()}
    reference.load_state_dict({**copied, **{f"bias_{key}_l0": layer.bias for key, layer in weights.items()}})
    x = torch.randn(20, 3, 5, dtype=torch.float64)
    expected, last = reference(x)
    features, state = encoder.unroll(x, encoder.initial_state(3), torch.zeros(20, 3, dtype=torch.bool))
    torch.testing.assert_close(features, encoder.head(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(state["gru"], last[0], rtol=0, atol=1e-12)


def test_it_remembers_longer_than_any_window(make_encoder: Callable[[EncoderConfig], Encoder]):
    config = EncoderConfig("robodistill_policies.encoders.gru:GRUEncoder", ("sensors",), (12,), 6)
    encoder = make_encoder(config)
    x = torch.randn(60, 3, 5, dtype=torch.float64)
    other = x.clone()
    other[0] += 1.0
    resets = torch.zeros(60, 3, dtype=torch.bool)
    found = encoder.unroll(other, encoder.initial_state(3), resets)[0][-1]
    assert not torch.equal(found, encoder.unroll(x, encoder.initial_state(3), resets)[0][-1])
