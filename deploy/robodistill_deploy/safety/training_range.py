"""Where signals were in training: the statistics of terms, turned back into ranges of the signals they read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.policy_spec import Statistics
from robodistill_deploy.safety.layout import Layout
from robodistill_deploy.safety_limits import SafetyLimits
from robodistill_deploy.spec import TermSpec

Array = NDArray[np.float64]

_TERMS = "robodistill_envs.terms.observations:"
# Terms that are a signal times the scale, about an origin that the parameter of that name gives.
_LINEAR = {_TERMS + "identity": None, _TERMS + "relative": "origin"}


def training_range(
    layout: Layout, limits: SafetyLimits, observations: dict[str, Statistics]
) -> tuple[NDArray[np.intp], Array, Array, tuple[str, ...]]:
    """Return indices into the measurement, their lower and upper ends in the signals' units, and their names.

    Watched is what a linear term reads of one signal that the driver delivers. A command has its trained range in the
    interface, and attitude is the tilt rule's business.
    """
    index: list[int] = []
    lower: list[float] = []
    upper: list[float] = []
    names: list[str] = []
    for terms in layout.interface.groups.values():
        for term in terms:
            if not _is_watched(term, layout) or term.name not in observations:
                continue
            signal = layout.interface.signal(term.inputs[0])
            index += layout.place(signal.name, signal.elements).tolist()
            low, high = _ends(term, observations[term.name], limits)
            lower += low.tolist()
            upper += high.tolist()
            names += [f"{signal.name} of {element!r}" for element in signal.elements]
    return np.array(index, np.intp), np.array(lower), np.array(upper), tuple(names)


def _is_watched(term: TermSpec, layout: Layout) -> bool:
    return (
        term.type in _LINEAR
        and len(term.inputs) == 1
        and term.inputs[0] in layout.signals
        and term.source == "sensor"
        and all(scale != 0.0 for scale in term.scale)
    )


def _ends(term: TermSpec, seen: Statistics, limits: SafetyLimits) -> tuple[Array, Array]:
    parameter = _LINEAR[term.type]
    origin = np.array(term.params[parameter] if parameter is not None else 0.0, dtype=np.float64)
    scale = np.array(term.scale)
    middle = np.array(seen.mean) / scale + origin
    half = limits.ood_sigmas * np.maximum(np.array(seen.std), limits.ood_floor) / np.abs(scale)
    return middle - half, middle + half
