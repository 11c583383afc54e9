"""Pieces of the page as text: pure functions that escape what they are given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from robodistill.report.plots.base import Figure, color_of, label_of
from robodistill.report.verdicts import Estimate, State, bound

BADGES: dict[State, tuple[str, str]] = {
    "holds": ("✓", "holds"),
    "open": ("~", "open"),
    "fails": ("✗", "fails"),
}


def note(text: str) -> str:
    """Return a line that stands where a section's input is missing."""
    return f'<p class="note">{escape(text)}</p>'


def section(name: str, title: str, body: str, lead: str = "") -> str:
    """Return a section with an anchor; ``lead`` is a sentence below its title."""
    head = f"<h2>{escape(title)}</h2>" + (f'<p class="lead">{escape(lead)}</p>' if lead else "")
    return f'<section id="{escape(name)}">{head}{body}</section>'


def plot(
    figure: Figure | None, how: str = "", height: int = 320, title: str = "", small: bool = False
) -> str:
    """Return a plot with ``how`` to read it below; nothing for no figure. The page's script draws it when seen."""
    if figure is None:
        return ""
    data = json.dumps(figure, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    head = f"<h4>{escape(title)}</h4>" if title else ""
    caption = f"<figcaption>{escape(how)}</figcaption>" if how else ""
    return (
        f'<figure class="plot{" small" if small else ""}">{head}'
        f'<div class="canvas" style="height:{height}px"></div>'
        f'<script type="application/json">{data}</script>{caption}</figure>'
    )


def grid(items: Iterable[str], kind: str = "") -> str:
    """Return what is not empty side by side, as many as fit; nothing without any."""
    kept = [item for item in items if item]
    return f'<div class="grid {kind}">{"".join(kept)}</div>' if kept else ""


def how(text: str) -> str:
    """Return how to read the plots above, where several share one line."""
    return f'<p class="how">{escape(text)}</p>'


def legend(names: Iterable[str]) -> str:
    """Return the colours of policies, once for many small plots."""
    return chips({label_of(name): color_of(name) for name in names})


def chips(colors: Mapping[str, str]) -> str:
    """Return names with their colours, once for many plots."""
    found = (f'<span><i style="background:{color}"></i>{escape(name)}</span>' for name, color in colors.items())
    return f'<p class="legend">{"".join(found)}</p>'


def badge(state: State, text: str = "") -> str:
    """Return whether a claim holds, as a sign and a word."""
    sign, word = BADGES[state]
    return f'<span class="badge {state}">{sign} {escape(text or word)}</span>'


def details(title: str, body: str, opened: bool = False) -> str:
    """Return something to unfold."""
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{body}</details>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table that scrolls sideways when narrow; cells are HTML, headings text, or none."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    top = f"<thead><tr>{top}</tr></thead>" if top else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def tabs(name: str, panels: Mapping[str, str]) -> str:
    """Return panels of which one shows at a time: title -> HTML. Works without script."""
    parts = []
    for i, (title, body) in enumerate(panels.items()):
        key, checked = f"{escape(name)}-{i}", " checked" if i == 0 else ""
        parts.append(
            f'<input type="radio" name="{escape(name)}" id="{key}"{checked}><label for="{key}">{escape(title)}</label>'
        )
        parts.append(f'<div class="panel">{body}</div>')
    return f'<div class="tabs">{"".join(parts)}</div>'


def number(value: Estimate, unit: str = "") -> str:
    """Return the mean, and its unit small."""
    return value.text + (f' <small class="unit">{escape(unit)}</small>' if unit else "")


def signed(value: float, digits: int = 1) -> str:
    """Return a figure with its sign, a real minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def plain_unit(unit: str) -> str:
    """Return a unit that is not already in the name: ``falls per minute`` needs no ``1/min``."""
    return "" if unit.startswith("1/") else unit


def strip(values: Mapping[str, Estimate], name: str, target: float | None = None, zero: bool = True) -> str:
    """Return intervals of several policies on one scale, with a line at the target.

    ``zero`` has the scale begin at 0.
    """
    points = [p for v in values.values() for p in (v.low, v.mean, v.high) if p == p]
    points += [target] if target is not None else []
    points += [0.0] if zero else []
    if not points:
        return ""
    low, span = min(points), (max(points) - min(points)) or 1.0
    low, span = low - 0.05 * span, 1.1 * span

    def at(value: float) -> str:
        return f"{100 * (value - low) / span:.2f}%"

    marks = []
    for policy, value in values.items():
        color, title = color_of(policy), escape(f"{label_of(policy)}: {value.text} ({value.interval})")
        if value.interval:
            width = max(100 * (value.high - value.low) / span, 0.8)
            place = f"left:{at(value.low)};width:{width:.2f}%;background:{color}"
            marks.append(f'<b style="{place}" title="{title}"></b>')
        marks.append(f'<i style="left:{at(value.mean)};background:{color}" title="{title}"></i>')
    if target is not None:
        title = escape(f"target {bound(name)} {target:g}")
        marks.append(f'<u style="left:{at(target)}" title="{title}"></u>')
    return f'<div class="strip">{"".join(marks)}</div>'
