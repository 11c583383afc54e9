"""What a user can get wrong in a configuration is one line that names the field and the fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from robodistill_deploy.codec import from_plain, to_plain
from robodistill_deploy.errors import RobodistillError
from robodistill_policies.config import EncoderConfig, PolicyConfig
from robodistill_policies.encoders.base import build_encoder
from robodistill_policies.policy import Policy

PATH = "robodistill_policies.encoders."


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EncoderConfig(hidden=(64, 0)), "encoder.hidden: 0 is out of range"),
        (lambda: EncoderConfig(out_dim=-1), "encoder.out_dim: -1 is out of range"),
        (lambda: PolicyConfig(encoder=EncoderConfig(out_dim=0)), "encoder.out_dim: 0 is out of range; use at least 1"),
        (lambda: PolicyConfig(estimates=("privileged",)), "policy.estimates: without an encoder"),
        (lambda: EncoderConfig(history=0), "encoder.history: 0 is out of range"),
        (lambda: EncoderConfig(activation="elo"), "encoder.activation: .*did you mean 'elu'"),
        (lambda: PolicyConfig(groups=()), "policy.groups"),
        (lambda: PolicyConfig(actor_hidden=(-3,)), "policy.actor_hidden: -3"),
        (lambda: PolicyConfig(activation="gelo"), "policy.activation"),
        (lambda: PolicyConfig(latent_norm="tahn"), "policy.latent_norm: .*did you mean 'tanh'"),  # pyright: ignore[reportArgumentType]
        (lambda: PolicyConfig(init_std=3.0, max_std=2.0), "min_std <= init_std <= max_std"),
        (lambda: PolicyConfig(min_std=0.0), "0 < min_std"),
    ],
)
def test_a_value_out_of_range_is_named(make: Callable[[], object], message: str):
    with pytest.raises(RobodistillError, match=message):
        make()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": PATH + "gru:GRUEncodr"}, "did you mean 'GRUEncoder'"),
        ({"type": PATH + "gruu:GRUEncoder"}, "did you mean 'gru'"),
        ({"type": "robodistill_policies.mlp:mlp"}, "mlp does not derive from .*Encoder"),
        ({"type": PATH + "gru:GRUEncoder", "hidden": ()}, "encoder.hidden"),
        (
            {"type": PATH + "gru:GRUEncoder", "params": {"layers": 2}},
            "encoder.params: unknown field 'layers'",
        ),
        ({"type": PATH + "tcn:TCNEncoder", "history": 50}, "50 does not fit the strides; use 48 or 52"),
        ({"type": PATH + "tcn:TCNEncoder", "history": 7}, "7 does not fit the strides; use 40 or 44"),
        ({"type": PATH + "tcn:TCNEncoder", "params": {"kernels": [3]}}, "1 kernels and 3 strides"),
        ({"type": PATH + "tcn:TCNEncoder", "params": {"kernel": [3]}}, "did you mean 'kernels'"),
        ({"type": PATH + "transformer:TransformerEncoder", "hidden": (64,)}, "feed-forward width"),
        (
            {"type": PATH + "transformer:TransformerEncoder", "hidden": (30, 8)},
            "30 is no multiple of 4 heads",
        ),
        ({"type": PATH + "transformer:TransformerEncoder", "history": 8}, "use 7 or 9"),
    ],
)
def test_an_encoder_that_cannot_be_built_says_why(fields: dict[str, Any], message: str):
    with pytest.raises(RobodistillError, match=message):
        build_encoder(EncoderConfig(groups=("sensors",), **fields), 5)


def test_a_configuration_survives_json_and_builds_the_same_network(kind: EncoderConfig):
    config = PolicyConfig(encoder=kind)
    read = from_plain(PolicyConfig, json.loads(json.dumps(to_plain(config))))
    assert read == config
    shapes = [
        {k: v.shape for k, v in Policy(c, {"sensors": 5}, 4).state_dict().items()} for c in (config, read)
    ]
    assert shapes[0] == shapes[1]


def test_groups_for_no_encoder_and_unknown_groups_are_errors():
    with pytest.raises(RobodistillError, match="NoEncoder reads nothing"):
        Policy(PolicyConfig(encoder=EncoderConfig(groups=("sensors",))), {"sensors": 5}, 4)
    with pytest.raises(RobodistillError, match="did you mean 'sensors'"):
        Policy(PolicyConfig(groups=("sensor",)), {"sensors": 5}, 4)
    with pytest.raises(RobodistillError, match=r"encoder\.groups"):
        Policy(PolicyConfig(encoder=EncoderConfig(PATH + "mlp:MLPEncoder")), {"sensors": 5}, 4)
