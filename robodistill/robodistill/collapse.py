"""Collapse of an information bottleneck: what the latent is to tell of, or what it tells, has become nothing.

A training looks healthy then: a loss that compares two constants is small. Decided by the last tenth of a student's
log, when the bottleneck has its full weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TARGET, DECODED = "policy/target_collapsed", "policy/decoded_r2"
"""Keys of the log (``methods.hib``): 1 where the embedding says the same of all worlds; share of variance decoded."""
LAST_SHARE = 0.1
LEAST_DECODED = 0.01
"""Share of the privileged group's variance below which the decoder has learnt nothing but its mean."""


@dataclass(frozen=True)
class Told:
    """What a log says of it."""

    collapsed: bool
    text: str


def find_collapse(lines: Sequence[Mapping[str, float]]) -> Told | None:
    """Return what a student's log says at its end; None where its method has no bottleneck to watch."""
    last = lines[-max(1, round(LAST_SHARE * len(lines))) :]
    flat, decoded = ([line[key] for line in last if key in line] for key in (TARGET, DECODED))
    if flat:
        share = sum(flat) / len(flat)
        return Told(share > 0.5, f"the embedding said the same of all worlds in {share:.0%} of the last iterations")
    if decoded:
        mean = sum(decoded) / len(decoded)
        return Told(mean < LEAST_DECODED, f"{mean:.1%} of the privileged group's variance is decoded from the latent")
    return None
