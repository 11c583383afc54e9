"""Teacher hacking: the imitation error (proxy) still falls while the return (golden) falls as well.

After Tiapkin et al. 2025 (arXiv 2502.02671): a student that keeps coming closer to its teacher and gets worse at the
task is fitting the teacher's mistakes, or the states that it happens to be labelled in.

Decided over a window of a fifth of the training, at every half window: both figures are averaged over blocks, and the
slope over the blocks must be negative in both by a one-sided t-test, at a level that all looks share. Blocks make the
noise of neighbouring iterations nearly independent; a fall of the return must also matter beside what it rose by.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robodistill.agreement import ERROR
from robodistill.evaluation.statistics import t_quantile
from robodistill.networks import STUDENT

ALARM = "alarm/teacher_hacking"
"""Key of the log: 1 from the iteration on at which it was found, 0 before."""
LEVEL = 0.01
"""Chance of a false alarm over a whole training whose return stands still while the error falls."""
WINDOW_SHARE, LEAST_WINDOW, BLOCKS = 0.2, 20, 10
LEAST_FALL = 0.05
"""Share of the range that the return has covered so far; less of a fall is no news."""
_RETURN, _DRIVEN = "episode/return", "episode/return_"
_LOGGED_ERROR = "policy/action_error_over_sigma"

Line = Mapping[str, float]


@dataclass(frozen=True)
class Split:
    """Where proxy and golden metric parted; the figures are the first and the last block of the window."""

    first: int
    """Iteration that the window begins with."""
    last: int
    """Iteration that it ends with, at which this was found."""
    error: tuple[float, float]
    returns: tuple[float, float]

    @property
    def text(self) -> str:
        """Return it in words."""
        (error, error_now), (reached, now) = self.error, self.returns
        return (
            f"from iteration {self.first} to {self.last} the return fell from {reached:.3g} to {now:.3g} while the "
            f"imitation error fell from {error:.3g} to {error_now:.3g}"
        )


def golden_and_proxy(line: Line) -> tuple[float, float] | None:
    """Return the student's own return and its imitation error in a line of the log; None where one is missing."""
    error, own = line.get(ERROR, line.get(_LOGGED_ERROR)), line.get(f"{_DRIVEN}{STUDENT}")
    alone = ERROR in line and not any(key.startswith(_DRIVEN) for key in line)
    if own is None and alone:
        own = line.get(_RETURN)  # the only driver's; with several, this one is a mixture
    if error is None or own is None or not (math.isfinite(error) and math.isfinite(own)):
        return None
    return own, error


class HackingWatch:
    """Reads a training's log line by line; the task must be at its full size to count."""

    def __init__(self, iterations: int) -> None:
        self.window = max(LEAST_WINDOW, round(WINDOW_SHARE * iterations))
        self.looks = max(1, 1 + (iterations - self.window) // (self.window // 2))
        self.found: Split | None = None
        self._iterations: list[int] = []
        self._figures: list[tuple[float, float]] = []

    def add(self, line: Line) -> Split | None:
        """Take in a line with its ``iteration``; return a split when this line is the first to show one."""
        figures = golden_and_proxy(line)
        if figures is None or line.get("collect/curriculum", 1.0) < 1.0:
            return None
        self._iterations.append(int(line["iteration"]))
        self._figures.append(figures)
        beyond = len(self._figures) - self.window
        if self.found is not None or beyond < 0 or beyond % (self.window // 2):
            return None
        self.found = self._look()
        return self.found

    @property
    def figures(self) -> dict[str, float]:
        """Return what the log says of it: nothing as long as there is nothing to judge."""
        return {ALARM: float(self.found is not None)} if self._figures else {}

    def _look(self) -> Split | None:
        every = np.asarray(self._figures)
        window = every[-self.window :]
        blocks = np.stack([block.mean(axis=0) for block in np.array_split(window, BLOCKS)])
        critical = t_quantile(BLOCKS - 2, 1.0 - 2.0 * LEVEL / self.looks)
        (golden, fall), (proxy, _) = (slope(blocks[:, i]) for i in (0, 1))
        earlier = [block.mean() for block in np.array_split(every[:, 0], max(1, BLOCKS * len(every) // self.window))]
        matters = -fall * (BLOCKS - 1) >= LEAST_FALL * float(np.ptp(earlier))
        if golden > -critical or proxy > -critical or not matters:
            return None
        first, last = blocks[0], blocks[-1]
        span = self._iterations[-self.window], self._iterations[-1]
        return Split(*span, (float(first[1]), float(last[1])), (float(first[0]), float(last[0])))


def slope(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return t of the least-squares slope over 0, 1, ... (n - 2 degrees of freedom), and the slope itself."""
    count = len(values)
    x = np.arange(count) - 0.5 * (count - 1)
    gradient = float(x @ values / (x @ x))
    residual = values - values.mean() - gradient * x
    error = math.sqrt(float(residual @ residual) / (count - 2) / float(x @ x))
    scale = np.finfo(np.float64).eps * max(float(np.abs(values).max()), 1e-300)
    return gradient / max(error, scale), gradient


def find_split(lines: Iterable[Line], iterations: int) -> Split | None:
    """Return the first split in a log of a training of so many iterations."""
    watch = HackingWatch(iterations)
    for line in lines:
        if watch.add(line):
            break
    return watch.found
