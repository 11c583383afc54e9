"""What is not finite stops the run: the error says where, and a file holds the state to look into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from robodistill_deploy.errors import RobodistillError


class NonFiniteError(RobodistillError):
    """A NaN or an infinity, with the world, the step and the term where it appeared."""


def first_bad(values: Mapping[str, Tensor]) -> tuple[str, int, int] | None:
    """Return name, row and column of the first number that is not finite in ``values`` (n, dim)."""
    for name, value in values.items():
        bad = (~value.isfinite()).nonzero()
        if bad.numel():
            return name, int(bad[0, 0]), int(bad[0, 1])
    return None


def fail(folder: Path, seed: int, world: int, state: Mapping[str, Tensor], what: str) -> None:
    """Save the ``state`` of ``world`` as a repro file in ``folder`` and raise NonFiniteError."""
    path = folder / f"nonfinite_seed{seed}_world{world}.npz"
    arrays: dict[str, Any] = {name: value.numpy() for name, value in state.items()}
    np.savez(path, seed=np.array(seed), **arrays)
    raise NonFiniteError(
        f"world {world}, episode {int(state['episode'])}, step {int(state['step'])}: {what} is not finite; "
        f"state saved in {path}"
    )
