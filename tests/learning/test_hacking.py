"""The alarm for teacher hacking: it finds a split of return and error, and keeps quiet over everything else."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from robodistill.agreement import ERROR
from robodistill.hacking import ALARM, HackingWatch, find_split, golden_and_proxy, slope

TOTAL = 200
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def falling(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-3.0 * x)


def rising(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 - np.exp(-5.0 * x)


def turning(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rises until half of the training, then loses a third again."""
    return np.where(x < 0.5, rising(x), rising(np.asarray(0.5)) - 0.7 * (x - 0.5))


def log(golden: Curve, proxy: Curve, seed: int = 0, noise: float = 0.02, total: int = TOTAL) -> list[dict[str, float]]:
    """Return lines whose noise has a memory, as neighbouring iterations share what they learned."""
    generator, x = np.random.default_rng(seed), np.linspace(0.0, 1.0, total)
    shocks = generator.normal(0.0, noise, (2, total))
    for t in range(1, total):
        shocks[:, t] += 0.3 * shocks[:, t - 1]
    returns, errors = 20.0 * (golden(x) + shocks[0]), proxy(x) + 0.2 * shocks[1]
    return [
        {"iteration": t + 1, "episode/return_student": returns[t], "episode/return_teacher": 30.0, ERROR: errors[t]}
        for t in range(total)
    ]


@pytest.mark.parametrize("total", [49, 200, 1000])
def test_a_split_is_found_where_it_is(total: int) -> None:
    found = find_split(log(turning, falling, total=total), total)
    assert found is not None
    assert 0.5 * total < found.last <= total
    assert found.returns[1] < found.returns[0]
    assert found.error[1] < found.error[0]
    assert f"to {found.last} the return fell" in found.text


@pytest.mark.parametrize(
    ("golden", "proxy"),
    [
        (rising, falling),
        (turning, rising),  # both get worse: a training that breaks down, no hacking
        (rising, rising),
        (lambda x: 0.5 + 0.0 * x, falling),
        (lambda x: 1.0 - falling(x) * 0.0 - 1e-3 * x + rising(x), falling),
    ],
)
def test_nothing_is_found_where_nothing_parts(golden: Curve, proxy: Curve) -> None:
    assert find_split(log(golden, proxy), TOTAL) is None


def test_false_alarms_are_rare_where_the_return_stands_still() -> None:
    """The hardest case: the error really falls, so that the return's noise alone decides."""
    alarms = sum(find_split(log(lambda x: 0.0 * x, falling, seed), TOTAL) is not None for seed in range(300))
    assert alarms <= 300 * 0.04


def test_a_curriculum_that_makes_the_task_harder_is_no_hacking() -> None:
    lines = log(turning, falling)
    harder = [{**line, "collect/curriculum": 0.9} for line in lines]
    assert find_split(harder, TOTAL) is None
    assert find_split([{**line, "collect/curriculum": 1.0} for line in lines], TOTAL) is not None


def test_it_warns_once_and_the_log_remembers() -> None:
    watch, warned, said = HackingWatch(TOTAL), [], []
    for line in log(turning, falling):
        warned.append(watch.add(line))
        said.append(watch.figures[ALARM])
    (split,) = (found for found in warned if found)
    assert said == [0.0] * (split.last - 1) + [1.0] * (TOTAL - split.last + 1)
    # a resumed run reads the lines back, and stands where it stood
    again = HackingWatch(TOTAL)
    for line in log(turning, falling)[: split.last]:
        again.add(json.loads(json.dumps(line)))
    assert again.found == split


def test_whose_return_it_is() -> None:
    own = {"episode/return": 3.0, "episode/return_student": 2.0, "episode/return_teacher": 4.0, ERROR: 0.1}
    assert golden_and_proxy(own) == (2.0, 0.1)
    assert golden_and_proxy({"episode/return": 3.0, ERROR: 0.1}) == (3.0, 0.1)
    teacher_only = {"episode/return": 3.0, "policy/action_error_over_sigma": 0.1}
    assert golden_and_proxy(teacher_only) is None  # cloning from the teacher's own episodes: not the student's return
    assert golden_and_proxy({"episode/return": 3.0, "episode/return_teacher": 3.0, ERROR: 0.1}) is None
    assert golden_and_proxy({**own, ERROR: float("nan")}) is None
    assert HackingWatch(TOTAL).figures == {}


def test_slope_by_hand() -> None:
    t, gradient = slope(np.array([0.0, 1.0, 1.0, 2.0]))
    assert gradient == pytest.approx(0.6)
    assert t == pytest.approx(0.6 / np.sqrt(0.2 / 2 / 5))
    assert slope(np.array([3.0, 2.0, 1.0]))[0] < -1e6
    assert slope(np.ones(5)) == (0.0, 0.0)
