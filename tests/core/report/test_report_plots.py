"""The plots behind the report: statistics against their definitions, figures against their data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robodistill.evaluation.statistics import wilson
from robodistill.report.plots import curves, errors, falls, latent, pairs, tracking
from robodistill.report.plots.base import duration, heading, numbers
from robodistill.report.statistics import equal_count_bins, grouped_ratio, smooth, thin
from robodistill.report.verdicts import Estimate, estimate, judge

finite = st.floats(-1e3, 1e3)
few = settings(deadline=None, max_examples=40)  # the machine may be busy training


# -- statistics -------------------------------------------------------------------------------------------------


def test_wilson_against_published_values() -> None:
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    table = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (k, n), expected in table.items():
        assert wilson(k, n)[1:] == pytest.approx(expected, abs=5e-5)
    assert all(math.isnan(v) for v in wilson(0, 0))


@few
@given(st.integers(1, 500), st.data())
def test_wilson_is_symmetric_and_contains_the_share(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    share, low, high = wilson(k, n)
    assert 0 <= low <= share + 1e-12 <= high + 2e-12 <= 1 + 3e-12
    assert wilson(n - k, n) == pytest.approx((1 - share, 1 - high, 1 - low), abs=1e-12)


@few
@given(st.lists(finite, min_size=2, max_size=80), st.integers(1, 8))
def test_bins_are_a_partition_inside_their_edges(values: list[float], count: int) -> None:
    data = np.array(values)
    bins = equal_count_bins(data, count)
    if bins is None:
        assert np.ptp(data) < 1e-6
        return
    assert 1 <= bins.count <= count
    assert (data >= bins.edges[bins.index]).all()
    assert (data <= bins.edges[bins.index + 1]).all()
    if len(np.unique(data)) == len(data) > 2 * count:
        sizes = np.bincount(bins.index, minlength=bins.count)
        assert sizes.max() - sizes.min() <= 2


def test_bin_labels_tell_the_bins_apart() -> None:
    bins = equal_count_bins(np.linspace(-0.05, 0.05, 61), 5)
    assert bins is not None
    assert bins.labels[0] == "−0.050 to −0.030"
    assert len(set(bins.labels)) == 5


@few
@given(st.lists(finite | st.just(math.nan), max_size=40), st.integers(1, 9))
def test_smooth_is_the_mean_of_the_window(values: list[float], width: int) -> None:
    data = np.array(values)
    found = smooth(data, width)
    for i, value in enumerate(values):
        window = data[max(0, i - (width - 1) // 2) : i + width // 2 + 1]
        expected = np.nan if math.isnan(value) else np.nanmean(window)
        np.testing.assert_allclose(found[i], expected, atol=1e-9)


def test_thin_keeps_the_ends() -> None:
    assert thin(3, 10).tolist() == [0, 1, 2]
    kept = thin(10_000, 100)
    assert len(kept) == 100
    assert (kept[0], kept[-1]) == (0, 9_999)


def test_grouped_ratio_is_sum_over_sum() -> None:
    top, bottom, index = np.array([1.0, 2.0, 9.0]), np.array([1.0, 3.0, 0.0]), np.array([0, 0, 1])
    np.testing.assert_allclose(grouped_ratio(top, bottom, index, 3), [0.75, np.nan, np.nan])


# -- claims -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "mean", "high", "at_least", "state"),
    [
        (0.94, 0.95, 0.96, True, "holds"),
        (0.92, 0.95, 0.98, True, "open"),
        (0.90, 0.91, 0.94, True, "fails"),
        (0.90, 0.91, 0.92, False, "holds"),
        (0.90, 0.92, 0.94, False, "open"),
        (0.92, 0.94, 0.96, False, "fails"),
        (math.nan, 0.95, math.nan, True, "open"),
    ],
)
def test_a_claim_holds_with_its_whole_interval(
    low: float, mean: float, high: float, at_least: bool, state: str
) -> None:
    assert judge(Estimate(mean, low, high), 0.93, at_least) == state


def test_estimates_show_three_digits_of_the_largest() -> None:
    assert Estimate(0.12, 0.02, 0.22).text == "0.120"
    assert Estimate(0.12, 0.02, 0.22).interval == "0.020 to 0.220"
    assert Estimate(27.63, 27.2, 28.0).interval == "27.2 to 28.0"
    assert Estimate(-5.0, math.nan, math.nan).text == "−5.00"
    assert Estimate(0.0, 0.0, 0.0).text == "0"
    assert Estimate(-5.0, math.nan, math.nan).interval == ""
    assert estimate({"mean": None}) is None
    assert estimate({"mean": 1.0, "unit": "1"}) == pytest.approx(
        Estimate(1.0, math.nan, math.nan, ""), nan_ok=True
    )


# -- figures ----------------------------------------------------------------------------------------------------


def test_small_words() -> None:
    assert [duration(s) for s in (4.04, 59.6, 725, 7384, math.nan)] == [
        "4.0 s",
        "1 min 0 s",
        "12 min 5 s",
        "2 h 3 min",
        "-",
    ]
    assert heading("yaw_rate_rmse") == "Yaw rate RMSE"
    assert numbers([1 / 3, math.nan, math.inf, None], 3) == [0.333, None, None, None]


def test_curves_skip_gaps_and_tell_wall_time() -> None:
    lines = [
        {"env_steps": 100 * i, "wall_s": 30.0 * i, "loss/x": None if i == 2 else float(i)} for i in range(4)
    ]
    (trace,) = curves.curve_traces(lines, "loss/x", "x", "#000000")
    assert trace["x"] == [0, 100, 300]
    assert trace["y"] == [0, 1, 3]
    assert trace["customdata"] == ["0.0 s", "30 s", "1 min 30 s"]
    assert curves.keys([*lines, {"loss/y": math.nan}], "loss/") == ["loss/x"]
    assert curves.metric_curves({"a": lines}, "loss/y") is None
    many = [{"env_steps": i, "wall_s": i, "k": i} for i in range(5000)]
    assert [len(t["x"]) for t in curves.curve_traces(many, "k", "k", "#000000")] == [curves.POINTS] * 2


def test_a_spike_does_not_hide_the_rest() -> None:
    calm = [1 + 0.01 * i for i in range(100)]
    assert curves.visible_range(calm) is None
    assert curves.visible_range([50.0, *calm]) == pytest.approx((0.87, 2.13), abs=0.03)
    assert curves.visible_range([0.0] * 50 + [9.0]) is None  # nothing to hide


def test_pushes_are_where_speed_jumps_up() -> None:
    push = np.zeros((50, 2))
    push[10:, 0] = 0.6 * 0.8 ** np.arange(40)
    push[30:, 1] = 0.5 * 0.8 ** np.arange(20)
    push[49] = 0.05  # too weak to mark
    found = tracking.push_times(push, dt=0.1)
    assert [round(t, 6) for t, _ in found] == [1.0, 3.0]
    assert [speed for _, speed in found] == pytest.approx([0.6, 0.5], abs=0.01)


def recorded() -> dict[str, Any]:
    """One episode of 20 ticks in which the student falls at tick 12 and the command changes at tick 8."""
    command = np.zeros((1, 20, 2))
    command[:, 8:, 0] = 1.0
    alive = np.ones((1, 20), bool)
    alive[:, 12:] = False
    return {
        "teacher.qpos": np.zeros((1, 20, 3)), "student.qpos": np.zeros((1, 20, 3)), "student.alive": alive,
        "teacher.command": command, "student.command": 7 + command,
        "teacher.truth": command * 0.9, "student.truth": command * 0.8,
    }  # fmt: skip


def test_tracking_ends_where_the_robot_falls() -> None:
    plot = tracking.tracking_figure(recorded(), 0, ["vx", "yaw_rate"], ["m/s"], dt=0.5)
    assert plot is not None
    traces = {(t["name"], t["yaxis"]): t for t in plot["data"]}
    assert len(traces) == 6
    assert traces["Command", "y"]["x"] == [0, 4, 9.5]  # begin, change, end
    assert traces["Command", "y"]["y"] == [0, 1, 1]  # the teacher's, who stood to the end
    assert len(traces["Student", "y"]["x"]) == 12
    assert len(traces["Teacher", "y2"]["x"]) == 20
    assert plot["layout"]["yaxis"]["title"]["text"] == "vx [m/s]"
    assert plot["layout"]["yaxis2"]["title"]["text"] == "yaw rate"


def test_tasks_without_command_show_positions() -> None:
    data = {name: value for name, value in recorded().items() if "truth" not in name}
    assert tracking.tracking_figure(data, 0, [], [], 0.5) is None
    plot = tracking.joint_figure(data, 0, 0.5, limit=2)
    assert plot is not None
    assert len(plot["data"]) == 4


def test_falls_are_counted_in_their_bins() -> None:
    values = np.arange(60.0)
    fell = values < 5
    plot = falls.falls_by(falls.Factor("friction", "1", values), {"student": fell}, bins=3)
    assert plot is not None
    (trace,) = plot["data"]
    assert trace["y"] == [0.25, 0, 0]
    share, low, high = wilson(5, 20)
    assert trace["error_y"]["array"][0] == pytest.approx(high - share, rel=1e-4)
    assert trace["error_y"]["arrayminus"][0] == pytest.approx(share - low, rel=1e-4)
    assert trace["customdata"][0].startswith("5 of 20 episodes")


def test_returns_by_bin_have_normal_intervals() -> None:
    returns = np.array([1.0, 3.0, 5.0, 5.0])
    plot = falls.return_by(falls.Factor("mass", "kg", np.arange(4.0)), {"student": returns}, bins=2)
    assert plot is not None
    assert plot["data"][0]["y"] == [2, 5]
    half = 1.96 * math.sqrt(2) / math.sqrt(2)  # deviation of (1, 3) over the root of 2
    assert plot["data"][0]["error_y"]["array"] == pytest.approx([half, 0.0], rel=1e-4)
    assert plot["layout"]["xaxis"]["title"]["text"] == "kg"


def test_factors_leave_out_what_stood_still() -> None:
    rng = np.random.default_rng(0)
    table = {
        "parameter.tilt": np.stack([rng.random(9), np.zeros(9)], 1),
        "parameter.gain": rng.random((9, 4)),
        "other": rng.random(9),
    }
    found = {f.name: f for f in falls.factors(table, {"gain": "1"})}
    assert list(found) == ["tilt x", "gain, mean of 4"]
    np.testing.assert_allclose(found["gain, mean of 4"].values, table["parameter.gain"].mean(1))


def test_errors_are_root_of_summed_squares() -> None:
    command = np.array([[[0.0, 1.0], [1.0, 1.0]], [[0.0, 2.0], [1.0, 2.0]]])
    sums = {
        "student.segment.rmse.num": np.array([[4.0, 9.0], [12.0, 0.0]]),
        "student.segment.rmse.den": np.array([[1.0, 1.0], [3.0, 0.0]]),
    }
    data = errors.segments_of(sums, "student", "rmse", rooted=True)
    assert data is not None
    plot = errors.error_by_command(command, 0, {"student": data}, "vx", "m/s", bins=2)
    assert plot is not None
    assert plot["data"][0]["y"] == [2.0, 3.0]
    assert data.total(np.array([[True, False], [True, False]])) == 2.0
    still = np.concatenate((command, np.zeros((1, 2, 2))))
    more = {name: np.concatenate((value, [[1e6, 1e6]])) for name, value in sums.items()}
    again = errors.segments_of(more, "student", "rmse", rooted=True)
    assert again is not None
    same = errors.error_by_command(still, 0, {"student": again}, "vx", "m/s", bins=2)
    assert same == plot  # standing still is left out
    heat = errors.error_heatmap(command, (0, 1), data, ("vx", "vy"), bins=2)
    assert heat is not None
    assert heat["data"][0]["z"] == [[2.0, 3.0], [2.0, None]]  # rows are vy


def test_pairs_are_sorted_by_who_fell() -> None:
    data: dict[str, Any] = {
        "teacher.return": np.array([3.0, 3.0, 1.0]), "student.return": np.array([2.0, 0.5, 3.0]),
        "teacher.fell": np.array([False, False, True]), "student.fell": np.array([False, True, False]),
    }  # fmt: skip
    plot = pairs.paired_scatter(data)
    assert plot is not None
    points = {t["name"]: (t["x"], t["y"]) for t in plot["data"][1:]}
    assert points == {
        "neither fell (1)": ([3], [2]),
        "only the student fell (1)": ([3], [0.5]),
        "only the teacher fell (1)": ([1], [3]),
    }
    histogram = pairs.difference_histogram(data)
    assert histogram is not None
    assert sum(histogram["data"][0]["y"]) == 3
    assert pairs.paired_scatter({"student.return": data["student.return"]}) is None


def test_r2_has_a_dot_per_element_and_clips_what_is_far_below() -> None:
    found = {"push[0]": 0.2, "push[1]": 0.6, "delay": -5.0, "mass": None}
    plot = latent.r2_figure(found, {"push[0]": 0.1, "push[1]": 0.1}, floor=-0.2)
    assert plot is not None
    assert plot["layout"]["yaxis"]["ticktext"] == ["delay", "push"]
    *_, elements, means = plot["data"]
    assert elements["x"] == [0.2, 0.6]
    assert means["x"] == [-0.2, 0.4]
    assert means["customdata"] == ["delay: -5.00", "push: 0.40"]
    assert latent.r2_figure({}, {}) is None
