"""Comparing runs: variants over seeds, curves on one grid, pairs with a known answer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodistill.evaluation import statistics
from robodistill.report.compare.curves import band, curve, first_reach, on_common_grid
from robodistill.report.compare.figures import spread
from robodistill.report.compare.pairs import Quantity, columns_of, compare_pair, paired_episodes
from robodistill.report.compare.record import pair_as_json
from robodistill.report.compare.variants import Variant, find_runs, group
from robodistill.report.inputs import Inputs
from robodistill.report.verdicts import Estimate
from robodistill_deploy.errors import RobodistillError

E = 200


def inputs(name: str, seed: int = 0, **changed: Any) -> Inputs:
    """Return a run in memory; ``teacher__lr=1`` sets a nested key."""
    config: dict[str, Any] = {
        "run": name, "runs_dir": "runs", "seed": seed, "quiet": seed > 0, "threads": seed, "pipeline": {"reuse": name},
        "task": {"name": "toy", "rewards": [{"name": "alive", "weight": 1.0}]}, "teacher": {"lr": 0.1, "layers": [64]},
    }  # fmt: skip
    for key, value in changed.items():
        *parents, last = key.split("__")
        node = config
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return Inputs(run=Path("runs") / name, config=config)


def evaluated(name: str, seed: int, student: np.ndarray, drawn: np.ndarray, **changed: Any) -> Inputs:
    """Return a run whose student returned ``student`` (E,) in worlds whose parameter was ``drawn`` (E, 1)."""
    zero, teacher = np.zeros(len(student)), np.full(len(student), 10.0)
    means = {"teacher": 10.0, "student": float(student.mean()), "zero_action": 0.0}
    run = inputs(name, seed, **changed)
    run.evaluation.update({
        "seed": 7, "episodes": len(student), "control_dt": 0.02, "score": {"student": {"mean": means["student"] / 10}},
        "policies": {policy: {"return": {"mean": mean}} for policy, mean in means.items()},
    })  # fmt: skip
    run.episodes.update({
        "student.return": student, "teacher.return": teacher, "zero_action.return": zero, "parameter.mass": drawn
    })  # fmt: skip
    return run


# variants


def test_runs_that_differ_only_in_the_seed_are_one_variant() -> None:
    runs = [inputs(f"{kind}_{seed}", seed, teacher__lr=lr) for kind, lr in (("a", 0.1), ("b", 0.2)) for seed in (2, 0)]
    first, second = group(runs)
    assert [run.run.name for run in first.runs] == ["a_0", "a_2"]
    assert (first.name, second.name) == ("teacher.lr=0.1", "teacher.lr=0.2")
    assert second.settings == {"teacher.lr": "0.2"}


def test_entries_of_named_lists_are_keys_and_classes_are_short() -> None:
    runs = [
        inputs("a", task__rewards=[{"name": "alive", "weight": 1.0}], student="some.module:Gru"),
        inputs("b", task__rewards=[{"name": "alive", "weight": 2.0}], student="some.module:Mlp", teacher__decay=0),
    ]
    assert [variant.name for variant in group(runs)] == [
        "task.rewards.alive.weight=1.0, student=Gru, teacher.decay=–",
        "task.rewards.alive.weight=2.0, student=Mlp, teacher.decay=0",
    ]


def test_variants_that_differ_in_many_keys_are_named_by_their_runs() -> None:
    many = {f"student__key{i}": 1 for i in range(5)}
    runs = [inputs("short_0", 0), inputs("short_1", 1), inputs("long_0", 0, **many), inputs("long_1", 1, **many)]
    assert [variant.name for variant in group(runs)] == ["short", "long"]
    assert len(group(runs)[0].settings) == 5
    assert [variant.name for variant in group([inputs("x_1"), inputs("x_2", **many)])] == ["x_1", "x_2"]


def test_a_seed_counts_once_in_a_variant() -> None:
    runs = [inputs("old_0", 0), inputs("old_1", 1), inputs("new_0", 0), inputs("new_1", 1)]
    for run in runs:
        run.provenance["git"] = {"commit": run.run.name[:3]}
    assert [(v.name, len(v.runs)) for v in group(runs)] == [("old", 2), ("new", 2)]
    for run in runs:
        run.provenance.clear()
    assert [(v.name, len(v.runs)) for v in group(runs)] == [(run.run.name, 1) for run in runs]


# curves


def test_a_line_stays_itself_on_any_grid() -> None:
    """Interpolation of y = 3 x + 2 is exact, and the grid is where every curve is known."""
    curves = [(x, 3.0 * x + 2.0) for x in (np.array([0.0, 4.0, 10.0]), np.array([1.0, 2.0, 7.0, 12.0]))]
    found = on_common_grid(curves, 19)
    assert found is not None
    grid, values = found
    assert (grid[0], grid[-1], values.shape) == (1.0, 10.0, (2, 19))
    np.testing.assert_allclose(values, np.stack([3.0 * grid + 2.0] * 2), atol=1e-12)
    # between the points of a parabola it is the chord
    x = np.array([0.0, 2.0])
    chord = on_common_grid([(x, x**2)], 3)
    assert chord is not None
    assert chord[1].tolist() == [[0.0, 2.0, 4.0]]


def test_a_students_curve_is_of_the_episodes_that_it_drove() -> None:
    run = inputs("a")
    own = (math.nan, math.nan, 2.0, 3.0)
    run.metrics["student"] = [
        {"env_steps": 10 * i, "episode/return": 9.0, "episode/return_student": value} for i, value in enumerate(own)
    ]
    run.metrics["teacher"] = [{"env_steps": 10, "wall_s": 1.0, "episode/return": 9.0}]
    found = curve(run, "student", "env_steps")
    assert found is not None
    assert [values.tolist() for values in found] == [[20.0, 30.0], [2.0, 3.0]]
    teacher = curve(run, "teacher", "wall_s")
    assert teacher is not None
    assert teacher[1].tolist() == [9.0]
    assert curve(run, "other", "wall_s") is None


def test_curves_that_never_meet_have_no_band() -> None:
    x = np.array([0.0, 1.0])
    assert on_common_grid([(x, x), (x + 5.0, x)]) is None
    assert band([]) is None


def test_the_band_is_students_interval_at_every_point() -> None:
    x = np.linspace(0.0, 1.0, 5)
    found = band([(x, x + level) for level in (0.0, 1.0, 2.0)], points=3)
    assert found is not None
    np.testing.assert_allclose(found.mean, found.x + 1.0)
    half = 4.302652729749 / math.sqrt(3.0)  # t_(0.975, 2), and a standard deviation of 1
    np.testing.assert_allclose(found.high - found.mean, half)
    np.testing.assert_allclose(found.mean - found.low, half)
    two = band([(x, x), (x, x + 1.0)])
    assert two is not None
    assert np.isnan(two.low).all()


def test_a_level_is_reached_between_two_points() -> None:
    found = np.array([0.0, 10.0, 20.0, 30.0]), np.array([0.0, 4.0, 2.0, 8.0])
    assert first_reach(found, 3.0) == 7.5  # the first time, though it falls below again
    assert first_reach(found, 5.0) == 25.0
    assert first_reach(found, -1.0) == 0.0
    assert first_reach(found, 8.5) == math.inf


# intervals


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.70620474), (2, 4.30265273), (3, 3.18244631), (9, 2.26215716), (100, 1.98397152)]
)
def test_quantiles_of_student_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert statistics.t_quantile(freedom) == pytest.approx(quantile, rel=1e-8)


def test_the_interval_over_seeds_covers_as_it_says_and_a_bootstrap_does_not() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(5.0, 2.0, (4000, 3))
    inside = [low <= 5.0 <= high for low, high in (_ends(statistics.over_seeds(row)) for row in data)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)
    few = [_ends(statistics.bootstrap(statistics.mean, (row,), 200)) for row in data[:500]]
    assert np.mean([low <= 5.0 <= high for low, high in few]) < 0.8


def _ends(interval: statistics.Interval) -> tuple[float, float]:
    ends: Any = interval["ci95"]
    return ends


def test_what_an_interval_is_over_depends_on_the_number_of_seeds() -> None:
    runs = {f"r{i}": Estimate(float(i), i - 0.5, i + 0.5) for i in range(3)}
    three = spread(runs)
    assert three is not None
    assert (three.over, three.estimate.mean) == ("seeds", 1.0)
    assert three.estimate.high == pytest.approx(1.0 + 4.302652729749 / math.sqrt(3.0))
    two = spread({name: runs[name] for name in ("r0", "r2")})
    assert two is not None
    assert (two.over, two.estimate) == ("episodes", Estimate(1.0, 0.5, 1.5))
    cost = spread({"r0": Estimate(3.0, math.nan, math.nan)})
    assert cost is not None
    assert cost.over == ""
    assert spread({}) is None


# pairs


def test_pairs_find_a_small_difference_that_shuffling_hides() -> None:
    """Worlds vary by 5, the variants by exactly 0.5 in each: known answer, and its negative control."""
    rng = np.random.default_rng(1)
    world, noise = rng.normal(0.0, 5.0, E), rng.normal(0.0, 0.1, (2, E))
    before, after = world + noise[0], world + 0.5 + noise[1]
    paired = paired_episodes([(statistics.mean, (before,))], [(statistics.mean, (after,))], 2000)
    low, high = _ends(paired)
    assert low < 0.5 < high
    assert high - low < 4 * 1.96 * 0.1 * math.sqrt(2 / E)
    apart = after[rng.permutation(E)]
    shuffled = paired_episodes([(statistics.mean, (before,))], [(statistics.mean, (apart,))], 2000)
    wide_low, wide_high = _ends(shuffled)
    assert wide_low < 0.0 < wide_high
    assert (wide_high - wide_low) > 20 * (high - low)
    assert shuffled["mean"] == pytest.approx(paired["mean"])


def test_the_same_policy_differs_from_itself_by_zero_whatever_rounding_does() -> None:
    """One teacher shared by several runs of one variant and one of another: a sum of thirds is not one."""
    rng = np.random.default_rng(3)
    columns = (statistics.mean, (rng.normal(20.0, 3.0, E),))
    for count in (3, 5, 7, 11):
        assert paired_episodes([columns] * count, [columns], 200) == {"mean": 0.0, "ci95": [0.0, 0.0]}
    nudged = (statistics.mean, (columns[1][0] + 1e-9,))
    assert paired_episodes([columns] * 3, [nudged], 200)["mean"] == pytest.approx(1e-9, rel=1e-3)


def two_variants(lead: float = 0.5, seeds: int = 3, **changed: Any) -> tuple[Variant, Variant]:
    rng = np.random.default_rng(2)
    drawn, luck = rng.normal(0.0, 2.0, (E, 1)), rng.normal(0.0, 1.0, seeds)
    runs = [
        evaluated(f"{kind}_{seed}", seed, 5 + drawn[:, 0] + luck[seed] + more + rng.normal(0.0, 0.2, E), drawn, **keys)
        for kind, more, keys in (("a", 0.0, {}), ("b", lead, {"teacher__lr": 0.2, **changed})) for seed in range(seeds)
    ]  # fmt: skip
    first, second = group(runs)
    return first, second


def test_variants_are_compared_by_world_and_by_seed() -> None:
    pair = compare_pair(*two_variants())
    assert (pair.refused, pair.shared_seeds) == ("", (0, 1, 2))
    found = {(each.quantity.policy, each.quantity.name): each for each in pair.differences}
    lead = found["student", "return"]
    assert lead.episodes is not None
    assert lead.seeds is not None
    for interval in (lead.episodes, lead.seeds):
        low, high = _ends(interval)
        assert low < 0.5 < high
        assert low > 0.3  # the luck of a seed, of size 1, is in both and cancels
    score = found["student", "score"].episodes
    assert score is not None
    gained: Any = lead.episodes["mean"]
    assert score["mean"] == pytest.approx(gained / 10.0)  # the teacher has 10, the zero action 0
    told = {(q["policy"], q["name"]): q for q in pair_as_json(pair)["quantities"]}
    assert told["teacher", "return"]["seeds"] == {"mean": 0.0, "ci95": [0.0, 0.0], "zero_inside": True}
    assert not told["student", "return"]["seeds"]["zero_inside"]


def test_metrics_come_from_the_sums_of_their_episodes() -> None:
    kinds = {"share": "ratio", "rmse": "root_ratio", "peak": "max"}
    run = inputs("a", task__metrics=[{"name": name, "reduce": how} for name, how in kinds.items()])
    run.evaluation["control_dt"] = 0.5
    run.episodes.update({"student.fell": np.array([True, False]), "student.length": np.array([24, 96])})
    for name in ("share", "rmse", "peak", "rmse_unsettled"):
        sums = {"num": np.array([2.0, 6.0]), "den": np.array([1.0, 1.0])}
        run.episodes.update({f"student.sum.{name}.{key}": value for key, value in sums.items()})

    def value(name: str) -> float:
        found = columns_of(run, Quantity("student", name))
        assert found is not None
        how, columns = found
        return float(how(*columns))

    assert value("share") == 4.0
    assert value("rmse") == value("rmse_unsettled") == 2.0
    assert value("peak") == 4.0
    assert value("falls_per_minute") == 1.0  # one fall in 60 s
    assert columns_of(run, Quantity("student", "other")) is None
    assert columns_of(run, Quantity("teacher", "share")) is None


def test_without_three_seeds_in_common_there_is_no_interval_over_seeds() -> None:
    first, second = two_variants(seeds=2)
    found = {(each.quantity.policy, each.quantity.name): each for each in compare_pair(first, second).differences}
    assert found["student", "return"].seeds is None
    assert found["student", "return"].episodes is not None


def test_pairing_is_refused_where_there_are_no_pairs() -> None:
    def refused(first: Variant, second: Variant) -> str:
        return compare_pair(first, second).refused

    assert refused(*two_variants()) == ""
    first, second = two_variants()
    second.runs[0].evaluation["seed"] = 8
    assert refused(first, second) == "the evaluation seeds differ (7, 8)"
    first, second = two_variants()
    second.runs[0].evaluation["episodes"] = 100
    assert refused(first, second) == "the numbers of episodes differ (100, 200)"
    assert refused(*two_variants(task__episode_s=9.0)) == "the tasks differ (task.episode_s)"
    assert refused(*two_variants(evaluate__settle_s=9.0)) == "evaluate.settle_s differs"
    assert refused(*two_variants(task__teacher_floor=9.0)) == ""  # what counts as good changes no world
    first, second = two_variants()
    second.runs[2].episodes["parameter.mass"] = np.roll(second.runs[2].episodes["parameter.mass"], 1)
    assert "the worlds drawn for the evaluation differ" in refused(first, second)
    first, second = two_variants()
    second.runs[0].episodes.clear()
    assert "episodes.npz is missing" in refused(first, second)
    for run in second.runs:
        run.evaluation.clear()
    assert refused(first, second) == "one of them has no evaluated run"


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "demo").mkdir(parents=True)
        (tmp_path / place / "demo" / "config.yaml").write_text("{}")
    with pytest.raises(RobodistillError, match="two runs are called 'demo'"):
        find_runs([f"{tmp_path}/*/demo"], tmp_path)
