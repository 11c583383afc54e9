"""Encoders that see the last ``history`` steps: the window is their state."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill_policies.encoders.base import Encoder, State
from robodistill_policies.encoders.timeline import Timeline


class WindowEncoder(Encoder):
    """State: ``history`` (N, history, input_dim), oldest first, and ``filled`` (N, 1), 0 before step one.

    The first step of an episode fills the whole window with its observation. That is decided from ``filled``
    inside ``step``, so training, the exported graph and the robot share it. A subclass defines ``encode``.
    """

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the window and its flag."""
        return {"history": (self.config.history, self.input_dim), "filled": (1,)}

    def encode(self, lines: Tensor) -> Tensor:
        """Return features (M, L - history + 1, out_dim) of every window in lines (M, L, input_dim)."""
        raise TypeError(f"{type(self).__name__} must define encode")

    def encode_window(self, window: Tensor) -> Tensor:
        """Return features (N, out_dim) of one window each (N, history, input_dim)."""
        return self.encode(window).squeeze(1)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Push x (N, input_dim) into the window and encode it."""
        now = x.unsqueeze(1)
        moved = torch.cat([state["history"][:, 1:], now], dim=1)
        window = torch.where(state["filled"].unsqueeze(-1) > 0, moved, now.expand_as(moved))
        return self.encode_window(window), {"history": window, "filled": torch.ones_like(state["filled"])}

    def unroll(self, x: Tensor, state: State, resets: Tensor) -> tuple[Tensor, State]:
        """Encode all runs between resets as one batch, each step's inner features only once."""
        timeline = Timeline(x, state["history"], state["filled"], resets)
        features = timeline.pick(self.encode(timeline.lines()))
        filled = torch.ones_like(state["filled"])
        return features, {"history": timeline.last_window(), "filled": filled}
