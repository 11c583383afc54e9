"""Graph: what runs a policy's network, onnxruntime or numpy alone; both read the same verified bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from robodistill_deploy.errors import RobodistillError

Array = npt.NDArray[np.float32]
Backend = Literal["onnxruntime", "numpy"]
BACKENDS: tuple[Backend, ...] = ("onnxruntime", "numpy")


class GraphError(RobodistillError):
    """The graph failed while it ran."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    type: str
    """As onnxruntime names it: ``tensor(float)``."""
    shape: tuple[int | str | None, ...]
    """A name or None stands for a size that is left open."""


class Graph(Protocol):
    """A loaded network."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]
    backend: str
    """What runs it, with its version."""

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return what runs the graph once: it reads ``inputs`` and fills ``outputs`` where they lie.

        The arrays are contiguous, by name, and of the graph's own shapes; bind each set of them once. What is returned
        raises a GraphError that says what failed; ``outputs`` then hold nothing of use.
        """
        ...


def load_graph(data: bytes, path: Path, backend: str) -> Graph:
    """Return the graph in ``data``, the contents of ``path``; a SpecError says why it cannot run here."""
    if backend == "onnxruntime":
        from robodistill_deploy.ort_graph import OrtGraph  # a computer without onnxruntime has the other

        return OrtGraph(data, path)
    if backend == "numpy":
        from robodistill_deploy.numpy_graph import NumpyGraph

        return NumpyGraph(data, path)
    raise RobodistillError(f"backend {backend!r}: choose {' or '.join(BACKENDS)}")
