"""The rest of the comparison's page: paired differences, the settings that differ, where every run comes from."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from robodistill.evaluation.statistics import Interval
from robodistill.report.compare.figures import MAX_ALL_PAIRS, Comparison
from robodistill.report.compare.pairs import Difference, Pair
from robodistill.report.compare.plots import color_at, difference_figure
from robodistill.report.compare.record import zero_inside
from robodistill.report.compare.sections import legend, name_cell
from robodistill.report.compare.variants import letter, seed_of
from robodistill.report.html import badge, details, how, note, plain_unit, plot, section, table
from robodistill.report.inputs import Inputs, mapping
from robodistill.report.plots.base import heading, label_of
from robodistill.report.verdicts import Estimate, estimate

_LEAD = (
    "Over episodes: both variants in the same worlds, world by world; the interval (bootstrap) speaks of these very "
    "policies. Over seeds: run by run with the same training seed, from three seeds in common on; the interval "
    "(Student's t) speaks of the methods. Where zero is inside, the difference may be chance."
)


def differences(found: Comparison) -> str:
    """Return the variants' differences, pair by pair."""
    title = "Paired differences"
    if not found.pairs:
        return section("differences", title, note("One variant only: nothing to subtract."))
    refused = "".join(
        note(f"{_title(found, p)} cannot be paired: {p.refused}.") for p in found.pairs if p.refused
    )
    pairs = [pair for pair in found.pairs if not pair.refused]
    rows = [row for pair in pairs for row in _figure_rows(found, pair)]
    height = 90 + 34 * len(rows)
    chart = plot(
        difference_figure(rows, "difference of the student's return"), height=height, title="Student's return"
    )
    body = "".join(
        details(_title(found, pair, named=True), _table(found, pair), opened=pair is pairs[0]) for pair in pairs
    )
    some = len(found.variants) > MAX_ALL_PAIRS
    text = f"Each variant against the first one, and the best against the next. {_LEAD}" if some else _LEAD
    many = how("The intervals are not widened for the number of comparisons.") if len(pairs) > 1 else ""
    return section("differences", title, legend(found) + refused + chart + body + many, text)


def _index(found: Comparison, name: str) -> int:
    return [each.variant.name for each in found.variants].index(name)


def _title(found: Comparison, pair: Pair, named: bool = False) -> str:
    other, base = (letter(_index(found, name)) for name in (pair.other, pair.base))
    return f"{other} − {base}: {pair.other} minus {pair.base}" if named else f"{other} − {base}"


def _figure_rows(found: Comparison, pair: Pair) -> list[tuple[str, Estimate, str]]:
    rows = []
    color = color_at(_index(found, pair.other))
    for each in pair.differences:
        if (each.quantity.policy, each.quantity.name) == ("student", "return"):
            for over, interval in (("episodes", each.episodes), ("seeds", each.seeds)):
                value = estimate(interval)
                if value is not None:
                    rows.append((f"{_title(found, pair)}, {over}", value, color))
    return rows


def _table(found: Comparison, pair: Pair) -> str:
    names = ("score", "return", *found.metric_names)
    rows = [_row(each) for each in pair.differences if each.quantity.name in names]
    seeds = ", ".join(map(str, pair.shared_seeds)) or "none"
    return table(("", "over episodes", "", f"over seeds (in common: {seeds})", ""), rows, "compare")


def _row(each: Difference) -> list[str]:
    unit = f' <small class="unit">{escape(plain_unit(each.unit))}</small>' if plain_unit(each.unit) else ""
    what = f"{label_of(each.quantity.policy)}: {heading(each.quantity.name).lower()}"
    what = what.replace("rmse", "RMSE")
    return [escape(what) + unit, *_interval(each.episodes), *_interval(each.seeds)]


def _interval(found: Interval | None) -> list[str]:
    """Return a difference with its interval, and whether zero is inside."""
    value = estimate(found)
    if found is None or value is None:
        return ["–", ""]
    sign = "+" if value.mean > 0 else ""
    verdict = badge("open", "zero inside") if zero_inside(found) else badge("holds", "differs")
    return [f"{sign}{value.text}<small>{value.interval}</small>", verdict]


def settings(found: Comparison) -> str:
    """Return the keys that differ, a row each."""
    title = "Settings that differ"
    keys = list(found.variants[0].variant.settings)
    if not keys:
        text = "No key differs: the variants are the same configuration, apart in code or repeated with the same seed."
        alone = "One variant: no key differs but the seed."
        return section("settings", title, note(text if len(found.variants) > 1 else alone))
    values = [[key, *(each.variant.settings[key] for each in found.variants)] for key in keys]
    rows = [[f"<code>{escape(text)}</code>" for text in row] for row in values]
    head = ("key", *(letter(index) for index in range(len(found.variants))))
    lead = "All other keys are the same in every run, apart from the seed and keys that change no result."
    return section("settings", title, table(head, rows, "compare"), lead)


def provenance(found: Comparison) -> str:
    """Return the runs with the code and the machine that made them."""
    rows = [
        [name_cell(found, index) if first else "", *_run_cells(found, run)]
        for index, each in enumerate(found.variants)
        for first, run in zip(_firsts(), each.variant.runs, strict=False)
    ]
    codes = {_commit(run) for run in found.runs}
    machines = {str(run.provenance.get("machine")) for run in found.runs}
    warned = note("The runs were made by different states of the code.") if len(codes) > 1 else ""
    warned += note("The runs were made on different kinds of machine.") if len(machines) > 1 else ""
    head = ("variant", "run", "seed", "evaluation", "code", "versions")
    return section("provenance", "Provenance", warned + table(head, rows, "runs"))


def _firsts() -> Iterable[bool]:
    yield True
    while True:
        yield False


def _commit(run: Inputs) -> str:
    git = mapping(run.provenance, "git")
    changed = " and changes" if git.get("changed") else ""
    return f"{str(git.get('commit') or 'unknown')[:10]}{changed}"


def _run_cells(found: Comparison, run: Inputs) -> list[str]:
    versions = {**mapping(run.provenance, "versions"), "python": run.provenance.get("python")}
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    drawn = run.evaluation
    evaluation = f"{drawn.get('episodes')} episodes, seed {drawn.get('seed')}" if drawn else "–"
    lacking = found.left_out.get(run.run.name, "")
    name = f"{escape(run.run.name)}<small>{escape(lacking)}</small>"
    return [name, str(seed_of(run)), escape(evaluation), f"<code>{escape(_commit(run))}</code>", escape(told)]
