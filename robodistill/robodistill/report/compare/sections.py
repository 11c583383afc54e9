"""Sections of the comparison's page: functions from a Comparison to HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from robodistill.report.compare.figures import Comparison, Spread, VariantFigures, ranking
from robodistill.report.compare.plots import color_at, learning_curves, spread_figure
from robodistill.report.compare.record import zero_inside
from robodistill.report.compare.variants import STAGES, letter, seed_of
from robodistill.report.html import badge, chips, grid, how, note, plain_unit, plot, section, table
from robodistill.report.inputs import Inputs, mapping
from robodistill.report.plots.base import duration, heading, label_of
from robodistill.report.sections.results import EXPLANATIONS
from robodistill.report.verdicts import Estimate, estimate

OVER = {"seeds": "over seeds (Student's t)", "episodes": "over episodes (bootstrap)"}
_INTERVALS = (
    "Mean over the seeds, below it the 95 % interval: from three seeds on over seeds, by Student's t, so it speaks of "
    "the method; with fewer over episodes, by bootstrap, so it speaks of these very policies only. The first column "
    "says which."
)


def legend(found: Comparison) -> str:
    """Return every variant's letter, name and colour."""
    named = {
        f"{letter(i)}  {each.variant.name} ({_count(each)})": color_at(i) for i, each in enumerate(found.variants)
    }
    return chips(named)


def _count(each: VariantFigures) -> str:
    count = len(each.variant.runs)
    return f"{count} seed{'s' if count > 1 else ''}"


def name_cell(found: Comparison, index: int, over: str = "") -> str:
    """Return a variant's name and seeds, and what its intervals are ``over``, as a table's first cell."""
    each = found.variants[index]
    seeds = ", ".join(str(seed_of(run)) for run in each.variant.runs)
    some = len(each.variant.evaluated)
    counted = f"; {some} evaluated" if over and some < len(each.variant.runs) else ""
    over = f"{counted}; {OVER[over]}" if over else ""
    color = f'<i class="chip" style="background:{color_at(index)}"></i>'
    return (
        f"{color}<strong>{letter(index)}</strong> {escape(each.variant.name)}"
        f"<small>seed{'s' if ',' in seeds else ''} {seeds}{over}</small>"
    )


def _over(each: VariantFigures) -> str:
    return each.returns["student"].over if "student" in each.returns else ""


def cell(value: Spread | None) -> str:
    """Return a figure and its interval."""
    if value is None:
        return "–"
    return f"{value.estimate.text}<small>{value.estimate.interval}</small>"


def result(found: Comparison) -> str:
    """Return the top of the page: every variant's score, returns and cost."""
    rows = [_result_row(found, index) for index in range(len(found.variants))]
    head = ("variant", "student's score", "teacher's return", "student's return", "training time", "env steps")
    lacking = "".join(
        note(f"{run}: {why}; left out of the tables that need it.") for run, why in found.left_out.items()
    )
    scores = {i: each.score for i, each in enumerate(found.variants) if each.score}
    returns = {i: each.returns["student"] for i, each in enumerate(found.variants) if "student" in each.returns}
    labels = [letter(index) for index in range(len(found.variants))]
    height = 90 + 46 * len(found.variants)
    figures = [
        plot(spread_figure(labels, scores, "score"), height=height, title="Student's score"),
        plot(spread_figure(labels, returns, "return"), height=height, title="Student's return"),
    ]
    more = how(
        "Large: mean and 95 % interval; small: each run. A score is relative to the run's own teacher: where the "
        "teachers differ, compare the returns. It does not count where the teacher is below its task's floor, or doing "
        "nothing earns more than half of the teacher's return. Training time is that of teacher and student, and "
        "compares on one machine only."
    )
    body = f'<p class="result">{_sentence(found)}</p>' + lacking + table(head, rows, "compare") + how(_INTERVALS)
    counted = f"{len(found.variants)} variant{'s' if len(found.variants) > 1 else ''}, {len(found.runs)} runs"
    return section("result", counted, body + grid(figures, "maps more") + more)


def _alone(found: Comparison, ranked: Sequence[int]) -> str:
    """Say what there is where nothing can be compared."""
    if not ranked:
        return "No run has an evaluated student yet; the curves show what there is."
    student = found.variants[ranked[0]].returns["student"]
    runs = f"{len(student.values)} runs" if len(student.values) > 1 else "one run"
    return f"One variant has an evaluated student: it returns {student.estimate.text} over {runs}."


def _sentence(found: Comparison) -> str:
    """Say in words which student is ahead, and whether its lead can be told from chance."""
    ranked = ranking(found.variants)
    if len(ranked) < 2:
        return _alone(found, ranked)
    best, second = ranked[:2]
    first = found.variants[best].returns["student"]
    text = f"The students of <strong>{letter(best)}</strong> return the most, {first.estimate.text} on average"
    if len(first.values) == 1:
        text = f"The student of <strong>{letter(best)}</strong> returns the most, {first.estimate.text}"
    lead = _lead(found, best, second)
    if lead is None:
        return f"{text}; {letter(second)} comes next, and the two are not paired."
    over, value, unsure = lead
    told = "more than chance explains" if over == "seeds" else "sure of these policies, not of the method"
    if unsure:
        told = "which may be chance: zero is inside"
    elif value.mean < 0:
        told = f"so that on the seeds that both have {letter(second)} is ahead"
    sign = "+" if value.mean > 0 else ""
    return (
        f"{text}; paired with {letter(second)}, which comes next, the difference is {sign}{value.text} "
        f"(95 % interval {value.interval} over {over}), {told}."
    )


def _lead(found: Comparison, best: int, second: int) -> tuple[str, Estimate, bool] | None:
    """Return what the interval is over, the lead of one variant's students over another's, and if zero is inside."""
    names = [found.variants[index].variant.name for index in (best, second)]
    for pair in found.pairs:
        if {pair.base, pair.other} != set(names):
            continue
        for each in pair.differences:
            interval = each.seeds or each.episodes
            value = estimate(interval)
            if (each.quantity.policy, each.quantity.name) != ("student", "return") or not interval or not value:
                continue
            over = "seeds" if each.seeds else "episodes"
            swapped = value if pair.other == names[0] else Estimate(-value.mean, -value.high, -value.low, value.unit)
            return over, swapped, zero_inside(interval)
    return None


def _result_row(found: Comparison, index: int) -> list[str]:
    each = found.variants[index]
    invalid = [run.run.name for run in each.variant.evaluated if not counts(run)]
    score = cell(each.score)
    if invalid:
        score += badge("fails", f"{len(invalid)} of {len(each.variant.evaluated)} do not count")
    cost = [_cost(each, axis) for axis in ("wall_s", "env_steps")]
    return [name_cell(found, index, _over(each)), score, *(cell(each.returns.get(policy)) for policy in STAGES), *cost]


def counts(run: Inputs) -> bool:
    """Return whether a run's score counts: its teacher reached the floor, doing nothing earns at most half of that."""
    valid = mapping(run.evaluation, "valid") or mapping(run.summary, "valid")
    return bool(valid.get("teacher_reaches_floor", True) and valid.get("zero_at_most_half", True))


def _cost(each: VariantFigures, axis: str) -> str:
    value = each.training.get(axis)
    return "–" if value is None else cost_cell(value, axis)


def cost_cell(value: Spread, axis: str) -> str:
    """Return steps or seconds the way people say them."""
    say = duration if axis == "wall_s" else steps
    low, high = value.estimate.low, value.estimate.high
    interval = f"{say(max(low, 0.0))} to {say(high)}" if value.estimate.interval and low < high else ""
    return f"{say(value.estimate.mean)}<small>{interval}</small>"


def steps(count: float) -> str:
    """Return a number of environment steps."""
    return f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def metrics(found: Comparison) -> str:
    """Return what the task measures of every student."""
    names = found.metric_names
    if not names:
        return section("metrics", "Metrics of the students", note("No run has been evaluated yet."))
    rows = [
        [name_cell(found, index, _over(each)), *(cell(each.metrics.get(name)) for name in names)]
        for index, each in enumerate(found.variants)
    ]
    units = {n: next(v.metrics[n].estimate.unit for v in found.variants if n in v.metrics) for n in names}
    head = [f"{heading(n)} [{plain_unit(u)}]" if plain_unit(u) else heading(n) for n, u in units.items()]
    told = "; ".join(f"{heading(n)}: {EXPLANATIONS[n]}" for n in names if n in EXPLANATIONS)
    body = table(("variant", *head), rows, "compare") + (how(f"{told}.") if told else "")
    return section("metrics", "Metrics of the students", body, "Means and intervals as above.")


def curves(found: Comparison) -> str:
    """Return the learning curves of teacher and student over steps and over time."""
    panels = [
        plot(learning_curves(found, stage, axis), height=340, title=f"{label_of(stage)}, by {name}")
        for stage in STAGES
        for axis, name in (("env_steps", "environment steps"), ("wall_s", "wall time"))
    ]
    body = grid(panels, "maps") or note("No run holds a log of returns yet.")
    text = how(
        "Return of the episodes that ended in training, exploration included, each seed smoothed as in its own report, "
        "then brought to a common grid by linear interpolation. Bold: mean over seeds, as far as all of them come; "
        "shaded: its 95 % interval by Student's t, from three seeds on; thin: single runs, where there are fewer, "
        "and runs that are not finished."
    )
    return section("curves", "Learning curves", legend(found) + body + text)


def reach(found: Comparison) -> str:
    """Return what it took to come to a fixed return."""
    title = "Cost of a fixed return"
    if found.level is None:
        text = "The task states no floor for teachers; give a return with reach=<return>."
        return section("reach", title, note(text))
    rows = []
    for index, each in enumerate(found.variants):
        cells = [cell for stage in STAGES for cell in _reach_cells(each, stage)]
        rows.append([name_cell(found, index), *cells])
    head = ("variant", *(f"{label_of(s)}: {what}" for s in STAGES for what in ("reached by", "env steps", "time")))
    lead = (
        f"What each stage spent until its training return, as drawn above, first came to {found.level:g}; means over "
        "seeds with their interval. A student's cost comes on top of its teacher's. Where a seed never came there, "
        "there is no mean, since it would flatter the variant."
    )
    return section("reach", f"{title}: {found.level:g}", table(head, rows, "compare"), lead)


def _reach_cells(each: VariantFigures, stage: str) -> list[str]:
    value = each.reach[stage]
    costs = [cost_cell(value.cost[a], a) if a in value.cost else "–" for a in ("env_steps", "wall_s")]
    return [f"{value.reached} of {value.runs}", *costs]
