"""The graph on onnxruntime, one thread."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import onnxruntime as ort

from robodistill_deploy.errors import SpecError
from robodistill_deploy.graph import Array, GraphError, Port

# A compiled module without type stubs, so it is imported by name.
_ort = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")

ORT_ERRORS: tuple[type[Exception], ...] = (
    _ort.EPFail,
    _ort.Fail,
    _ort.InvalidArgument,
    _ort.InvalidGraph,
    _ort.InvalidProtobuf,
    _ort.NoModel,
    _ort.NotImplemented,
    _ort.RuntimeException,
)
"""What onnxruntime raises; they share no base class of their own."""


class OrtGraph:
    """Fulfils ``graph.Graph``."""

    def __init__(self, data: bytes, path: Path) -> None:
        """Build the session from the very bytes that were verified."""
        self.backend = f"onnxruntime {ort.__version__}"
        try:
            self._session = ort.InferenceSession(
                data, _session_options(), providers=["CPUExecutionProvider"]
            )
        except ORT_ERRORS as error:
            reason = " ".join(str(error).split())
            raise SpecError(f"{path}: {self.backend} cannot load this graph: {reason}") from error
        self.inputs = tuple(Port(n.name, n.type, tuple(n.shape)) for n in self._session.get_inputs())
        self.outputs = tuple(Port(n.name, n.type, tuple(n.shape)) for n in self._session.get_outputs())
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Return new arrays for the outputs called ``names``."""
        try:
            return cast("list[Array]", self._session.run(names, feeds))
        except ORT_ERRORS as error:
            raise GraphError(f"onnxruntime failed: {' '.join(str(error).split())}") from error


def _session_options() -> ort.SessionOptions:
    """One thread and no pool: idle pool threads spin and burn a core at 50 Hz.

    ``session.set_denormal_as_zero`` stays off: it switches the calling thread of the whole process to
    flush-to-zero, and with it whatever else computes there, such as a simulator.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors only; warnings about unused initialisers are not for an operator
    return options
