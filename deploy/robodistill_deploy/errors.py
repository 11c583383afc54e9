"""The project's errors: one line each, saying what was found and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RobodistillError(Exception):
    """Base of every error a user can cause; the command line prints it and exits with 2."""


class SpecError(RobodistillError):
    """A spec, a policy file or a configuration does not say what it must."""


class DriverError(RobodistillError):
    """A robot cannot be reached, or does not deliver what it must."""


def unknown(kind: str, name: str, legal: Iterable[str]) -> str:
    """Return a line that names the unknown ``name``, the nearest legal one and all legal ones."""
    options = sorted(legal)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}legal: {', '.join(options) or '(none)'}"
