"""Write report.html, one self-contained page about a run, compare.html about several, or a page about a robot's log.

  robodistill report run=mine
  robodistill report compare demo_0 demo_1 'other_*'
  robodistill report log logs/20270301_101500_go2.mcap

report run=<run>
Reads   what the other verbs left in runs/<run>/.
Writes  runs/<run>/report.html: curves, comparisons, tracking plots, falls by parameter, R^2 of the latent, video.

Needs the stages evaluation and check: robodistill pipeline run=<run> makes what is missing.

report compare <run> <run> ...
Reads   runs of one task: names, or patterns in quotes. Those that differ only in their seed are one variant, named
        by the keys that tell it from the others.
Writes  compare.html: scores, returns and metrics with intervals over seeds, learning curves, paired differences, the
        cost of a fixed return, the settings that differ; and compare.json beside it with all figures.

Keys    out=compare.html        where to write
        runs_dir=runs           where the runs are
        reach=<return>          the fixed return; the task's floor for teachers unless given

report log <file>
Reads   what `robodistill-run run` recorded, also of a run that was killed.
Writes  <file>.html beside it, or out=<page>: modes and events on a time line, target and measured position of each
        joint, the effort that was asked for, latencies.

Example: does a longer training of the teacher pay, over three seeds?
  robodistill report compare 'short_*' 'long_*' out=long_or_short.html
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robodistill.session import work
from robodistill_deploy.errors import RobodistillError, unknown

if TYPE_CHECKING:
    from robodistill.settings import RunConfig

_KEYS = ("out", "runs_dir", "reach")


def run(config: RunConfig) -> int:
    """Run this stage; the ones that feed it must be done."""
    return work(config, "report", only="report")


def run_words(words: list[str]) -> int:
    """Compare the runs that the words after ``compare`` name, or show the log after ``log``."""
    if words[0] == "log":
        return _log(words[1:])
    from rich.console import Console

    from robodistill.report.compare import compare_runs, write_comparison
    from robodistill.report.compare.figures import parse_reach
    from robodistill.report.compare.terminal import remarks, table
    from robodistill.report.compare.variants import find_runs

    if words[0] != "compare":
        raise RobodistillError(f"{unknown('word', words[0], ['compare', 'log'])}; one run's report is report run=<run>")
    given = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    for key in given:
        if key not in _KEYS:
            raise RobodistillError(f"report compare: {unknown('key', key, _KEYS)}")
    page = Path(given.get("out", "compare.html"))
    if page.suffix != ".html":
        raise RobodistillError(f"out={page}: name a file that ends in .html")
    level = parse_reach(given["reach"]) if "reach" in given else None
    names = [word for word in words[1:] if "=" not in word]
    found = compare_runs(find_runs(names, Path(given.get("runs_dir", "runs"))), level)
    figures = write_comparison(found, page)
    console = Console(highlight=False)
    console.print(table(found))
    for line in remarks(found):
        console.print(line, soft_wrap=True)
    for name, path in (("report", page), ("figures", figures)):
        console.print(f"{name:<8}{path.resolve()}", soft_wrap=True)
    return 0


def _log(words: list[str]) -> int:
    from rich.console import Console

    from robodistill.report.log import write_log_page
    from robodistill_deploy.blackbox.log import read_log

    files = [word for word in words if not word.startswith("out=")]
    if len(files) != 1 or len(words) > 2:
        raise RobodistillError("report log: name one log, and out=<page>.html if it shall not lie beside it")
    page = Path(next((word[4:] for word in words if word.startswith("out=")), f"{files[0]}.html"))
    if page.suffix != ".html":
        raise RobodistillError(f"out={page}: name a file that ends in .html")
    write_log_page(read_log(files[0]), page)
    Console(highlight=False).print(f"report  {page.resolve()}", soft_wrap=True)
    return 0
