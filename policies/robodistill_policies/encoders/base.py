"""The contract of an encoder, and the state that it carries from tick to tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from robodistill_deploy.codec import from_plain, to_plain
from robodistill_deploy.errors import SpecError
from robodistill_deploy.resolve import resolve
from robodistill_policies.config import EncoderConfig

State = dict[str, Tensor]
"""What a policy carries from tick to tick: name -> (N, ...). All zeros is the initial state of every kind."""

P = TypeVar("P")


@dataclass(frozen=True)
class NoParams:
    """For encoders without parameters of their own."""


class Encoder(nn.Module):
    """Turns x (N, input_dim) and a state into features (N, out_dim) and the next state.

    ``step`` is the definition; ``unroll`` is the same over time, and a kind may do it faster. A subclass
    defines ``step`` and, where it has a state, ``state_shapes``.
    """

    Params: ClassVar[type[Any]] = NoParams
    """Frozen dataclass, all fields with defaults, that ``config.params`` fills."""

    def __init__(self, config: EncoderConfig, input_dim: int, out_dim: int | None = None) -> None:
        """Remember the widths; a subclass adds layers."""
        super().__init__()
        self.config = config
        self.params: Any = read_params(self.Params, config)
        self.input_dim = input_dim
        self.out_dim = config.out_dim if out_dim is None else out_dim
        if self.out_dim and not config.groups:
            raise SpecError(
                f"encoder.groups: {type(self).__name__} reads no group; name one, such as 'sensors'"
            )

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every state entry for one world."""
        return {}

    def initial_state(self, n: int) -> State:
        """Return the state of ``n`` worlds before their first step: zeros, like the weights."""
        shapes = self.state_shapes()
        return {key: next(self.parameters()).new_zeros(n, *shape) for key, shape in shapes.items()}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return features (N, out_dim) for x (N, input_dim), and the next state."""
        raise TypeError(f"{type(self).__name__} must define step")

    def unroll(self, x: Tensor, state: State, resets: Tensor) -> tuple[Tensor, State]:
        """Return features (T, N, out_dim) for x (T, N, input_dim), and the last state.

        ``resets`` (T, N) bool: where ``resets[t]``, the state starts anew before step t.
        """
        features: list[Tensor] = []
        for t in range(x.shape[0]):
            out, state = self.step(x[t], reset_state(state, resets[t]))
            features.append(out)
        return torch.stack(features), state


def reset_state(state: State, mask: Tensor) -> State:
    """Return ``state`` with the initial state where ``mask`` (N,) bool is true."""
    # masked_fill, not a product: a NaN of the old episode must not pass into the new one.
    return {key: s.masked_fill(mask.view(-1, *(1,) * (s.dim() - 1)), 0.0) for key, s in state.items()}


def read_params(cls: type[P], config: EncoderConfig) -> P:
    """Return ``config.params`` as the dataclass ``cls``; what is missing keeps its default."""
    return from_plain(cls, {**to_plain(cls()), **config.params}, "encoder.params")


def build_encoder(config: EncoderConfig, input_dim: int) -> Encoder:
    """Return the encoder that ``config.type`` names, for inputs of width ``input_dim``."""
    return resolve(config.type, Encoder)(config, input_dim)
