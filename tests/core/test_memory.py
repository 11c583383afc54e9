"""Memory of the process: what is touched counts, what is given back does not."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from robodistill.memory import resident_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the peak is known")
def test_what_is_touched_counts_until_it_is_given_back() -> None:
    size = 64 << 20
    before = resident_bytes()
    block = np.ones(size // 8)
    assert 0.9 * size < resident_bytes() - before < 1.5 * size
    del block
    assert resident_bytes() - before < 0.5 * size
