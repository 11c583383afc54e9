"""Variants: methods with some of their keys changed, each a row of its own in a benchmark's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robodistill.decode import decode
from robodistill_deploy.errors import RobodistillError


@dataclass(frozen=True)
class Variant:
    """A method and what is changed in it."""

    method: str
    words: tuple[str, ...] = ()
    """Further ``key=value`` words of its cells."""


def of_methods(names: Sequence[str]) -> dict[str, Variant]:
    """Return each method as it is, under its own name."""
    return {name: Variant(name) for name in names}


def read_variants(path: Path) -> dict[str, Variant]:
    """Return the variants of a YAML file, by the name that they have in the table.

    as it is: {method: dagger}
    history of 5: {method: dagger, words: ["student.policy.encoder.history=5"]}
    """
    if not path.is_file():
        raise RobodistillError(f"variants={path}: there is no such file")
    try:
        read: Any = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise RobodistillError(f"variants={path}: {' '.join(str(error).split())}") from error
    if not isinstance(read, Mapping) or not read:
        raise RobodistillError(f"variants={path}: write one line a variant, name: {{method: ..., words: [...]}}")
    return {str(name): decode(Variant, fields, f"variants={path}: {name}") for name, fields in read.items()}
