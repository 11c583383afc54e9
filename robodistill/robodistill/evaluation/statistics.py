"""Intervals: bootstrap over paired episodes, Student's t over training seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Interval = dict[str, object]


def bootstrap(
    statistic: Callable[..., Array | float], columns: Sequence[npt.ArrayLike], resamples: int, seed: int = 0
) -> Interval:
    """Return {"mean", "ci95"} of ``statistic(*columns)``; episodes are drawn anew, pairs kept together.

    ``columns`` are (E,) arrays; the statistic is given (E,) or (E, B) arrays and reduces the first axis.
    """
    data = [np.asarray(column, np.float64) for column in columns]
    count = len(data[0])
    rows = np.random.default_rng(seed).integers(0, count, size=(count, resamples))
    draws = np.atleast_1d(np.asarray(statistic(*(column[rows] for column in data)), np.float64))
    finite = draws[np.isfinite(draws)]
    low, high = np.percentile(finite, [2.5, 97.5]) if finite.size else (np.nan, np.nan)
    return {"mean": float(statistic(*data)), "ci95": [float(low), float(high)]}


def mean(values: Array) -> Array | float:
    """Return the mean over episodes."""
    return values.mean(axis=0)


def ratio(top: Array, bottom: Array) -> Array | float:
    """Return sum over sum."""
    return top.sum(axis=0) / np.maximum(bottom.sum(axis=0), 1e-12)


def root_ratio(top: Array, bottom: Array) -> Array | float:
    """Return the root of sum over sum, such as an RMSE from squared errors and counts."""
    return np.sqrt(ratio(top, bottom))


def score(policy: Array, teacher: Array, zero: Array) -> Array | float:
    """Return (R - R_zero) / (R_teacher - R_zero) of mean returns on the same episodes."""
    floor = zero.mean(axis=0)
    return (policy.mean(axis=0) - floor) / (teacher.mean(axis=0) - floor)


MIN_SEEDS = 3
"""Fewer seeds give no interval: of two, Student's t would be 12.7 standard errors wide."""


def over_seeds(values: npt.ArrayLike) -> Interval:
    """Return {"mean", "ci95"} of one figure for each training seed, (S,), by Student's t.

    Not by bootstrap: of three values it knows ten different samples, and its interval is far too narrow.
    """
    data = np.asarray(values, np.float64)
    middle, half = float(data.mean()), float(t_half_width(data))
    return {"mean": middle, "ci95": [middle - half, middle + half]}


def t_half_width(values: npt.ArrayLike) -> Array:
    """Return half of the 95 % interval of the mean over the first axis, (S, ...) to (...).

    t_(0.975, S - 1) s / sqrt(S) (Student 1908); nan for fewer than ``MIN_SEEDS`` rows.
    """
    data = np.asarray(values, np.float64)
    count = len(data)
    if count < MIN_SEEDS:
        return np.full(data.shape[1:], np.nan)
    return t_quantile(count - 1) * data.std(axis=0, ddof=1) / math.sqrt(count)


def t_quantile(freedom: int, coverage: float = 0.95) -> float:
    """Return the t that |T| stays below with probability ``coverage``, for whole degrees of freedom, by bisection."""
    low, high = 0.0, 1.0
    while t_coverage(high, freedom) < coverage:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if t_coverage(middle, freedom) < coverage else (low, middle)
    return 0.5 * (low + high)


def t_coverage(t: float, freedom: int) -> float:
    """Return P(|T| < t) for Student's T, a finite sum (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(freedom // 2):
        total += term
        term *= cosine**2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    return 2.0 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


_Z95 = 1.959964


def wilson(successes: int, trials: int) -> tuple[float, float, float]:
    """Return the share and its 95% Wilson score interval (Wilson 1927, eq. 3); nan without trials."""
    if trials == 0:
        return math.nan, math.nan, math.nan
    share, z2 = successes / trials, _Z95**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return share, max(0.0, middle - half), min(1.0, middle + half)
