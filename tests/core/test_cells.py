"""The benchmark of methods: budgets that are equal, cells that resume, failures that are shown, rows that add up."""

from __future__ import annotations

import inspect
import io
import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robodistill import cli
from robodistill.bench import methods as bench_methods
from robodistill.bench.methods import Settings, variants_of
from robodistill.bench.methods import cells_of as cells_of_variants
from robodistill.cells.page import as_markdown
from robodistill.cells.paired import compare
from robodistill.cells.perform import FAILURE, Job, cell_job, perform, teacher_job
from robodistill.cells.plan import Budget, Cell, methods_of
from robodistill.cells.plan import plan as plan_seeds
from robodistill.cells.plot import MARKED, PLAIN, draw_differences, draw_scores
from robodistill.cells.records import finished, read_records, write_records
from robodistill.cells.table import Row
from robodistill.cells.table import rows_of as rows_of_records
from robodistill.cells.watch import Watch
from robodistill.cells.write import as_csv, write_results
from robodistill.config import compose, groups
from robodistill.losses import is_policy_gradient
from robodistill.settings import RunConfig
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.resolve import resolve

ROOT = Path(__file__).parents[2]
TASK = "cartpole_balance"
SMALL = [
    "task.episode_s=0.4", "evaluate.episodes=8", "evaluate.bootstrap=20",
    *(f"{who}.method.collect.{key}" for who in ("teacher", "student") for key in ("num_envs=8", "steps=8")),
    *(f"{who}.policy.actor_hidden=[8]" for who in ("teacher", "student")),
]  # fmt: skip


def cells_of(settings: Settings) -> list[Cell]:
    return cells_of_variants(settings, (), variants_of(settings, ()))


def plan(method: str, task: str, seed: int, budget: Budget) -> Cell:
    (cell,) = plan_seeds(method, task, (seed,), budget)
    return cell


def config_of(cell: Cell) -> dict[str, Any]:
    return compose(cell.words, RunConfig)


# -- plan --------------------------------------------------------------------------------------


def test_every_method_gets_the_same_steps() -> None:
    """What a teacher took counts for those who need one; the reference teacher is one for all."""
    budget = Budget(steps=1_000_000)
    alone, taught = plan("ppo_dr", TASK, 0, budget), plan("dagger", TASK, 0, budget)
    assert (alone.needs_teacher, taught.needs_teacher) == (False, True)
    one, two = config_of(alone), config_of(taught)
    assert one["student"]["total_steps"] == 1_000_000
    assert two["student"]["total_steps"] + two["teacher"]["total_steps"] == 1_000_000
    assert one["teacher"] == two["teacher"]
    assert alone.teacher == taught.teacher


def test_steps_of_a_stage_among_the_words_count_for_all_alike() -> None:
    """A longer stage of the student is more steps for whoever needs no teacher too."""
    budget = Budget(words=("student.total_steps=700000", "teacher.total_steps=300000"))
    alone, taught = config_of(plan("ppo_dr", TASK, 0, budget)), config_of(plan("dagger", TASK, 0, budget))
    assert alone["student"]["total_steps"] == 1_000_000
    assert (taught["teacher"]["total_steps"], taught["student"]["total_steps"]) == (300_000, 700_000)
    assert alone["teacher"] == taught["teacher"]


def test_without_steps_the_recipe_decides() -> None:
    recipe = compose([f"task={TASK}"], RunConfig)
    whole = recipe["teacher"]["total_steps"] + recipe["student"]["total_steps"]
    assert config_of(plan("ppo_dr", TASK, 0, Budget()))["student"]["total_steps"] == whole
    assert config_of(plan("dagger", TASK, 0, Budget()))["student"]["total_steps"] == recipe["student"]["total_steps"]


def test_reinforcement_learning_has_the_tasks_settings_whoever_learns() -> None:
    words = ("teacher.method.collect.gamma=0.91", "teacher.method.phases.ppo.epochs=7")
    for method in ("ppo_asym", "gpo"):  # each by a surrogate of its own
        own = config_of(plan(method, TASK, 0, Budget(words=words)))["student"]
        assert own["method"]["collect"]["gamma"] == 0.91
        assert own["method"]["phases"]["ppo"]["epochs"] == 7
    assert own["policy"]["init_std"] == config_of(plan("gpo", TASK, 0, Budget()))["teacher"]["policy"]["init_std"]
    untouched = config_of(plan("dagger", TASK, 0, Budget(words=words)))["student"]["method"]
    assert untouched["phases"]["imitate"]["epochs"] == compose(["task=" + TASK])["student"]["method"]["phases"][
        "imitate"
    ]["epochs"]


@pytest.mark.parametrize("method", sorted(groups()["method"]))
def test_losses_that_read_advantages_are_marked_as_policy_gradients(method: str) -> None:
    """An unmarked one leaves its method without the task's settings, and no figure shows it."""
    read = yaml.safe_load(groups()["method"][method].read_text())
    losses = [loss["type"] for phase in read.get("phases", {}).values() for loss in phase.get("losses", {}).values()
              if "type" in loss]  # fmt: skip
    for function in map(resolve, losses):
        assert is_policy_gradient(function) == ('batch["advantage"]' in inspect.getsource(function))


def test_reflections_and_a_squeeze_of_exploration_go_to_whoever_can_use_them() -> None:
    squeeze = "teacher.method.phases.ppo.losses.entropy.final_weight=-0.02"
    words = ("teacher.method.phases.ppo.mirror=0.5", squeeze)
    alone, memory = (config_of(plan(name, TASK, 0, Budget(words=words))) for name in ("ppo_dr", "ppo_history"))
    phases = [config["student"]["method"]["phases"]["ppo"] for config in (alone, memory)]
    assert [phase.get("mirror", 0.0) for phase in phases] == [0.5, 0.0]  # with memory samples are whole worlds
    assert [phase["losses"]["entropy"]["final_weight"] for phase in phases] == [-0.02, -0.02]


EASY = "task.ranges={easy: {practice: true, reset: {joint_position: 0.1}}, hard: {reset: {joint_position: 0.5}}}"
BONUS = 'teacher.method.shape={tall: {type: "robodistill.methods.bonus:approach", weight: 0.5, final_weight: 0.0, params: {group: sensors, element: 0, low: -1.0, high: 1.0}}}'  # noqa: E501


def test_where_training_begins_and_what_helps_it_are_the_tasks_too() -> None:
    words = (EASY, "teacher.method.collect.range=easy", BONUS, "teacher.critic_hidden=[24]")
    config = config_of(plan("ppo_dr", TASK, 0, Budget(words=words)))
    assert config["student"]["method"]["collect"]["range"] == "easy"
    assert config["student"]["critic_hidden"] == [24]
    bonus = config["student"]["method"]["shape"]["tall"]
    assert bonus == config["teacher"]["method"]["shape"]["tall"]
    assert (bonus["type"], bonus["params"]["low"]) == ("robodistill.methods.bonus:approach", -1.0)
    taught = config_of(plan("dagger", TASK, 0, Budget(words=words)))["student"]
    assert taught["method"]["collect"].get("range", "train") == "train"  # imitation practises nothing
    beyond = config_of(plan("dagger_finetune", TASK, 0, Budget(words=words)))["student"]["method"]
    assert not beyond.get("shape")  # whoever imitates a teacher first needs no help to find what it does
    assert config_of(plan("finetune", TASK, 0, Budget(words=words)))["student"]["method"]["shape"]["tall"] == bonus
    assert beyond["collect"]["range"] == "easy"
    assert "shape" not in taught["method"]


def test_a_critic_that_accompanies_imitation_counts_rewards_as_the_recipe_does() -> None:
    """Another critic goes on from it only so; all else of collection stays the method's."""
    words = ("teacher.method.collect.gamma=0.91", "teacher.method.collect.reward_scale=0.3")
    own = config_of(plan("dagger_value", TASK, 0, Budget(words=words)))["student"]["method"]
    plain = compose([f"task={TASK}", "method@student.method=dagger_value"], RunConfig)["student"]["method"]
    assert (own["collect"]["gamma"], own["collect"]["reward_scale"]) == (0.91, 0.3)
    for collect in (own["collect"], plain["collect"]):
        for key in ("gamma", "reward_scale"):
            collect.pop(key, None)
    assert own["collect"] == plain["collect"]


def test_what_is_for_practice_is_not_judged_by_unless_named() -> None:
    ranges = {given: config_of(plan("ppo_dr", TASK, 0, Budget(ranges=given, words=(EASY,))))["evaluate"]["ranges"]
              for given in (None, ("easy",))}  # fmt: skip
    assert ranges == {None: ["hard"], ("easy",): ["easy"]}


def test_exploration_is_the_recipes_where_it_says_so_and_else_the_methods() -> None:
    key = "teacher.method.phases.ppo.losses.entropy"
    for method in ("ppo_dr", "hib", "cts"):
        own = compose(["task=" + TASK, f"method@student.method={method}"])["student"]["method"]["phases"]["ppo"]
        assert own["losses"]["entropy"]["weight"] > 0.0
        for words, wanted in (((f"{key}.weight=0.0",), own["losses"]["entropy"]), ((f"{key}.weight=0.5",), None)):
            found = config_of(plan(method, TASK, 0, Budget(words=words)))["student"]["method"]["phases"]["ppo"]
            if wanted is None:
                wanted = {**own["losses"]["entropy"], "weight": 0.5, "final_weight": None}
            assert found["losses"]["entropy"] == wanted


def test_actions_are_kept_in_bounds_whoever_acts() -> None:
    bounds = 'teacher.method.phases.ppo.losses.bounds={type: "robodistill.losses:action_bounds", weight: 0.5, params: {policy: teacher, limit: 1.0}}'  # noqa: E501
    for method, policy in (("ppo_asym", "student"), ("cts", "teacher")):
        bounded, free = (
            config_of(plan(method, TASK, 0, Budget(words=words)))["student"]["method"]["phases"]["ppo"]["losses"]
            for words in ((bounds,), ())
        )
        wanted = {"type": "robodistill.losses:action_bounds", "weight": 0.5, "params": {"policy": policy, "limit": 1.0}}
        assert bounded["bounds"] == wanted
        assert "bounds" not in free


def test_cells_come_seed_by_seed() -> None:
    cells = cells_of(Settings((TASK, "pendulum_swingup"), methods=("bc", "rma"), seeds=(3, 1)))
    assert [cell.seed for cell in cells] == [3] * 4 + [1] * 4
    assert [(cell.task, cell.method) for cell in cells[:4]] == [
        (task, method) for task in (TASK, "pendulum_swingup") for method in ("bc", "rma")
    ]
    assert [config_of(cell)["seed"] for cell in cells] == [cell.seed for cell in cells]
    assert len({cell.digest for cell in cells}) == len({cell.name for cell in cells}) == 8


def test_a_cell_is_known_by_what_its_figures_depend_on() -> None:
    base = plan("dagger", TASK, 0, Budget())
    assert plan("dagger", TASK, 0, Budget()).name == base.name
    longer = plan("dagger", TASK, 0, Budget(words=("student.total_steps=999999",)))
    assert longer.name != base.name
    assert longer.teacher == base.teacher
    assert plan("dagger", TASK, 0, Budget(words=("teacher.total_steps=9999",))).teacher != base.teacher
    assert plan("dagger", TASK, 1, Budget()).teacher != base.teacher


def test_what_cannot_be_measured_is_named_at_once() -> None:
    for settings, message in (
        (Settings(("cartpole",)), "cartpole_balance"),
        (Settings((TASK,), methods=("dager",)), "did you mean 'dagger'.* pmoe, ppo_asym,"),  # not the teachers' ppo
        (Settings((TASK,), methods=("ppo",)), "trains no student"),
    ):
        with pytest.raises(RobodistillError, match=message):
            cells_of(settings)
    wrong: list[dict[str, Any]] = [{"jobs": 0}, {"steps": -1}, {"seeds": (1, 1)}, {"seeds": ()}]
    for bad in wrong:
        with pytest.raises(RobodistillError, match=r"must differ|must be at least 1"):
            Settings((TASK,), **bad)
    unless_given = methods_of((), groups()["method"])
    assert {"dagger", "ppo_dr", "ppo_asym"} <= set(unless_given)
    assert "ppo" not in unless_given


# -- table -------------------------------------------------------------------------------------


def finish(cell: Cell, folder: Path, score: float, far: float, wall: float = 60.0) -> None:
    """Write what a finished cell leaves behind."""
    path = folder / "cells" / cell.name
    (path / "evaluation").mkdir(parents=True)
    (path / "config.yaml").write_text("provenance: {git: {commit: abc, changed: false}}")
    cost = {"wall_s": wall, "env_steps": 1000}
    (path / "summary.json").write_text(
        json.dumps({"status": "complete", "training": {"teacher": cost, "student": cost}})
    )

    def figures(value: float) -> dict[str, Any]:
        returns = {name: {"return": {"mean": 10.0 * v}} for name, v in (("student", value), ("teacher", 1.0))}
        return {"policies": returns, "score": {"student": {"mean": value}}}

    evaluation = {**figures(score), "ranges": {"far": figures(far)}}
    (path / "evaluation" / "evaluation.json").write_text(json.dumps(evaluation))


def rows_of(cells: list[Cell], folder: Path) -> list[Row]:
    return rows_of_records(cells, finished(cells, folder), folder)


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return [plan(m, TASK, s, Budget(1000)) for s in (0, 1, 2) for m in ("ppo_dr", "dagger")]


def test_rows_have_intervals_over_seeds_ranks_and_the_teachers_cost(cells: list[Cell], tmp_path: Path) -> None:
    for cell in cells:
        finish(cell, tmp_path, {"dagger": 0.9, "ppo_dr": 0.7}[cell.method] + 0.01 * cell.seed, 0.5)
    first, second = rows_of(cells, tmp_path)
    assert (first.label, first.rank, second.label, second.rank) == ("dagger", 1, "ppo_dr", 2)
    score = first.figures["train"]["score"]
    assert score["mean"] == pytest.approx(0.91)
    half = 4.303 * 0.01 / math.sqrt(3)  # Student's t with two degrees of freedom
    assert score["ci95"] == pytest.approx([0.91 - half, 0.91 + half], abs=1e-4)
    assert (first.wall_s, first.env_steps) == (120.0, 2000)  # its teacher's too
    assert (second.wall_s, second.env_steps) == (60.0, 1000)
    table = as_csv([first, second]).splitlines()
    assert len(table) == 1 + 2 * 2
    assert table[0].startswith("task,method,range,rank,mean_rank,seeds,score,score_low,score_high,return")
    page = as_markdown([first, second], {"seeds": "0, 1, 2"}, {})
    (line,) = [line for line in page.splitlines() if line.startswith("| `dagger` | 0.910 (0.885 to 0.935) |")]
    assert line.endswith("| 3 | 1 | 1.2 |")  # first in one range, alike in the other
    assert "train 10" in page
    assert "below the task's floor" not in page
    low = as_markdown([replace(first, floor=10.5), replace(second, floor=10.5)], {}, {})
    assert "With seeds 0, 1, 2 it is below the task's floor of 10.5" in low
    paths = write_results([first, second], tmp_path / "out", {})
    pictures = [f"methods_{TASK}.png", f"methods_{TASK}_differences.png"]
    assert [p.name for p in paths] == ["methods.md", "methods.csv", "methods.json", *pictures]
    assert all(p.stat().st_size > 100 for p in paths)
    assert re.findall(r"!\[.*\]\((.*)\)", paths[0].read_text()) == pictures


def test_a_range_in_which_the_teacher_is_weak_does_not_decide_the_ranks(cells: list[Cell], tmp_path: Path) -> None:
    """Scores of a weak teacher are large, and so would be their mean; places count alike wherever they are made."""
    for cell in cells:
        finish(cell, tmp_path, {"dagger": 0.9, "ppo_dr": 0.8}[cell.method], {"dagger": 0.5, "ppo_dr": 0.6}[cell.method])
    records = finished(cells, tmp_path)
    for cell in cells:
        if cell.seed == 0:
            far = records[cell.name].figures["far"]
            far["score"], far["return"] = {"dagger": (2.0, 6.0), "ppo_dr": (9.0, 6.1)}[cell.method]
        elif cell.seed == 1:
            records[cell.name].figures["far"]["return"] = None
    rows = rows_of_records(cells, records, tmp_path)
    assert {row.label: row.mean_rank for row in rows} == pytest.approx({"dagger": 8.5 / 6, "ppo_dr": 9.5 / 6})


def test_who_fails_is_last_and_equals_share_a_rank(cells: list[Cell], tmp_path: Path) -> None:
    """Leaving out what failed would lift whoever fails where it is bad."""
    for cell in cells:
        finish(cell, tmp_path, {"dagger": 0.9, "ppo_dr": 0.8}[cell.method], 0.5)
    records = finished(cells, tmp_path)
    both = rows_of_records(cells, records, tmp_path)
    for cell in cells:
        if cell.method == "dagger" and cell.seed:
            del records[cell.name]
            (tmp_path / "cells" / cell.name / FAILURE).write_text(json.dumps({"code": 2, "reason": "not finite"}))
    failing = rows_of_records(cells, records, tmp_path)
    waiting = rows_of_records(cells, records, tmp_path / "elsewhere")
    assert [(row.label, row.rank) for row in both] == [("dagger", 1), ("ppo_dr", 2)]
    assert [(row.label, row.rank) for row in failing] == [("ppo_dr", 1), ("dagger", 2)]
    assert [(row.label, row.rank) for row in waiting] == [("ppo_dr", 1), ("dagger", 1)]  # 1.25 both


def test_differences_are_paired_by_seed(cells: list[Cell], tmp_path: Path) -> None:
    """Seeds differ by far more than methods do: only seed by seed the difference is seen."""
    for cell in cells:
        noise = 0.3 * cell.seed
        finish(cell, tmp_path, {"dagger": 0.9, "ppo_dr": 0.8}[cell.method] + noise, 0.5 + noise)
    records = finished(cells, tmp_path)
    first, second = rows_of_records(cells, records, tmp_path)
    assert first.label == "dagger"
    found = compare([first, second])
    assert found is not None
    assert (found.to, list(found.by_label), found.ranges) == ("dagger", ["ppo_dr"], ["train", "far"])
    train = found.by_label["ppo_dr"]["train"]
    assert train["mean"] == pytest.approx(-0.1)
    assert train["ci95"] == pytest.approx([-0.1, -0.1])
    assert train["each"] == pytest.approx({0: -0.1, 1: -0.1, 2: -0.1})
    page = as_markdown([first, second], {}, {TASK: found})
    assert "### Differences to `dagger`" in page
    assert "1 of 2. Chance alone would make about 0.1 bold if nothing differed from `dagger`." in page
    assert "| `ppo_dr` | **-0.100 (-0.100 to -0.100)** | +0.000 (+0.000 to +0.000) |" in page
    other = compare([first, second], against="ppo_dr")
    assert other is not None
    assert "| `dagger` | **+0.100" in as_markdown([first, second], {}, {TASK: other})


def test_rows_are_compared_where_they_can_be(cells: list[Cell], tmp_path: Path) -> None:
    """With three seeds or more, of the same teachers; a seed that one of them lacks does not part them."""
    for cell in cells:
        finish(cell, tmp_path, 0.9, 0.5)
    fourth = plan("ppo_dr", TASK, 3, Budget(1000))
    records = {**finished(cells, tmp_path), fourth.name: replace(finished(cells, tmp_path)[cells[0].name])}
    figures = records[cells[0].name].figures
    records[fourth.name] = replace(
        records[fourth.name], figures={k: {**v, "teacher_return": 20.0} for k, v in figures.items()}
    )
    assert compare(rows_of_records([*cells, fourth], records, tmp_path)) is not None
    assert compare(rows_of_records(cells[:4], records, tmp_path)) is None  # two seeds have no interval
    few = rows_of_records(cells[:5], records, tmp_path)
    assert {row.label: row.seeds for row in few} == {"ppo_dr": 3, "dagger": 2}
    assert compare(few, against="dagger") is None  # not silently with another row
    records[cells[1].name].figures["train"]["teacher_return"] = 12.0
    assert compare(rows_of_records(cells, records, tmp_path)) is None  # of two teachers


def test_every_seed_is_told_and_drawn(cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows need not have the same ranges, nor the same seeds; an interval wider than all that was measured is cut."""
    for cell in (*cells[:2], *cells[4:]):  # nothing of seed 1
        finish(cell, tmp_path, {"dagger": 0.9, "ppo_dr": 0.2}[cell.method] + 0.1 * cell.seed, 0.5)
    rows = rows_of(cells, tmp_path)
    assert rows[0].figures["train"]["score"]["each"] == pytest.approx({0: 0.9, 2: 1.1})
    del rows[1].figures["far"]
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: drawn.append(figure))
    draw_scores(TASK, rows, tmp_path / "plot.png")
    train, far = drawn[0].axes
    assert [dots_of(train), dots_of(far)] == [[pytest.approx([0.9, 1.1]), pytest.approx([0.2, 0.4])], [[0.5, 0.5]]]
    low, high = train.get_xlim()
    assert 0.1 < low < 0.2
    assert 1.1 < high < 1.2


def test_wide_intervals_end_in_arrows_and_clear_differences_are_marked(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cell, noise in zip(cells, (0.0, 0.0, 0.05, 0.05, -0.05, 0.2), strict=True):
        finish(cell, tmp_path, {"dagger": 0.9, "ppo_dr": 0.2}[cell.method] + noise, 0.5 + noise)
    found = compare(rows_of(cells, tmp_path), against="ppo_dr")
    assert found is not None
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: drawn.append(figure))
    draw_differences(TASK, found, tmp_path / "plot.png")
    train, far = drawn[0].axes
    assert [dots_of(train), dots_of(far)] == [[pytest.approx([0.7, 0.7, 0.95])], [pytest.approx([0.0, 0.0, 0.25])]]
    colors = [axes.lines[-1].get_color() for axes in (train, far)]
    assert colors == [MARKED, PLAIN]  # only in training's range zero lies outside of the interval
    arrows = [[line.get_marker() for line in axes.lines if line.get_marker() in ("<", ">")] for axes in (train, far)]
    assert arrows == [[], ["<", ">"]]  # what lies not far beyond the dots is shown


def dots_of(axes: Axes) -> list[list[float]]:
    return [sorted(np.asarray(line.get_xdata(), float)) for line in axes.lines if line.get_marker() == "o"]


def test_two_seeds_have_no_interval(cells: list[Cell], tmp_path: Path) -> None:
    for cell in cells[:4]:
        finish(cell, tmp_path, 0.5 + cell.seed, 0.5)
    (row, _) = rows_of(cells[:4], tmp_path)
    assert all(math.isnan(end) for end in row.figures["train"]["score"]["ci95"])
    assert "1.000 |" in as_markdown([row], {}, {})


def test_what_failed_is_in_the_table(cells: list[Cell], tmp_path: Path) -> None:
    for cell in cells[:5]:
        finish(cell, tmp_path, 0.8, 0.4)
    last = tmp_path / "cells" / cells[5].name
    last.mkdir(parents=True)
    (last / FAILURE).write_text(json.dumps({"code": 2, "reason": "loss is not finite"}))
    rows = {row.label: row for row in rows_of(cells, tmp_path)}
    assert rows["ppo_dr"].failures == {}
    assert rows["dagger"].failures == {2: "loss is not finite"}
    assert rows["dagger"].seeds == 2
    assert "`dagger`, seed 2: loss is not finite" in as_markdown(list(rows.values()), {}, {})
    nothing = rows_of(cells, tmp_path / "elsewhere")
    assert [(row.rank, row.seeds) for row in nothing] == [(None, 0), (None, 0)]
    assert "not run yet" in as_markdown(nothing, {}, {})


def test_records_outlive_the_runs(cells: list[Cell], tmp_path: Path) -> None:
    for cell in cells[:4]:
        finish(cell, tmp_path / "here", 0.5 + cell.seed, 0.5)
    path = tmp_path / "records.json"
    assert read_records(path) == {}
    records = finished(cells, tmp_path / "here")
    records[cells[0].name].figures["far"]["score"] = None  # a teacher that does no better than nothing
    write_records(path, records)
    assert read_records(path) == records
    assert {record.commit for record in records.values()} == {"abc"}
    there = rows_of_records(cells, read_records(path), tmp_path / "there")
    assert {row.label: row.seeds for row in there} == {"dagger": 2, "ppo_dr": 2}
    assert [repr(row.figures) for row in there] == [
        repr(row.figures) for row in rows_of_records(cells, records, tmp_path / "here")
    ]
    (row,) = (row for row in there if row.label == cells[0].label)
    assert math.isnan(row.figures["far"]["score"]["mean"])


def test_records_of_before_commits_were_kept_are_read(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text('{"a-cell": {"figures": {}, "wall_s": 1.0, "env_steps": 2, "made": "somewhere"}}')
    assert read_records(path)["a-cell"].commit == ""


def test_records_that_are_no_records_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text('{"a-cell": {"figures": {}, "wall": 1.0}}')
    with pytest.raises(RobodistillError, match=r"a-cell.*wall"):
        read_records(path)


# -- variants ----------------------------------------------------------------------------------

VARIANTS = """
as it is: {method: dagger}
no head copied: {method: dagger, words: ["student.copy_head=false"]}
"""


def test_a_variant_is_a_row_of_its_own_and_shares_the_cell_of_the_method_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "variants.yaml"
    path.write_text(VARIANTS)
    first, second = cells_of(Settings((TASK,), variants=str(path), seeds=(0,)))
    (plain,) = cells_of(Settings((TASK,), ("dagger",), seeds=(0,)))
    assert [first.label, second.label, plain.label] == ["as it is", "no head copied", "dagger"]
    assert first.name == plain.name != second.name
    assert config_of(second)["student"]["copy_head"] is False
    assert [row.label for row in rows_of([first, second], tmp_path)] == ["as it is", "no head copied"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("- dagger", "write one line a variant"),
        ("a: {method: [", "variants=.*expected"),
        ("a: {methd: dagger}", "methd"),
        ("a: {method: daggr}", "did you mean 'dagger'"),
        ("a: {method: dagger, words: ['student.copy_heat=true']}", "copy_heat"),
    ],
)
def test_wrong_variants_are_refused_before_anything_runs(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "variants.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RobodistillError, match=message):
        cells_of(Settings((TASK,), variants=str(path), seeds=(0,)))


def test_the_row_to_compare_with_must_be_one() -> None:
    with pytest.raises(RobodistillError, match="did you mean 'dagger'"):
        cells_of(Settings((TASK,), ("dagger", "bc"), seeds=(0,), against="daggr"))


def test_methods_and_variants_exclude_each_other() -> None:
    with pytest.raises(RobodistillError, match="exclude each other"):
        Settings((TASK,), ("dagger",), variants="x.yaml")


@pytest.mark.long
@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks/ablations").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_ablations_fit_a_toy_and_a_robot(path: Path) -> None:
    cells = cells_of(Settings((TASK, "go2_flat"), variants=str(path), seeds=(0,)))
    assert len({cell.name for cell in cells}) == len(cells) >= 6


def test_a_critic_that_sees_the_privileged_state_sees_what_a_bonus_is_made_of() -> None:
    told = {m: " ".join(plan_seeds(m, "dmc_pendulum", [0], Budget())[0].words) for m in ("ppo_asym", "ppo_history")}
    assert "networks.critic.params.groups=[\"sensors\", \"privileged\", \"energy\"]" in told["ppo_asym"]
    assert "params.groups" not in told["ppo_history"]  # a critic of sensors stays one


# -- run ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_failure_stops_no_other_and_says_why(tmp_path: Path) -> None:
    jobs = [
        Job("bad", ("list", "tusks"), tmp_path / "bad"),
        Job("good", ("list", "tasks"), tmp_path / "good"),
    ]
    said: list[str] = []
    assert perform(jobs, 2, said.append) == jobs[:1]
    assert len(said) == 2
    reason = json.loads((tmp_path / "bad" / FAILURE).read_text())["reason"]
    assert "tusks" in reason
    assert not (tmp_path / "good" / FAILURE).exists()
    assert TASK in (tmp_path / "good" / "log.txt").read_text()


def test_a_terminal_shows_what_each_running_cell_said_last(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    (tmp_path / "a.txt").write_text("teacher 1/9\n" * 9999 + "student 3/9 (33 %)\n\n")
    (tmp_path / "b.txt").write_text("")
    logs = [("seed 0, bc", tmp_path / "a.txt"), ("seed 0, [hib]", tmp_path / "b.txt"), ("gone", tmp_path / "c.txt")]
    shown = {}
    for stream in (Terminal(), io.StringIO()):
        with Watch(stream) as watch:
            watch.show(logs)
        shown[type(stream)] = stream.getvalue()
    assert "seed 0, bc  student 3/9 (33 %)" in shown[Terminal]
    assert "seed 0, [hib]" in shown[Terminal]
    assert "gone" in shown[Terminal]
    assert shown[io.StringIO] == ""


def test_a_cell_takes_its_teacher_from_the_run_that_trained_it(cells: list[Cell], tmp_path: Path) -> None:
    taught, alone = teacher_job(cells[0], tmp_path), cell_job(cells[0], tmp_path)
    assert taught.words[0] == "train"
    assert f"pipeline.reuse={taught.folder.resolve()}" in alone.words
    assert f"rollouts_dir={tmp_path / 'rollouts'}" in alone.words  # what the teacher does is the same for all cells


def test_commands_train_as_the_cells_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["bench", "methods", f"tasks={TASK}", "methods=hib,bc", "seeds=3", f"folder={tmp_path}/cells"]
    assert cli.main([*words, "commands=true"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert not (tmp_path / "cells").exists()
    cells = cells_of(Settings((TASK,), ("hib", "bc"), seeds=(3,)))
    for line, cell in zip(told, cells, strict=True):
        program, verb, *own = shlex.split(line)
        assert (program, verb) == ("robodistill", "pipeline")
        ours, theirs = (compose(given, RunConfig) for given in (own, cell.words))
        assert ours["run"] == f"{TASK}_{cell.method}_seed3_{cell.digest}"
        assert ours["threads"] == 1  # as in a cell: torch on more threads gives other bits
        assert [ours[key] for key in ("task", "teacher", "student", "evaluate", "seed")] == [
            theirs[key] for key in ("task", "teacher", "student", "evaluate", "seed")
        ]
        assert [stage["name"] for stage in ours["pipeline"]["stages"]][-1] == "report"


def test_two_names_for_one_cell_run_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Job] = []
    monkeypatch.setattr(bench_methods, "perform", lambda jobs, at_once, say: asked.extend(jobs) or [])
    path = tmp_path / "variants.yaml"
    path.write_text("one: {method: dagger}\ntwo: {method: dagger}\n")
    folder = tmp_path / "cells"
    assert cli.main(["bench", "methods", f"tasks={TASK}", f"variants={path}", "seeds=0", f"folder={folder}"]) == 2
    assert [job.words[0] for job in asked] == ["train", "pipeline"]
    assert "1 cells" in capsys.readouterr().err
    page = (folder / "methods.md").read_text()
    assert "- `one`: `dagger`" in page
    assert "- `two`: `dagger`" in page


def test_what_is_on_record_is_not_measured_again_and_what_was_finished_gets_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Job] = []
    monkeypatch.setattr(bench_methods, "perform", lambda jobs, at_once, say: asked.extend(jobs) or [])
    words = [f"tasks={TASK}", "methods=bc,dagger", "seeds=0"]
    bc, dagger = cells_of(Settings((TASK,), ("bc", "dagger"), seeds=(0,)))
    here, there, kept = tmp_path / "here", tmp_path / "there", tmp_path / "kept.json"
    finish(bc, here, 0.5, 0.25)
    assert cli.main(["bench", "methods", *words, f"folder={here}", f"records={kept}"]) == 2
    assert "results missing: 1; " in capsys.readouterr().err
    assert set(read_records(kept)) == {bc.name}
    kept.write_text(kept.read_text().rstrip())
    assert [job.folder.name for job in asked] == [dagger.teacher, dagger.name]
    asked.clear()
    assert cli.main(["bench", "methods", *words, f"folder={there}", f"records={kept}"]) == 2
    assert not kept.read_text().endswith("\n")  # with nothing to add it is left alone
    assert [job.folder.name for job in asked] == [dagger.teacher, dagger.name]
    assert "| `bc` | 0.500 |" in (there / "methods.md").read_text()
    assert "2 cells, 1 of them done before" in capsys.readouterr().err


def test_variants_stand_in_the_order_of_their_file_over_all_tasks_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tmp_path / "variants.yaml", tmp_path / "cells"
    path.write_text("short: {method: bc}\nlong: {method: dagger}\n")
    tasks = (TASK, "pendulum_swingup")
    for cell in cells_of(Settings(tasks, variants=str(path), seeds=(0, 1, 2))):
        finish(cell, folder, {"bc": 0.5, "dagger": 0.75}[cell.method], 0.25)
    assert cli.main(["bench", "methods", f"tasks={','.join(tasks)}", f"variants={path}", f"folder={folder}"]) == 0
    capsys.readouterr()
    page = (folder / "methods.md").read_text()
    overview, *of_tasks = page.partition("## All tasks")[2].split("\n## ")
    assert re.findall(r"^\| `(\w+)` (.*)\|$", overview, flags=re.MULTILINE) == [
        ("short", "| 0.500 | 0.250 | 0.500 | 0.250 "), ("long", "| 0.750 | 0.250 | 0.750 | 0.250 ")
    ]  # fmt: skip
    for one in of_tasks:
        assert re.findall(r"^\| `(\w+)` .* (\d) \| [\d.]+ \|$", one, flags=re.MULTILINE) == [
            ("short", "2"), ("long", "1")
        ]  # fmt: skip
        assert "### Differences to `short`" in one  # the first of the file


def test_rows_with_teachers_of_their_own_say_so(cells: list[Cell], tmp_path: Path) -> None:
    for cell in cells[:2]:
        finish(cell, tmp_path, 0.5, 0.5)
    records = finished(cells, tmp_path)
    rows = rows_of_records(cells[:2], records, tmp_path)
    assert "Mean return of the teachers: train 10, far 10." in as_markdown(rows, {}, {})
    records[cells[1].name].figures["train"]["teacher_return"] = 12.0
    page = as_markdown(rows_of_records(cells[:2], records, tmp_path), {}, {})
    assert "scores do not" in page
    assert "- `dagger`: train 12, far 10." in page


@pytest.mark.long
def test_the_whole_table_and_only_what_is_missing_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "bench", "methods", f"tasks={TASK}", "methods=ppo_dr,ppo_asym,dagger", "seeds=0", "steps=512", "jobs=2",
        f"folder={tmp_path}", *SMALL,
    ]  # fmt: skip
    assert cli.main(words) == 0
    said = capsys.readouterr().err
    assert "3 cells, 0 of them done before" in said
    assert "failed" not in said
    made = json.loads((tmp_path / "methods.json").read_text())
    assert {row["label"]: row["env_steps"] for row in made["rows"]} == {"ppo_dr": 512, "ppo_asym": 512, "dagger": 512}
    (teacher,) = (tmp_path / "teachers").iterdir()
    assert len(list((tmp_path / "rollouts").iterdir())) == 2  # the teacher and zero action, for all three cells
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").glob("*/student/metrics.jsonl")}
    (gone,) = (tmp_path / "cells").glob("*-dagger-*")
    (gone / "summary.json").unlink()
    (tmp_path / "records.json").unlink()
    before = (teacher / "teacher" / "metrics.jsonl").stat().st_mtime_ns
    assert cli.main(words) == 0
    assert "3 cells, 2 of them done before" in capsys.readouterr().err
    assert stamps == {p: p.stat().st_mtime_ns for p in stamps}
    assert (teacher / "teacher" / "metrics.jsonl").stat().st_mtime_ns == before
