"""How much of the privileged state a student's latent holds: R^2 of a probe, term by term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robodistill.report.plots.base import (
    NEUTRAL,
    Figure,
    Trace,
    color_of,
    faded,
    figure,
    line,
    numbers,
    words,
)

LATENT, BASELINE = "from the student's latent", "from the present observation alone"


def r2_figure(
    found: Mapping[str, float | None], baseline: Mapping[str, float | None], floor: float = -0.2
) -> Figure | None:
    """Return R^2 of each privileged term: a large dot for the mean over its elements, a small one for each element.

    ``found`` is read from the latent, ``baseline`` from the present observation; keys are ``term`` or ``term[i]``.
    Values below ``floor`` are drawn at it and told on hover.
    """
    latent, present = by_term(found), by_term(baseline)
    if not latent:
        return None
    terms = sorted(latent, key=lambda term: _mean(latent[term], floor))
    traces = [
        _connections(terms, latent, present, floor),
        *_dots(terms, present, BASELINE, NEUTRAL, floor, -0.17),
        *_dots(terms, latent, LATENT, color_of("student"), floor, 0.17),
    ]
    plot = figure(traces, "R² on held-out worlds", "", showlegend=True)
    plot["layout"]["xaxis"] |= {"range": [floor - 0.03, 1.03], "zeroline": True}
    ticks = {"tickvals": list(range(len(terms))), "ticktext": [words(term) for term in terms]}
    plot["layout"]["yaxis"] |= {
        **ticks,
        "range": [-0.6, len(terms) - 0.4],
        "showgrid": True,
        "zeroline": False,
    }
    return plot


def by_term(values: Mapping[str, float | None]) -> dict[str, dict[str, float]]:
    """Sort ``term[i]`` by term; what is not finite is left out."""
    terms: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        if value is not None and np.isfinite(value):
            terms.setdefault(key.partition("[")[0], {})[key] = float(value)
    return terms


def _mean(values: Mapping[str, float], floor: float) -> float:
    return float(np.mean([max(value, floor) for value in values.values()]))


def _connections(
    terms: Sequence[str],
    latent: Mapping[str, Mapping[str, float]],
    present: Mapping[str, Mapping[str, float]],
    floor: float,
) -> Trace:
    """A line from the baseline to the latent of each term that has both: what memory adds."""
    x: list[float | None] = []
    y: list[float | None] = []
    for i, term in enumerate(terms):
        if term in present:
            x += [*numbers([_mean(present[term], floor), _mean(latent[term], floor)]), None]
            y += [i, i, None]
    return line(x, y, "", faded(color_of("student"), 0.4), 3, hoverinfo="skip", showlegend=False)


def _dots(
    terms: Sequence[str],
    values: Mapping[str, Mapping[str, float]],
    name: str,
    color: str,
    floor: float,
    shift: float,
) -> list[Trace]:
    """The means on the middle line, the elements of terms with several beside it."""
    means = [(i, words(term), values[term]) for i, term in enumerate(terms) if term in values]
    elements = [
        (i + shift, key, value) for i, _, items in means if len(items) > 1 for key, value in items.items()
    ]
    base: Trace = {"type": "scatter", "mode": "markers", "name": name, "legendgroup": name}
    small = base | {
        "showlegend": False, "y": numbers(y for y, *_ in elements), "x": numbers(max(v, floor) for *_, v in elements),
        "customdata": [f"{key}: {value:.2f}" for _, key, value in elements],
        "hovertemplate": f"%{{customdata}}<extra>{name}</extra>", "marker": {"color": faded(color, 0.6), "size": 5},
    }  # fmt: skip
    large = base | {
        "y": [i for i, *_ in means], "x": numbers(_mean(items, floor) for *_, items in means),
        "customdata": [f"{text}: {np.mean(list(items.values())):.2f}" for _, text, items in means],
        "hovertemplate": f"%{{customdata}}<extra>{name}</extra>", "marker": {"color": color, "size": 11},
    }  # fmt: skip
    return [small, large] if elements else [large]
