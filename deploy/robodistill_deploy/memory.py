"""Memory of a process that keeps time."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def settled_memory() -> Iterator[None]:
    """Within, the garbage collector walks only through what was made since.

    Through all that a runner has loaded it takes 50 ms, with torch and MuJoCo 100 ms and more: a sensor is stale by
    then. What is thrown away in the loop is still collected.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
