"""JSON without its leniences: no NaN, no infinity, no key written twice; floats at full precision."""

from __future__ import annotations

import json
import math
from typing import Any

from robodistill_deploy.errors import SpecError


def dumps(plain: Any, name: str) -> str:
    """Return ``plain`` as one line of ASCII; ``name`` begins the path in an error."""
    _check_values(plain, name)
    try:
        return json.dumps(plain, allow_nan=False, separators=(",", ":"))
    except TypeError as error:
        raise SpecError(f"{name}: {error}; use Python's own numbers, not numpy's") from error


def loads(text: str, name: str) -> Any:
    """Read JSON back; ``name`` begins the path in an error."""
    try:
        plain = json.loads(text, object_pairs_hook=_unique)
        _check_values(plain, name)
    except ValueError as error:
        raise SpecError(f"{name} is not JSON: {error}") from error
    except RecursionError as error:
        raise SpecError(f"{name}: lists or mappings are nested too deeply") from error
    return plain


def _check_values(value: Any, path: str) -> None:
    """Refuse NaN, infinities (``1e999`` too), integers that no float holds and halves of characters."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_values(item, f"{path}.{key}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_values(item, f"{path}[{i}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{path}: {value} is not a finite number")
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise SpecError(f"{path}: half a character in {value!r}") from error
    elif isinstance(value, int) and abs(value) > 2**63:
        raise SpecError(f"{path}: an integer of more than 64 bits")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a dict from JSON pairs; JSON itself would let the last of two equal keys win."""
    data = dict(pairs)
    if len(data) != len(pairs):
        keys = [key for key, _ in pairs]
        raise SpecError(f"field {next(k for k in keys if keys.count(k) > 1)!r} is written twice")
    return data
