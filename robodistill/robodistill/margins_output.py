"""What a check on the simulated robot leaves: a table at the terminal, margins.json, and a plot of bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robodistill.files import write_json, writing
from robodistill.margins import Margin, Trial

if TYPE_CHECKING:
    from rich.table import Table

_COLORS = {"stands": "#0b7a5e", "not tried": "#7b8794", "fell, or was stopped": "#d6455d"}


def margins_dict(nominal: Trial, margins: Sequence[Margin], **about: Any) -> dict[str, Any]:
    """Return what margins.json holds."""
    return {
        **about,
        "passed": nominal.stood,
        "nominal": asdict(nominal),
        "margins": {margin.name: {**asdict(margin), "why": margin.why} for margin in margins},
    }


def write_margins(folder: Path, figures: dict[str, Any], margins: Sequence[Margin]) -> list[Path]:
    """Write margins.json and margins.png into ``folder``; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "margins.json", folder / "margins.png"]
    write_json(paths[0], figures)
    with writing(paths[1]):
        _plot(paths[1], margins)
    return paths


def margins_table(nominal: Trial, margins: Sequence[Margin]) -> Table:
    """Return the table that the terminal shows."""
    from rich.table import Table

    table = Table("perturbation", "stands up to", "ends at", "how", box=None, pad_edge=False)
    table.add_row("none, from lying", "yes" if nominal.stood else "no", "", nominal.why)
    for margin in margins:
        fails = "beyond what was tried" if margin.fails is None else _level(margin, margin.fails)
        table.add_row(margin.name, _level(margin, margin.survives), fails, margin.why)
    return table


def _level(margin: Margin, value: float) -> str:
    return f"{value:.3g}" if margin.unit == "1" else f"{value:.3g} {margin.unit}"


def _plot(path: Path, margins: Sequence[Margin]) -> None:
    """Draw one bar a perturbation: green where it stands, grey between two levels, red from where it ends."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(8.0, 0.9 + 0.55 * max(1, len(margins))), layout="constrained")
    axes = figure.subplots()
    for row, margin in enumerate(margins):
        far = max(abs(t.level - margin.nominal) for t in margin.trials) or 1.0
        stands = abs(margin.survives - margin.nominal) / far
        axes.barh(row, stands, color=_COLORS["stands"])
        label = _level(margin, margin.survives)
        if margin.fails is not None:
            ends = abs(margin.fails - margin.nominal) / far
            axes.barh(row, ends - stands, left=stands, color=_COLORS["not tried"])
            axes.barh(row, 1.05 - ends, left=ends, color=_COLORS["fell, or was stopped"])
            label += f"; ends at {margin.fails:.3g}"
        axes.text(0.01, row, label, va="center", fontsize=9, color="white", fontweight="bold")
    axes.set_yticks(range(len(margins)), [margin.name for margin in margins])
    axes.set_xticks([])
    axes.set_xlabel("distance from nominal, share of the largest level tried")
    axes.invert_yaxis()
    handles = [Patch(color=color, label=label) for label, color in _COLORS.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)
