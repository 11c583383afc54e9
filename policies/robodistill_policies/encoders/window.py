"""Encoders that see the last ``history`` steps: the window is their state."""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill_policies.encoders.base import Encoder, State


class WindowEncoder(Encoder):
    """State: ``history`` (N, history, input_dim), oldest first, and ``filled`` (N, 1), 0 before step one.

    The first step of an episode fills the whole window with its observation. That is decided from ``filled``
    inside ``step``, so training, the exported graph and the robot share it. A subclass defines ``encode``.
    """

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the window and its flag."""
        return {"history": (self.config.history, self.input_dim), "filled": (1,)}

    def encode(self, windows: Tensor) -> Tensor:
        """Return features (B, out_dim) of windows (B, history, input_dim)."""
        raise TypeError(f"{type(self).__name__} must define encode")

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Push x (N, input_dim) into the window and encode it."""
        now = x.unsqueeze(1)
        moved = torch.cat([state["history"][:, 1:], now], dim=1)
        window = torch.where(state["filled"].unsqueeze(-1) > 0, moved, now.expand_as(moved))
        return self.encode(window), {"history": window, "filled": torch.ones_like(state["filled"])}

    def unroll(self, x: Tensor, state: State, resets: Tensor) -> tuple[Tensor, State]:
        """Encode the windows of all T * N steps as one batch."""
        windows = windows_over_time(x, state, resets)
        steps, worlds = x.shape[:2]
        features = self.encode(windows.flatten(0, 1)).view(steps, worlds, -1)
        return features, {"history": windows[-1], "filled": torch.ones_like(state["filled"])}


def windows_over_time(x: Tensor, state: State, resets: Tensor) -> Tensor:
    """Return the window of every step (T, N, history, d) for x (T, N, d).

    A step reaches back to the start of its episode; places before that hold the episode's first observation.
    """
    steps, worlds, width = x.shape
    past = state["history"].transpose(0, 1)[1:]
    line = torch.cat([past, x]).reshape(-1, width)
    before, ages = past.shape[0], torch.arange(past.shape[0] + 1, device=x.device)
    start = episode_starts(resets, state["filled"])
    # Index of the oldest legal row, on the line that begins with the past; 0 where the episode is older.
    oldest = torch.where(start >= 0, start + before, 0)
    rows = torch.arange(steps, device=x.device).view(-1, 1, 1) + ages
    rows = torch.maximum(rows, oldest.unsqueeze(-1))
    index = rows * worlds + torch.arange(worlds, device=x.device).view(1, -1, 1)
    return line.index_select(0, index.flatten()).view(steps, worlds, before + 1, width)


def episode_starts(resets: Tensor, filled: Tensor) -> Tensor:
    """Return, for resets (T, N), the step at which the episode of each step began; -1 if before step 0."""
    times = torch.arange(resets.shape[0], device=resets.device).view(-1, 1)
    begins = resets.clone()
    begins[0] |= filled[:, 0] == 0
    return torch.where(begins, times, -1).cummax(dim=0).values
