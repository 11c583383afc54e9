"""Counter-based random numbers: a pure function of (seed, world, stream, counter).

A world draws the same numbers whatever the number of worlds beside it, whichever policy drives it
and wherever a run was resumed; two policies evaluated on one seed meet the same disturbances.
The mixing function is the finaliser of SplitMix64 (Steele et al., OOPSLA 2014).
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = -7046029254386353131
_MIX1 = -4658895280553007687
_MIX2 = -7723592293110705685


Bits = TypeVar("Bits", Tensor, NDArray[np.int64])


def _mix(x: Bits) -> Bits:
    """Scramble int64 values in place; right shifts are made logical by masking the sign bits away."""
    for shift, factor in ((30, _MIX1), (27, _MIX2), (31, 1)):
        high = x >> shift
        high &= (1 << (64 - shift)) - 1
        x ^= high
        if factor != 1:
            x *= factor
    return x


def _hash(counter: Bits, keys: Bits, lanes: Bits) -> Bits:
    """Return (n, dim) scrambled int64 for ``counter`` (n,), ``keys`` (n,) and ``lanes`` (dim,)."""
    return _mix(_mix(counter * _GOLDEN + keys)[:, None] + lanes)


class WorldRandom:
    """Random numbers for worlds ``first .. first + num_envs - 1`` of one seed."""

    def __init__(self, seed: int, num_envs: int, first: int = 0) -> None:
        worlds = torch.arange(first, first + num_envs, dtype=torch.int64)
        self.keys = _mix(_mix(worlds * _GOLDEN + seed) + seed)
        """(n,) int64, all that tells the worlds apart; see ``with_keys``"""
        self._lanes: dict[tuple[tuple[str, int], ...], Tensor] = {}

    def of(self, ids: Tensor) -> WorldRandom:
        """Return the random numbers of worlds ``ids`` alone."""
        return self.with_keys(self.keys.index_select(0, ids))

    def with_keys(self, keys: Tensor) -> WorldRandom:
        """Return the random numbers of the worlds with these ``keys``."""
        made = copy.copy(self)
        made.keys = keys
        return made

    def _lane(self, *streams: tuple[str, int]) -> Tensor:
        """Return what tells the numbers of each (stream, dim) apart, beside each other."""
        if streams not in self._lanes:
            firsts = [(zlib.crc32(stream.encode()) << 16, dim) for stream, dim in streams]
            lanes = [torch.arange(a, a + dim, dtype=torch.int64) for a, dim in firsts]
            self._lanes[streams] = torch.cat(lanes) * _GOLDEN
        return self._lanes[streams]

    def uniform(self, stream: str, counter: Tensor, dim: int) -> Tensor:
        """Return (n, dim) float32 in [0, 1); ``counter`` (n,) int64 tells draws of a stream apart."""
        return self.uniforms({stream: dim}, counter)

    def uniforms(self, dims: Mapping[str, int], counter: Tensor) -> Tensor:
        """Return what ``uniform`` does for each stream and its dim, beside each other, from one pass."""
        keys, lanes = self.keys, self._lane(*dims.items())
        if torch.compiler.is_exporting():  # numpy cannot be traced
            return (_hash(counter, keys, lanes) >> 40).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(1.0 / (1 << 24))
        # numpy: most draws are for a few worlds, and its calls cost a third of torch's
        bits = _hash(counter.numpy(), keys.numpy(), lanes.numpy())
        bits >>= 40
        bits &= 0xFFFFFF
        return torch.from_numpy(bits.astype(np.float32)).mul_(1.0 / (1 << 24))

    def normal(self, stream: str, counter: Tensor, dim: int) -> Tensor:
        """Return (n, dim) float32 standard normal numbers (Box-Muller, two per hash); in torch, to be compiled."""
        half = (dim + 1) // 2
        bits = _hash(counter, self.keys, self._lane((stream, half)))
        u = (bits >> 40).bitwise_and_(0xFFFFFF).to(torch.float32).add_(1.0).mul_(1.0 / ((1 << 24) + 1))
        angle = bits.bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0 * math.pi / (1 << 24))
        radius = u.log_().mul_(-2.0).sqrt_()
        return torch.cat((torch.cos(angle).mul_(radius), angle.sin_().mul_(radius)), dim=1)[:, :dim]
