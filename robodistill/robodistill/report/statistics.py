"""Small statistics behind the plots: intervals of rates, bins with equal counts, smoothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """Rows sorted into bins of about equal count."""

    index: NDArray[np.int64]
    """(n,) which bin each row is in"""
    edges: Array
    """(b + 1,)"""

    @property
    def count(self) -> int:
        """Return how many bins there are."""
        return len(self.edges) - 1

    @property
    def centers(self) -> Array:
        """Return the middle of each bin, (b,)."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    @property
    def labels(self) -> list[str]:
        """Return ``low to high`` of each bin, with as many decimals as tell the bins apart."""
        width = float(np.ptp(self.edges)) / max(1, self.count)
        digits = max(0, math.ceil(-math.log10(max(width, 1e-12)))) + (width < 1)
        texts = [f"{edge:.{digits}f}".replace("-", "−") for edge in self.edges + 0.0]
        return [f"{a} to {b}" for a, b in pairwise(texts)]


def equal_count_bins(values: NDArray[Any], count: int) -> Bins | None:
    """Sort ``values`` (n,) into ``count`` bins of about equal count; None when they do not vary or are not finite."""
    data = np.asarray(values, np.float64)
    if (
        data.size < 2
        or not np.isfinite(data).all()
        or np.ptp(data) < 1e-9 * max(1.0, float(np.abs(data).max()))
    ):
        return None
    edges = np.unique(np.quantile(data, np.linspace(0.0, 1.0, count + 1)))
    index = np.clip(np.searchsorted(edges, data, side="right") - 1, 0, len(edges) - 2)
    return Bins(index.astype(np.int64), edges)


def grouped_ratio(top: NDArray[Any], bottom: NDArray[Any], index: NDArray[np.int64], count: int) -> Array:
    """Return sum(top) / sum(bottom) of each of ``count`` groups, (count,); nan for a group without weight."""
    tops = np.bincount(index, np.asarray(top, np.float64), count)
    bottoms = np.bincount(index, np.asarray(bottom, np.float64), count)
    return np.divide(tops, bottoms, out=np.full(count, np.nan), where=bottoms > 0)


def smooth(values: NDArray[Any], width: int) -> Array:
    """Return the mean over a centred window of ``width`` values, over what is finite and inside; (n,) to (n,)."""
    data = np.asarray(values, np.float64)
    if width <= 1 or data.size == 0:
        return data.copy()
    finite = np.isfinite(data)
    left, right = (width - 1) // 2, width // 2
    totals = np.concatenate(([0.0], np.cumsum(np.where(finite, data, 0.0))))
    counts = np.concatenate(([0], np.cumsum(finite)))
    at = np.arange(data.size)
    low, high = np.maximum(at - left, 0), np.minimum(at + right + 1, data.size)
    number = counts[high] - counts[low]
    mean = np.divide(totals[high] - totals[low], number, out=np.full(data.size, np.nan), where=number > 0)
    return np.where(finite, mean, np.nan)


def thin(count: int, limit: int) -> NDArray[np.int64]:
    """Return the indices of at most ``limit`` of ``count`` rows, evenly spread, the first and the last among them."""
    if count <= limit:
        return np.arange(count)
    return np.unique(np.round(np.linspace(0, count - 1, limit)).astype(np.int64))
