"""The report: one HTML file with its data, styles, script and video inside; it never asks the network."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from robodistill.files import write_text
from robodistill.report.inputs import Inputs, load_inputs
from robodistill.report.sections.behaviour import tracking
from robodistill.report.sections.conditions import by_parameter, errors
from robodistill.report.sections.diagnostics import diagnostics
from robodistill.report.sections.headline import headline, title_of
from robodistill.report.sections.origin import check, configuration, provenance
from robodistill.report.sections.ranges import by_range
from robodistill.report.sections.results import comparison, latent
from robodistill.report.sections.training import rewards, training
from robodistill.report.video import describe, student_video
from robodistill_deploy.errors import RobodistillError

REPORT = "report.html"
NAVIGATION = (
    ("result", "Result"), ("comparison", "Policies"), ("training", "Training"), ("rewards", "Rewards"),
    ("tracking", "Tracking"), ("parameters", "Parameters"), ("errors", "Errors"), ("latent", "Latent"),
    ("diagnostics", "Diagnostics"), ("check", "Check"), ("config", "Config"), ("provenance", "Provenance"),
)  # fmt: skip
# The browser itself refuses whatever would leave the file.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data:"
)


def write_report(run: Path) -> Path:
    """Write ``report.html`` into the run's folder and return its path.

    Sections whose input is missing say so in a line; damaged files are a RobodistillError.
    """
    inputs = load_inputs(Path(run))
    text = "No video: evaluate records the trajectories that it shows."
    video = None
    try:
        video = student_video(inputs.run)
        text = describe(inputs) if video else text
    except (RobodistillError, OSError) as error:
        text = f"No video: {error}"
    path = inputs.run / REPORT
    write_text(path, render_page(inputs, video, text))
    return path


def render_page(inputs: Inputs, video: Path | None, caption: str) -> str:
    """Return the whole page as text; ``caption`` stands under the video, or says why there is none."""
    body = "".join((
        headline(inputs, video, caption), comparison(inputs), by_range(inputs), training(inputs), rewards(inputs),
        tracking(inputs), by_parameter(inputs), errors(inputs), latent(inputs), diagnostics(inputs), check(inputs),
        configuration(inputs), provenance(inputs),
    ))  # fmt: skip
    return shell(title_of(inputs), NAVIGATION, body)


def shell(title: str, navigation: Iterable[tuple[str, str]], body: str) -> str:
    """Return a self-contained page around ``body``, HTML; ``navigation`` is (anchor, text) of its sections."""
    links = "".join(f'<a href="#{name}">{escape(text)}</a>' for name, text in navigation)
    title = escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{_asset("page.css")}</style></head>'
        f'<body><header><div class="brand"><span>robodistill</span><h1>{title}</h1>'
        f'<button id="theme" type="button" title="light or dark">◐</button></div><nav>{links}</nav></header>'
        f"<main>{body}</main><noscript>Plots need JavaScript; tables and video do not.</noscript>"
        f"<script>{_plotly()}</script><script>{_asset('page.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text()


def _plotly() -> str:
    """Return plotly's minified script, which must not end the element it stands in."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("</script", "<\\/script")
