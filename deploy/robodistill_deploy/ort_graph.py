"""The graph on onnxruntime, one thread."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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
            self.inputs = _ports(self._session.get_inputs())
            self.outputs = _ports(self._session.get_outputs())
            self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        except (*ORT_ERRORS, UnicodeDecodeError) as error:  # names are decoded only when asked for
            reason = " ".join(str(error).split())
            raise SpecError(f"{path}: {self.backend} cannot load this graph: {reason}") from error

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return what computes from and to the memory of the arrays: a call with neither dicts nor new arrays."""
        return _Bound(self._session, inputs, outputs)


class _Bound:
    """A session bound to arrays, which it keeps alive, for onnxruntime knows their addresses only."""

    def __init__(
        self, session: ort.InferenceSession, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> None:
        self._run, self._binding = session.run_with_iobinding, session.io_binding()
        self._values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in {**inputs, **outputs}.items()}
        for name in inputs:
            self._binding.bind_ortvalue_input(name, self._values[name])
        for name in outputs:
            self._binding.bind_ortvalue_output(name, self._values[name])

    def __call__(self) -> None:
        try:
            self._run(self._binding)
        except (*ORT_ERRORS, RuntimeError) as error:  # a bound run raises the latter, whatever failed
            raise GraphError(f"onnxruntime failed: {' '.join(str(error).split())}") from error


def _ports(nodes: Sequence[ort.NodeArg]) -> tuple[Port, ...]:
    return tuple(Port(node.name, node.type, tuple(node.shape)) for node in nodes)


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
