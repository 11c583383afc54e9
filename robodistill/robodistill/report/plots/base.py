"""What all plots share: the Figure, the colour of each policy, lines and bands.

A Figure is ``{"data": [traces], "layout": {...}}`` in plotly's JSON. Fonts, grid and background are left to the page,
which knows whether it is dark; the colours here are readable on both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Figure: TypeAlias = dict[str, Any]
Trace: TypeAlias = dict[str, Any]

NEUTRAL, PUSH = "#8b95a1", "#d6455d"
COLORS = {"teacher": "#e0861f", "student": "#2f7fd6", "onnx": "#12a37f", "zero_action": NEUTRAL}
OTHERS = ("#9a6bd6", "#c2589b", "#6b9a2d", "#3aa6b9", "#b5793b")
_ACRONYMS = {"rmse": "RMSE", "kl": "KL", "imu": "IMU", "com": "CoM", "onnx": "ONNX"}
LABELS = {"teacher": "Teacher", "student": "Student", "onnx": "ONNX", "zero_action": "Zero action"}


def color_of(name: str) -> str:
    """Return the colour that a policy or stage has everywhere; unknown names share a palette, always the same way."""
    return COLORS.get(name) or OTHERS[sum(name.encode()) % len(OTHERS)]


def label_of(name: str) -> str:
    """Return how a policy or stage is called in text."""
    return LABELS.get(name) or heading(name)


def words(name: str) -> str:
    """Return a key such as ``yaw_rate_rmse`` as words: ``yaw rate RMSE``."""
    return " ".join(_ACRONYMS.get(word, word) for word in name.split("_") if word)


def heading(name: str) -> str:
    """Return a key as words that begin with a capital."""
    text = words(name)
    return text[:1].upper() + text[1:]


def faded(color: str, alpha: float) -> str:
    """Return ``#rrggbb`` as ``rgba`` with the given opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def numbers(values: Iterable[Any] | NDArray[Any], digits: int = 5) -> list[float | None]:
    """Return floats rounded to ``digits`` significant ones, None for what is not finite (JSON has no nan)."""
    return [
        float(f"{v:.{digits}g}") if math.isfinite(v) else None
        for v in (float("nan") if value is None else float(value) for value in values)
    ]


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Return an axis with a title."""
    return {"title": {"text": title}, "automargin": True, **more}


def figure(traces: Sequence[Trace], x: str = "", y: str = "", **layout: Any) -> Figure:
    """Return a figure with one pair of axes; ``x`` and ``y`` are their titles."""
    base = {"xaxis": axis(x), "yaxis": axis(y), "showlegend": len(traces) > 1, "hovermode": "closest"}
    return {"data": list(traces), "layout": base | layout}


def line(x: Sequence[Any], y: Sequence[Any], name: str, color: str, width: float = 2.0, **more: Any) -> Trace:
    """Return a line trace; gaps (None) stay gaps."""
    style = {"color": color, "width": width, **more.pop("line", {})}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "y": list(y),
        "name": name,
        "line": style,
        **more,
    }


def errors(mean: NDArray[Any], low: NDArray[Any], high: NDArray[Any], color: str) -> dict[str, Any]:
    """Return asymmetric error bars from intervals, (n,) each."""
    return {
        "type": "data", "symmetric": False, "array": numbers(np.asarray(high) - mean),
        "arrayminus": numbers(np.asarray(mean) - low), "color": color, "thickness": 1.6, "width": 3,
    }  # fmt: skip


def duration(seconds: float) -> str:
    """Return a time span the way people say it: ``48 s``, ``12 min 5 s``, ``2 h 3 min``."""
    if not math.isfinite(seconds):
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
