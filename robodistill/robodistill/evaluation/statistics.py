"""Bootstrap intervals over paired episodes."""

from __future__ import annotations

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
