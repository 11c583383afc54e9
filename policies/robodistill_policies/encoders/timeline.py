"""Cuts a segment of experience into runs without a reset, so that a window never looks across one."""

from __future__ import annotations

import torch
from torch import Tensor


class Timeline:
    """T steps of N worlds behind the ``past`` steps that a state remembers, with resets between them.

    A *line* is one run of one world: ``past`` steps before its first step, then its steps. Lines that begin
    inside the segment (or whose state was never filled) repeat their first observation as their past. Every
    line has length past + T; what follows its run belongs to the next one and must be left unread.
    """

    def __init__(self, x: Tensor, history: Tensor, filled: Tensor, resets: Tensor) -> None:
        """Take x (T, N, d), history (N, past + 1, d) oldest first, filled (N, 1) and resets (T, N) bool."""
        self.steps, self.worlds, self.width = x.shape
        self.past = history.shape[1] - 1
        # The oldest entry of the window has left it by the first step.
        self._rows = torch.cat([history[:, 1:].transpose(0, 1), x]).reshape(-1, self.width)
        fresh = resets.clone()
        fresh[0] |= filled[:, 0] == 0
        begins = resets.clone()
        begins[0] = True
        self._start, self._world = begins.nonzero(as_tuple=True)
        numbers = torch.zeros_like(resets, dtype=torch.long)
        numbers[self._start, self._world] = torch.arange(len(self._start), device=x.device)
        # Lines are numbered by time, so the latest one to begin has the highest number.
        self.line_of_step = numbers.cummax(dim=0).values
        self._oldest = torch.where(fresh[self._start, self._world], self._start + self.past, 0)

    def lines(self) -> Tensor:
        """Return all lines (M, past + T, d), M = N + number of resets after step 0."""
        offsets = torch.arange(self.past + self.steps, device=self._start.device)
        return self._gather(slice(None), self._start.unsqueeze(1) + offsets)

    def pick(self, outputs: Tensor) -> Tensor:
        """Return (T, N, f) from the lines' outputs (M, T, f), where entry k is of the line's k-th step."""
        times = torch.arange(self.steps, device=self._start.device).unsqueeze(1)
        index = self.line_of_step * self.steps + times - self._start[self.line_of_step]
        picked = outputs.flatten(0, 1).index_select(0, index.flatten())
        return picked.view(self.steps, self.worlds, -1)

    def last_window(self) -> Tensor:
        """Return the window (N, past + 1, d) that the last step saw."""
        times = torch.arange(self.steps - 1, self.steps + self.past, device=self._start.device)
        return self._gather(self.line_of_step[-1], times.expand(self.worlds, -1))

    def _gather(self, lines: Tensor | slice, times: Tensor) -> Tensor:
        """Return the rows of the lines' worlds at ``times`` (lines, k), counted from the start of the past."""
        times = torch.maximum(times, self._oldest[lines].unsqueeze(1)).clamp(max=self.past + self.steps - 1)
        index = times * self.worlds + self._world[lines].unsqueeze(1)
        return self._rows.index_select(0, index.flatten()).view(*index.shape, self.width)
