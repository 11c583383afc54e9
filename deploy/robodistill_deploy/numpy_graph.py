"""The graph on numpy alone, for computers that have no onnxruntime: MLP, history stack and GRU students.

It evaluates the operators that the exporter writes for these kinds, as ONNX defines them at opset 18, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robodistill_deploy.errors import SpecError
from robodistill_deploy.graph import Array, GraphError
from robodistill_deploy.onnx_reader import Node, Values, read_onnx

OPSETS = (13, 22)
"""Oldest and newest opset in which the operators below mean the same."""
Attributes = Mapping[str, Any]
Operator = Callable[..., Any]
"""(attributes, *inputs) -> the output, or a tuple of outputs"""

_CAST: dict[int, type[np.generic]] = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}


class NumpyGraph:
    """Fulfils ``graph.Graph``."""

    def __init__(self, data: bytes, path: Path) -> None:
        """Read the model and compute what depends on no input, once."""
        self.backend = f"numpy {np.__version__}"
        try:
            model = read_onnx(data)
        except SpecError as error:
            raise SpecError(f"{path}: {error}") from error
        if not OPSETS[0] <= model.opset <= OPSETS[1]:
            raise SpecError(f"{path}: opset {model.opset}, the numpy backend knows {OPSETS[0]} to {OPSETS[1]}")
        self.inputs, self.outputs = model.inputs, model.outputs
        self.metadata: Mapping[str, str] = model.metadata
        self._constants: dict[str, Values] = dict(model.initializers)
        self._steps: list[tuple[Operator, Node]] = []
        for node in model.nodes:
            if node.op not in OPERATORS:
                raise SpecError(
                    f"{path}: the numpy backend has no operator {node.op!r}, it runs MLP, history stack and GRU; "
                    "load it with backend onnxruntime"
                )
            step = (OPERATORS[node.op], node)
            if not all(name in self._constants or not name for name in node.inputs):
                self._steps.append(step)
                continue
            try:
                _evaluate(step, self._constants)
            except GraphError as error:
                raise SpecError(f"{path}: {error}") from error

    def run(self, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Return new arrays for the outputs called ``names``; a GraphError says what failed."""
        values: dict[str, Values] = {**self._constants, **feeds}
        with np.errstate(all="ignore"):  # the caller looks at what is not finite
            for step in self._steps:
                _evaluate(step, values)
        return [np.array(values[name], np.float32) for name in names]

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return what reads ``inputs``, computes and copies to ``outputs``."""
        names, places = list(outputs), list(outputs.values())

        def run() -> None:
            for name, place, value in zip(names, places, self.run(names, inputs), strict=True):
                if value.shape != place.shape:  # numpy would stretch it
                    raise GraphError(f"output {name!r} of the graph has shape {value.shape}, expected {place.shape}")
                place[...] = value

        return run


def _evaluate(step: tuple[Operator, Node], values: dict[str, Values]) -> None:
    operator, node = step
    try:
        result = operator(node.attributes, *(values[name] if name else None for name in node.inputs))
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise GraphError(f"numpy failed at {node.op} for {node.outputs[0]!r}: {error}") from error
    results = result if isinstance(result, tuple) else (result,)
    values.update(zip(node.outputs, results, strict=True))


def _of(function: Callable[..., Any]) -> Operator:
    """Return an operator without attributes."""
    return lambda _, *inputs: function(*inputs)


def _sigmoid(x: Array) -> Array:
    return np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x)


def _elu(attributes: Attributes, x: Array) -> Array:
    alpha = np.float32(attributes.get("alpha", 1.0))
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _clip(_: Attributes, x: Values, low: Values | None = None, high: Values | None = None) -> Values:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _gemm(attributes: Attributes, a: Array, b: Array, c: Array | None = None) -> Array:
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    product = a @ b
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    product = product if alpha == 1.0 else np.float32(alpha) * product
    return product if c is None else product + (c if beta == 1.0 else np.float32(beta) * c)


def _split(attributes: Attributes, x: Values, sizes: Values | None = None) -> tuple[Values, ...]:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        cuts = np.cumsum(sizes)[:-1]
    else:
        count = attributes["num_outputs"]
        each = -(-x.shape[axis] // count)
        cuts = np.arange(1, count) * each
    return tuple(np.split(x, cuts, axis))


def _slice(
    _: Attributes, x: Values, starts: Values, ends: Values, axes: Values | None = None, steps: Values | None = None
) -> Values:
    index = [slice(None)] * x.ndim
    for i in range(starts.size):
        axis = i if axes is None else int(axes[i])
        step = 1 if steps is None else int(steps[i])
        if step <= 0:
            raise ValueError("a step that is not positive")
        index[axis] = slice(int(starts[i]), int(ends[i]), step)
    return x[tuple(index)]


def _axes(axes: Values | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(int(a) for a in axes)


def _reduce(function: Callable[..., Any]) -> Operator:
    def operator(attributes: Attributes, x: Array, axes: Values | None = None) -> Values:
        listed = attributes.get("axes")
        chosen = _axes(np.array(listed)) if listed is not None else _axes(axes)
        if chosen is None and attributes.get("noop_with_empty_axes", 0):
            return x
        return function(x, axis=chosen, keepdims=bool(attributes.get("keepdims", 1)))

    return operator


def _norm(x: Array, axis: tuple[int, ...] | None, keepdims: bool) -> Array:
    return np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims))


def _unsqueeze(_: Attributes, x: Values, axes: Values) -> Values:
    return np.expand_dims(x, tuple(int(a) for a in axes))


def _reshape(_: Attributes, x: Values, shape: Values) -> Values:
    return x.reshape([x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape)])


def _expand(_: Attributes, x: Values, shape: Values) -> Values:
    return x * np.ones([int(n) for n in shape], x.dtype) if x.dtype != np.bool_ else np.broadcast_to(x, shape)


def _mod(attributes: Attributes, a: Values, b: Values) -> Values:
    return np.fmod(a, b) if attributes.get("fmod", 0) else np.mod(a, b)


def _constant(attributes: Attributes) -> npt.NDArray[Any]:
    return attributes["value"]


OPERATORS: dict[str, Operator] = {
    "Abs": _of(np.abs), "Add": _of(np.add), "And": _of(np.logical_and), "Cos": _of(np.cos), "Div": _of(np.divide),
    "Equal": _of(np.equal), "Exp": _of(np.exp), "Floor": _of(np.floor), "Greater": _of(np.greater),
    "GreaterOrEqual": _of(np.greater_equal), "Identity": _of(np.array), "Less": _of(np.less),
    "LessOrEqual": _of(np.less_equal), "MatMul": _of(np.matmul), "Max": _of(np.maximum), "Min": _of(np.minimum),
    "Mul": _of(np.multiply), "Neg": _of(np.negative), "Not": _of(np.logical_not), "Or": _of(np.logical_or),
    "Pow": _of(np.power), "Reciprocal": _of(np.reciprocal), "Relu": _of(lambda x: np.maximum(x, 0)),
    "Sigmoid": _of(_sigmoid), "Sin": _of(np.sin), "Sqrt": _of(np.sqrt), "Sub": _of(np.subtract), "Tanh": _of(np.tanh),
    "Where": _of(np.where), "Clip": _clip, "Constant": _constant, "Elu": _elu, "Expand": _expand, "Gemm": _gemm,
    "Gather": lambda attributes, x, indices: np.take(x, indices, attributes.get("axis", 0)),
    "Mod": _mod, "ReduceL2": _reduce(_norm), "ReduceSum": _reduce(np.sum), "Reshape": _reshape, "Slice": _slice,
    "Split": _split, "Unsqueeze": _unsqueeze,
    "Cast": lambda attributes, x: x.astype(_CAST[attributes["to"]]),
    "Concat": lambda attributes, *xs: np.concatenate(xs, attributes["axis"]),
    "Flatten": lambda attributes, x: x.reshape(int(np.prod(x.shape[: attributes.get("axis", 1)])), -1),
    "Squeeze": lambda _, x, axes=None: np.squeeze(x, _axes(axes)),
    "Transpose": lambda attributes, x: np.transpose(x, attributes.get("perm")),
}  # fmt: skip
"""ONNX operator -> what computes it."""
