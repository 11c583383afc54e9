"""Write report.html, one self-contained page about a run.

  robodistill report run=mine

Reads   what the other verbs left in runs/<run>/.
Writes  runs/<run>/report.html: curves, comparisons, tracking plots, falls by parameter, R^2 of the latent, video.

Missing parts are left out and named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robodistill.session import work

if TYPE_CHECKING:
    from robodistill.settings import RunConfig


def run(config: RunConfig) -> int:
    """Run this stage; the ones that feed it must be done."""
    return work(config, "report", only="report")
