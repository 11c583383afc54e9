"""What a configuration says about networks: frozen, checked when made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from robodistill_deploy.errors import SpecError, unknown
from robodistill_policies.mlp import ACTIVATIONS

LatentNorm = Literal["none", "tanh", "l2", "gaussian"]

LATENT_NORMS = ("none", "tanh", "l2", "gaussian")

HeadKind = Literal["gaussian", "mixture", "experts"]

HEADS = ("gaussian", "mixture", "experts")


@dataclass(frozen=True)
class EncoderConfig:
    """The network that turns observation groups into the latent z."""

    type: str = "robodistill_policies.encoders.none:NoEncoder"
    """The class, as ``package.module:Class``, derived from ``Encoder``."""
    groups: tuple[str, ...] = ()
    """Observation groups that it reads, in order; empty only for NoEncoder."""
    hidden: tuple[int, ...] = (256, 128)
    """Widths of its layers, each >= 1; the encoder's class says which layers these are."""
    out_dim: int = 16
    """Width of the latent without its estimates, >= 1, or 0 if there are any (NoEncoder: always 0)."""
    history: int = 1
    """Steps that a windowed encoder sees, the present one included, >= 1; others ignore it."""
    activation: str = "elu"
    """Between layers: elu, relu, silu or tanh."""
    params: dict[str, Any] = field(default_factory=dict)
    """What only this type of encoder knows: the fields of its ``Params`` dataclass."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_sizes("encoder.hidden", self.hidden)
        check_sizes("encoder.out_dim", (self.out_dim,), least=0)
        check_sizes("encoder.history", (self.history,))
        check_choice("encoder.activation", self.activation, tuple(ACTIVATIONS))


@dataclass(frozen=True)
class PolicyConfig:
    """A policy: mean = actor([normalised groups, encoder's latent]), std learned per action."""

    groups: tuple[str, ...] = ("sensors",)
    """Observation groups that the actor reads directly, in order."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """Where the latent comes from."""
    actor_hidden: tuple[int, ...] = (256, 128)
    """Widths of the actor's hidden layers."""
    activation: str = "elu"
    """Between the actor's layers: elu, relu, silu or tanh."""
    init_std: float = 1.0
    """Standard deviation of the raw action at the start, in [min_std, max_std]."""
    min_std: float = 0.05
    """Lower bound of the standard deviation, > 0."""
    max_std: float = 2.0
    """Upper bound of the standard deviation."""
    latent_norm: LatentNorm = "none"
    """Bounds the latent: none, tanh (each element in +-1), l2 (unit length) or gaussian (sampled while training)."""
    estimates: tuple[str, ...] = ()
    """Groups whose values the first elements of the latent estimate; they widen it, and no bound holds for them."""
    head: HeadKind = "gaussian"
    """The actor: gaussian (one MLP), mixture (of Gaussians; the likeliest one acts) or experts (MLPs under a gate)."""
    components: int = 4
    """Gaussians or experts of a mixed head, >= 1."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_sizes("encoder.out_dim", (self.encoder.out_dim,), least=0 if self.estimates else 1)
        if self.estimates and not self.encoder.groups:
            raise SpecError("policy.estimates: without an encoder nothing estimates; choose encoder.type")
        if not self.groups and not self.encoder.groups:
            raise SpecError("policy.groups: the policy reads no group; name one, such as 'sensors'")
        check_sizes("policy.actor_hidden", self.actor_hidden)
        check_choice("policy.activation", self.activation, tuple(ACTIVATIONS))
        check_choice("policy.latent_norm", self.latent_norm, LATENT_NORMS)
        check_choice("policy.head", self.head, HEADS)
        check_sizes("policy.components", (self.components,))
        if not 0.0 < self.min_std <= self.init_std <= self.max_std:
            got = f"{self.min_std}, {self.init_std}, {self.max_std}"
            raise SpecError(f"policy: needs 0 < min_std <= init_std <= max_std, got {got}")

    @property
    def reads(self) -> tuple[str, ...]:
        """Return every group that the policy reads, each once."""
        return tuple(dict.fromkeys(self.groups + self.encoder.groups))


def check_sizes(name: str, sizes: tuple[int, ...], least: int = 1) -> None:
    """Refuse a width or length below ``least``."""
    for size in sizes:
        if size < least:
            raise SpecError(f"{name}: {size} is out of range; use at least {least}")


def check_choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    """Refuse a value that is none of the legal ones."""
    if value not in legal:
        raise SpecError(f"{name}: {unknown('value', value, legal)}")
