"""Files that are either whole or absent: written aside, synced to the disk, renamed.

What the disk refuses is a WriteError, one line that names the file and the remedy.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robodistill_deploy.errors import RobodistillError

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "mount it writable or choose another place with runs_dir=<folder>",
    errno.EACCES: "make it writable for you or choose another place with runs_dir=<folder>",
    errno.EPERM: "make it writable for you or choose another place with runs_dir=<folder>",
    errno.EIO: "check the disk",
    errno.ENOTDIR: "a file stands where a folder should; choose another place",
    errno.EEXIST: "a file stands where a folder should; choose another place",
}


class WriteError(RobodistillError):
    """The disk refused a write; what was whole before is still whole."""


def refused(error: OSError, path: Path | str) -> WriteError | None:
    """Return the line for a write to ``path`` that the disk refused; None for errors that are no such refusal."""
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    return WriteError(f"{path}: cannot be written: {error.strerror}; {remedy}, then give the same command again")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses inside into a WriteError that names ``path``."""
    try:
        yield
    except OSError as error:
        line = refused(error, path)
        if line is None:
            raise
        raise line from error


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep every other process that asks the same out of ``folder``; a killed one lets go by itself."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(file, 20).decode() or "?"
            raise RobodistillError(
                f"{folder}: process {owner} is at work here; wait for it, or choose another name with run=<name>"
            ) from error
        os.ftruncate(file, 0)
        os.write(file, str(os.getpid()).encode())
        yield
    finally:
        os.close(file)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut; a rename alone may sit in a cache."""
    handle = os.open(path, os.O_RDONLY)
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


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` in one step: a reader sees the old file or the new one, never a part."""
    aside = path.with_name(f".{path.name}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_synced(aside, data)
            os.replace(aside, path)
        except OSError:
            aside.unlink(missing_ok=True)  # a part takes the space that is lacking
            raise
        sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step."""
    write_bytes(path, text.encode())


def append(path: Path, data: bytes) -> None:
    """Add ``data`` to the end of ``path``; a part of it may stay there when the disk refuses the rest."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data)


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
