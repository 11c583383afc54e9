"""Counter-based random numbers: a pure function of (seed, world, stream, counter).

A world draws the same numbers whatever the number of worlds beside it, whichever policy drives it
and wherever a run was resumed; two policies evaluated on one seed meet the same disturbances.
The mixing function is the finaliser of SplitMix64 (Steele et al., OOPSLA 2014).
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131
_MIX1 = -4658895280553007687
_MIX2 = -7723592293110705685


def _mix(x: Tensor) -> Tensor:
    """Scramble int64 values; right shifts are made logical by masking the sign bits away."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _MIX1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _MIX2
    return x ^ ((x >> 31) & ((1 << 33) - 1))


class WorldRandom:
    """Random numbers for worlds ``first .. first + num_envs - 1`` of one seed."""

    def __init__(self, seed: int, num_envs: int, device: torch.device | str = "cpu", first: int = 0) -> None:
        worlds = torch.arange(first, first + num_envs, dtype=torch.int64, device=device)
        self._keys = _mix(_mix(worlds * _GOLDEN + seed) + seed)

    def bits(self, stream: str, counter: Tensor, dim: int, ids: Tensor | None = None) -> Tensor:
        """Return (n, dim) scrambled int64; ``counter`` (n,) int64 tells draws of a stream apart."""
        keys = self._keys if ids is None else self._keys[ids]
        lanes = torch.arange(dim, dtype=torch.int64, device=keys.device) + (zlib.crc32(stream.encode()) << 16)
        return _mix(_mix(keys + counter * _GOLDEN).unsqueeze(1) + lanes * _GOLDEN)

    def uniform(self, stream: str, counter: Tensor, dim: int, ids: Tensor | None = None) -> Tensor:
        """Return (n, dim) float32 in [0, 1)."""
        bits = self.bits(stream, counter, dim, ids)
        return ((bits >> 40) & 0xFFFFFF).to(torch.float32) * (1.0 / (1 << 24))

    def normal(self, stream: str, counter: Tensor, dim: int, ids: Tensor | None = None) -> Tensor:
        """Return (n, dim) float32 standard normal numbers (Box-Muller, two per hash)."""
        half = (dim + 1) // 2
        bits = self.bits(stream, counter, half, ids)
        u = (((bits >> 40) & 0xFFFFFF).to(torch.float32) + 1.0) * (1.0 / ((1 << 24) + 1))
        angle = (bits & 0xFFFFFF).to(torch.float32) * (2.0 * math.pi / (1 << 24))
        radius = torch.sqrt(-2.0 * torch.log(u))
        return torch.cat((radius * torch.cos(angle), radius * torch.sin(angle)), dim=1)[:, :dim]
