"""The conditions that a policy was trained in, and what its commands may do: parts of the PolicySpec."""

from __future__ import annotations

from dataclasses import dataclass

from robodistill_deploy.errors import SpecError

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Statistics:
    """What a term looked like in training, per element, scaled and clipped as the network reads it."""

    mean: Numbers
    std: Numbers


@dataclass(frozen=True)
class Range:
    """What a parameter of the simulation was drawn from, per world or episode."""

    lower: Numbers
    """One per element, such as one per joint."""
    upper: Numbers
    unit: str

    def __post_init__(self) -> None:
        """Refuse ends of different lengths and ranges upside down."""
        if not self.lower or len(self.lower) != len(self.upper):
            raise SpecError(f"range: {len(self.lower)} lower ends and {len(self.upper)} upper ends")
        if any(low > high for low, high in zip(self.lower, self.upper, strict=True)):
            raise SpecError(f"range: a lower end of {self.lower} is above its upper end of {self.upper}")


@dataclass(frozen=True)
class Envelope:
    """The conditions that the policy was trained in. Outside them nobody has seen it work."""

    signal_noise: dict[str, float]
    """Standard deviation of a signal's noise, in its unit; a signal without noise is left out."""
    signal_quantum: dict[str, float]
    """Resolution of a signal, in its unit; a signal of full resolution is left out."""
    signal_delay: tuple[float, float]
    """[s] shortest and longest age of a signal"""
    action_delay: tuple[float, float]
    """[s] shortest and longest time until a target takes effect"""
    randomization: dict[str, Range]
    """By parameter, such as ``friction`` or ``payload``."""
    observations: dict[str, Statistics]
    """By term; every term of the group."""

    def __post_init__(self) -> None:
        """Refuse delays that are no ranges and negative deviations."""
        for name in ("signal_delay", "action_delay"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high:
                raise SpecError(f"envelope: {name} [{low}, {high}] s is not a range of times")
        for what, values in (("noise", self.signal_noise), ("quantum", self.signal_quantum)):
            for name, value in values.items():
                if value < 0.0:
                    raise SpecError(f"envelope: {what} of signal {name!r} is negative ({value})")


@dataclass(frozen=True)
class CommandRule:
    """What the operator's side does with a command; its trained ranges are in ``interface.commands``."""

    default: Numbers
    """What is commanded while nobody asks for anything."""
    rate_limit: Numbers | None
    """[unit/s] fastest change of each element; null where any jump was trained and is harmless"""
