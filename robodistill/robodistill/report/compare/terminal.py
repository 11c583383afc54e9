"""A comparison at the terminal: one row a variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robodistill.progress import clock_time
from robodistill.report.compare.figures import Comparison, Spread, VariantFigures
from robodistill.report.compare.variants import STAGES, letter, seed_of

if TYPE_CHECKING:
    from rich.table import Table


def table(found: Comparison) -> Table:
    """Return every variant's score, returns and cost, intervals below."""
    from rich.table import Table

    shown = Table("", "seeds", box=None, pad_edge=False)
    for name in ("score", *STAGES, "training", "env steps"):
        shown.add_column(name, justify="right", no_wrap=True)
    for index, each in enumerate(found.variants):
        seeds = ",".join(str(seed_of(run)) for run in each.variant.runs)
        returns = (_text(each.returns.get(policy)) for policy in STAGES)
        shown.add_row(letter(index), seeds, _text(each.score), *returns, *_cost(each))
    return shown


def _text(value: Spread | None) -> str:
    if value is None:
        return "-"
    return f"{value.estimate.text}\n{value.estimate.interval}".rstrip()


def _cost(each: VariantFigures) -> list[str]:
    wall, steps = each.training.get("wall_s"), each.training.get("env_steps")
    return [
        "-" if wall is None else clock_time(wall.estimate.mean),
        "-" if steps is None else f"{round(steps.estimate.mean):,}",
    ]


def remarks(found: Comparison) -> list[str]:
    """Return what the table cannot say: names, what intervals are over, what was left out, what is no pair."""
    lines = [f"{letter(index)}  {each.variant.name}" for index, each in enumerate(found.variants)]
    overs = {each.score.over for each in found.variants if each.score} - {""}
    lines += [f"95 % intervals over {' or '.join(sorted(overs))}"] if overs else []
    lines += [f"{run}: {why}; left out of the tables that need it" for run, why in found.left_out.items()]
    return lines + [f"{p.other} against {p.base}: no pairs, {p.refused}" for p in found.pairs if p.refused]
