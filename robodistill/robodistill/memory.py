"""Memory of this process, as the operating system counts it."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import os
import resource
import sys
from pathlib import Path


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """Return the bytes of memory in use (Linux), after giving back what is free; elsewhere the most that ever were."""
    gc.collect()
    name = ctypes.util.find_library("c")
    if name and sys.platform == "linux":
        trim = getattr(ctypes.CDLL(name), "malloc_trim", None)  # glibc only
        if trim:
            trim(0)
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
