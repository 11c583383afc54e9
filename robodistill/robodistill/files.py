"""Files that are either whole or absent: written aside, synced to the disk, renamed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from robodistill_deploy.errors import RobodistillError


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut; a rename alone may sit in a cache."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, data: bytes) -> None:
    """Write ``data`` and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    write_synced(aside, text.encode())
    os.replace(aside, path)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by indented JSON; numbers that JSON lacks (nan, inf) become null."""
    write_text(path, json.dumps(finite_or_none(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path, kind: str) -> Any:
    """Return the JSON in ``path``; ``kind`` says in the error what the file should have been."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise RobodistillError(f"{kind} {path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RobodistillError(f"{kind} {path}: is not JSON ({error}); delete it or restore it") from error


def finite_or_none(value: Any) -> Any:
    """Return ``value`` with every float that is not finite replaced by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_none(item) for item in value]
    return value
