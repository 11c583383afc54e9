"""Attention over a window, with a span per layer, so that windows share their work."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robodistill_deploy.errors import SpecError
from robodistill_policies.config import EncoderConfig, check_sizes
from robodistill_policies.encoders.window import WindowEncoder
from robodistill_policies.mlp import activation, linear


@dataclass(frozen=True)
class TransformerParams:
    """Depth and heads; the widths are ``encoder.hidden``."""

    layers: int = 2
    """Attention layers, >= 1; history - 1 must be a multiple of it."""
    heads: int = 4
    """Attention heads, >= 1; the width must be a multiple of it."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_sizes("encoder.params.layers", (self.layers,))
        check_sizes("encoder.params.heads", (self.heads,))


class TransformerEncoder(WindowEncoder):
    """``hidden`` = (width, feed-forward width). Each layer attends to the last ``span`` steps of the one below.

    With history = layers * (span - 1) + 1 the newest token sees exactly the window, and no token depends on
    which window it is computed for (causal sliding-window attention, Beltagy et al. 2020). Order comes from a
    learned bias per head and age, which begins as the slopes of ALiBi (Press et al. 2022).
    """

    Params = TransformerParams
    params: TransformerParams

    def __init__(self, config: EncoderConfig, input_dim: int) -> None:
        """Make the layers; the history must be one that the layers' spans add up to."""
        super().__init__(config, input_dim)
        params = self.params
        if len(config.hidden) != 2:
            raise SpecError(f"encoder.hidden: give [width, feed-forward width], got {list(config.hidden)}")
        width, inner = config.hidden
        if width % params.heads:
            raise SpecError(f"encoder.hidden: width {width} is no multiple of {params.heads} heads")
        steps_over = (config.history - 1) % params.layers
        if steps_over:
            low = config.history - steps_over
            raise SpecError(
                f"encoder.history: {config.history} - 1 is no multiple of {params.layers} layers; "
                f"use {low} or {low + params.layers}"
            )
        span = (config.history - 1) // params.layers + 1
        self.embed = linear(input_dim, width, 1.0)
        self.blocks = nn.Sequential(
            *(Block(width, inner, params.heads, span, config.activation) for _ in range(params.layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = linear(width, self.out_dim, 1.0)

    def encode(self, lines: Tensor) -> Tensor:
        """Return features (M, L - history + 1, out_dim) of every window in lines (M, L, input_dim)."""
        return self.head(self.norm(self.blocks(self.embed(lines))))


class Block(nn.Module):
    """Attention to the last ``span`` tokens and a feed-forward layer, normalised before each."""

    def __init__(self, width: int, inner: int, heads: int, span: int, act: str) -> None:
        """Make the layers."""
        super().__init__()
        self.heads, self.span = heads, span
        self.norm_attention = nn.LayerNorm(width)
        self.query = linear(width, width, 1.0)
        self.key_value = linear(width, 2 * width, 1.0)
        self.mix = linear(width, width, 0.5)
        self.norm_forward = nn.LayerNorm(width)
        self.forward_net = nn.Sequential(
            linear(width, inner, 1.0), activation(act), linear(inner, width, 0.5)
        )
        slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
        self.age_bias = nn.Parameter(-slopes.unsqueeze(1) * torch.arange(span))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens (M, L - span + 1, width) that have a whole span of tokens (M, L, width)."""
        normal = self.norm_attention(tokens)
        query = self._split(self.query(normal[:, self.span - 1 :]))
        key, value = (self._split(part) for part in self.key_value(normal).chunk(2, dim=-1))
        bias = self._bias(query.shape[2], tokens.device)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        tokens = tokens[:, self.span - 1 :] + self.mix(seen.transpose(1, 2).flatten(2))
        return tokens + self.forward_net(self.norm_forward(tokens))

    def _split(self, x: Tensor) -> Tensor:
        """(M, L, width) -> (M, heads, L, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _bias(self, queries: int, device: torch.device) -> Tensor:
        """Return what is added to the scores (heads, queries, queries + span - 1): -inf outside the span."""
        newest = torch.arange(queries, device=device).unsqueeze(1) + self.span - 1
        age = newest - torch.arange(queries + self.span - 1, device=device)
        outside = (age < 0) | (age >= self.span)
        return self.age_bias[:, age.clamp(0, self.span - 1)].masked_fill(outside, float("-inf"))
