"""Threads of torch: the physics has its own, and they share the cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def set_threads(threads: int) -> int:
    """Give torch ``threads`` threads, what it has for 0; return ``threads``, for the physics.

    Physics and learning take turns, so both may have all cores.
    """
    torch.set_num_threads(threads or torch.get_num_threads())
    return threads


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work on one thread, as beside the physics, where tensors are small.

    Waking a second thread takes longer than most operations do there (docs/benchmarks.md has the figures).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
