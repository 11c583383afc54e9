"""How the policies came to be: learning curves and reward terms."""

from __future__ import annotations

from robodistill.report.html import details, grid, how, legend, note, plot, section
from robodistill.report.inputs import Inputs, Line
from robodistill.report.plots.base import COLORS, OTHERS, Figure, color_of, heading, label_of, words
from robodistill.report.plots.curves import column, key_curves, keys, metric_curves

FIGURES = {
    "episode/length_s": "Episode length [s]",
    "episode/ended_early": "Share of episodes that ended early",
    "policy/action_error_over_sigma": "Student's action error, in the teacher's σ",
    "policy/std_teacher": "Exploration of the teacher, σ",
    "policy/kl": "KL of an update",
    "time/steps_per_s": "Speed [steps/s]",
}
"""Key -> title of the curves that are always wanted."""
_RETURN, _DRIVEN = "episode/return", "episode/return_"
_REWARDS, _LOSSES, _CAUSES = "reward/", "loss/", "termination/"
_COUNTERS = ("iteration", "env_steps", "wall_s")
_HEIGHT = 175


def training(inputs: Inputs) -> str:
    """Return the learning curves of every stage that kept a log."""
    title = "Learning curves"
    if not inputs.metrics:
        return section("training", title, note("No metrics.jsonl in any stage yet: nothing was trained."))
    main = plot(
        metric_curves(inputs.metrics, _RETURN, "environment steps of the stage", "return of an episode"),
        "Mean return of the episodes that ended in an iteration, exploration included; each stage counts its own "
        "steps. Thin: as measured; bold: smoothed. Hover for the wall time.",
        height=380,
    )
    common = [_small(inputs, key, name) for key, name in FIGURES.items()]
    own = [panel for stage, lines in inputs.metrics.items() for panel in _stage_panels(stage, lines)]
    body = main or note("No episode has ended yet: the log holds no return.")
    body += legend(inputs.metrics) + grid(common, "plots") + grid(own, "plots more")
    body += how(
        "All against environment steps. Returns should rise and early ends fall; a loss of imitation should fall. The "
        "losses of reinforcement learning tell little: surrogate and entropy rise as the policy grows sure. A KL that "
        "leaves its goal for long, or a value loss that keeps growing, is where to look."
    )
    rest = grid((_small(inputs, key, key) for key in _others(inputs)), "plots")
    return section("training", title, body + (details("All other logged figures", rest) if rest else ""))


def _small(inputs: Inputs, key: str, title: str) -> str:
    """Return a small plot of one key of all stages; its legend stands above all small plots."""
    return _panel(title, metric_curves(inputs.metrics, key), named=False)


def _stage_panels(stage: str, lines: list[Line]) -> list[str]:
    """Return each of a stage's losses, the causes of its early ends, and its return by who drove."""
    label, colors = label_of(stage), (*OTHERS, *COLORS.values())
    panels = []
    for key in keys(lines, _LOSSES):
        name = words(key.removeprefix(_LOSSES))
        chart = key_curves(lines, {key: (name, color_of(stage))})
        panels.append(_panel(f"{label}: loss {name}", chart, named=False))
    causes = [key for key in keys(lines, _CAUSES) if column(lines, key).any()]
    named = {k: (words(k.removeprefix(_CAUSES)), colors[i % len(colors)]) for i, k in enumerate(causes)}
    panels.append(_panel(f"{label}: share of episodes ended by", key_curves(lines, named)))
    drivers = {key: key.removeprefix(_DRIVEN) for key in keys(lines, _DRIVEN)}
    roles = {key: (f"{label_of(name)} drives", color_of(name)) for key, name in drivers.items()}
    return [*panels, _panel(f"{label}: return by driver", key_curves(lines, roles))]


def _panel(title: str, chart: Figure | None, named: bool = True) -> str:
    """Return a small plot; ``named`` gives it a legend of its own."""
    if chart is not None:
        chart["layout"]["showlegend"] = named
    return plot(chart, height=_HEIGHT + 20 * named, title=title, small=True)


def _others(inputs: Inputs) -> list[str]:
    """Return every key that no other plot shows."""
    every = dict.fromkeys(key for lines in inputs.metrics.values() for key in keys(lines))
    shown = (_REWARDS, _LOSSES, _CAUSES, _RETURN)
    return [key for key in every if key not in (*FIGURES, *_COUNTERS) and not key.startswith(shown)]


def rewards(inputs: Inputs) -> str:
    """Return every reward term over training."""
    stages = [stage for stage, lines in inputs.metrics.items() if keys(lines, _REWARDS)]
    names = dict.fromkeys(key for stage in stages for key in keys(inputs.metrics[stage], _REWARDS))
    if not names:
        return section("rewards", "Reward terms", note("No reward terms in any metrics.jsonl."))
    weights = {
        r.get("name"): r.get("weight") for r in inputs.task.get("rewards") or () if isinstance(r, dict)
    }
    panels = []
    for key in names:
        term = key.removeprefix(_REWARDS)
        weight = weights.get(term)
        told = f" (weight {weight:g})".replace("-", "−") if isinstance(weight, (int, float)) else ""
        panels.append(_small(inputs, key, heading(term) + told))
    text = how(
        "What each term adds to the return per second of an episode, weight included; their sum is the reward. Scales "
        "differ: read each against zero."
    )
    return section("rewards", "Reward terms", legend(stages) + grid(panels, "plots") + text)
