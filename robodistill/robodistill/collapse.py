"""Collapse of an information bottleneck: what the latent says, or what it is to be like, has become nothing.

A training looks healthy then: a loss that compares two constants is small. Decided by the last tenth of a student's
log, when the bottleneck has its full weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TARGET, COMPRESSION = "policy/target_collapsed", "loss/compression"
"""Keys of the log: 1 where the embedding says the same of all worlds (``methods.hib``); KL(q(z|h) || N(0, I)) [nat]."""
LAST_SHARE = 0.1
LEAST_NATS = 0.1
"""Upper bound of what the latent says about the history below which it says nothing."""


@dataclass(frozen=True)
class Told:
    """What a log says of it."""

    collapsed: bool
    text: str


def find_collapse(lines: Sequence[Mapping[str, float]]) -> Told | None:
    """Return what a student's log says at its end; None where its method has no bottleneck to watch."""
    last = lines[-max(1, round(LAST_SHARE * len(lines))) :]
    flat, nats = ([line[key] for line in last if key in line] for key in (TARGET, COMPRESSION))
    if flat and sum(flat) > 0.5 * len(flat):
        return Told(True, f"the embedding said the same of all worlds in {sum(flat) / len(flat):.0%} of the end")
    if nats:
        mean = sum(nats) / len(nats)
        return Told(mean < LEAST_NATS, f"the latent says at most {mean:.2g} nat about the history")
    return None
