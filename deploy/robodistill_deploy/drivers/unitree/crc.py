"""The check sum of Unitree's low-level messages: CRC-32/MPEG-2 over the little-endian words of the C struct.

Polynomial 0x04C11DB7, start 0xFFFFFFFF, nothing reflected, nothing inverted at the end; each 32-bit word goes in with
its highest bit first. Source: ``unitree_sdk2py/utils/crc.py`` and the vendor's C++ SDK, with which a test compares.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
"""Each byte with its bits in reverse"""


def crc32_mpeg2(words: npt.NDArray[np.uint8]) -> int:
    """Return the sum of ``words``, the bytes of 32-bit words that have been turned to big-endian.

    zlib's CRC is the same polynomial with every byte and the result reflected, and inverted at the end: reflecting
    what goes in and what comes out undoes it, in microseconds instead of the millisecond of a loop over bits.
    """
    reflected = zlib.crc32(words.tobytes().translate(_REVERSED)) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")
