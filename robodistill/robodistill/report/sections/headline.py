"""What a reader sees first: the result in a sentence, a video, key figures, claims, what it cost, the files."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from robodistill.report.html import badge, grid, note, number, plain_unit, strip, table
from robodistill.report.inputs import Inputs, mapping
from robodistill.report.plots.base import duration, heading, words
from robodistill.report.verdicts import (
    AT_LEAST,
    bound,
    figure_of,
    judge,
    metric_names,
    score_conditions,
    targets,
    verdicts,
)

MAX_CARDS = 6
EXTRA_FILES = ("policy.onnx", "summary.json", "config.yaml", "evaluation/evaluation.json", "check/check.json")


def headline(inputs: Inputs, video: Path | None, caption: str) -> str:
    """Return the top of the page; ``caption`` is what stands under the video, or why there is none."""
    shown = _video(video, caption) if video else note(caption)
    cards = grid(_cards(inputs), "cards") or note("No key figures yet: run robodistill evaluate.")
    left, right = shown + _verdicts(inputs), cards + _cost(inputs) + _files(inputs)
    body = f'<p class="result">{_sentence(inputs)}</p><div class="hero"><div>{left}</div><div>{right}</div></div>'
    return f'<section id="result">{body}</section>'


def title_of(inputs: Inputs) -> str:
    """Return what the page is called."""
    task = inputs.task.get("name") or inputs.summary.get("task") or inputs.evaluation.get("task")
    return f"{task}: {inputs.run.name}" if task else inputs.run.name


def _sentence(inputs: Inputs) -> str:
    """Say in words what came out."""
    score, falls = figure_of(inputs, "student", "score"), figure_of(inputs, "student", "falls_per_minute")
    if score is None:
        return "This run has no evaluation of a student yet; what it holds so far is shown below."
    text = (
        f"From its own sensors alone, the student earns <strong>{score.mean:.1%}</strong> of what the privileged "
        f"teacher earns over doing nothing"
    )
    if score.low == score.low:
        text += f" (95% interval {score.low:.1%} to {score.high:.1%})"
    if falls is not None and (inputs.task.get("terminations") or not inputs.task):
        text += f", and falls <strong>{falls.mean:.2g}</strong> times a minute"
    against = [v.claim for v in score_conditions(inputs) if v.state == "fails"]
    if against:
        text = f"<strong>The score does not count</strong>, it fails: {escape('; '.join(against))}. " + text
    episodes = inputs.evaluation.get("episodes") or inputs.summary.get("episodes")
    return text + (f"; {escape(str(episodes))} paired episodes." if episodes else ".")


def _cards(inputs: Inputs) -> list[str]:
    """Return the score, what has a target, then other metrics, as many as there is room for."""
    wanted = targets(inputs)
    can_fall = bool(inputs.task.get("terminations")) or not inputs.task
    metrics = (name for name in metric_names(inputs) if can_fall or name != "falls_per_minute")
    settled = [name for name in metrics if not name.endswith("_unsettled")]
    known = [
        name for name in dict.fromkeys(["score", *wanted, *settled]) if figure_of(inputs, "student", name)
    ]
    return [_card(inputs, name, wanted.get(name)) for name in known[:MAX_CARDS]]


def _card(inputs: Inputs, name: str, target: float | None) -> str:
    found = {policy: figure_of(inputs, policy, name) for policy in ("teacher", "student")}
    compared = {policy: value for policy, value in found.items() if value is not None}
    value, verdict = compared["student"], ""
    if target is not None:
        verdict = badge(judge(value, target, name in AT_LEAST), f"{bound(name)} {target:g}")
    scale = strip(compared, name, target, zero=name != "score")
    return (
        f'<div class="card"><div class="top"><span>{escape(heading(name))}</span>{verdict}</div>'
        f'<div class="value">{number(value, plain_unit(value.unit))}</div>'
        f'<div class="ci">{value.interval or "&nbsp;"}</div>{scale}</div>'
    )


def _video(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        '<figure class="video"><video autoplay muted loop playsinline controls '
        f'src="data:video/mp4;base64,{data}"></video><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _verdicts(inputs: Inputs) -> str:
    found = verdicts(inputs)
    if not found:
        return note("Nothing to judge yet: no evaluation, no check.")
    kept = sum(v.state == "holds" for v in found)
    rows = [(badge(v.state), escape(v.claim), escape(v.found)) for v in found]
    return f"<h3>{kept} of {len(found)} claims hold</h3>" + table((), rows, "claims")


def _cost(inputs: Inputs) -> str:
    """Return what the run cost, stage by stage."""
    stages = mapping(inputs.summary, "stages")
    walls = {name: float(mapping(stages, name).get("wall_s") or 0.0) for name in stages}
    total = float(inputs.summary.get("wall_s") or sum(walls.values()))
    if not total:
        return note("No summary yet: nothing is known of the time it took.")
    steps, speed = inputs.summary.get("env_steps"), inputs.summary.get("env_steps_per_s")
    told = f"{steps / 1e6:.2f} million environment steps" if steps else ""
    told += f", {speed:,.0f} a second" if steps and speed else ""
    shown = [(i % 6, name, wall) for i, (name, wall) in enumerate(walls.items()) if wall > 0]
    bars = "".join(
        f'<span class="s{i}" style="flex-grow:{wall / total:.4f}" title="{escape(n)}"></span>'
        for i, n, wall in shown
    )
    keys = "".join(
        f'<span><i class="s{i}"></i>{escape(words(n))} {duration(wall)}</span>' for i, n, wall in shown
    )
    stack = f'<div class="bars">{bars}</div><p class="legend">{keys}</p>' if shown else ""
    return f"<h3>{duration(total)} of wall time</h3><p class='lead'>{told}</p>{stack}"


def _files(inputs: Inputs) -> str:
    """Link what lies beside the report."""
    named = [str(name) for name in mapping(inputs.summary, "files").values()]
    names = [
        n for n in dict.fromkeys([*named, *EXTRA_FILES]) if (inputs.run / n).is_file() and n != "report.html"
    ]
    sizes = ((name, (inputs.run / name).stat().st_size) for name in names)
    links = (
        f'<a href="{escape(name)}">{escape(name)} <small>{_size(size)}</small></a>' for name, size in sizes
    )
    return f'<p class="files">{"".join(links)}</p>' if names else ""


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
