"""The numpy backend: every operator as onnxruntime computes it, the same file format, the same refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from robodistill_deploy.errors import RobodistillError, SpecError
from robodistill_deploy.graph import Graph, GraphError
from robodistill_deploy.numpy_graph import OPERATORS, NumpyGraph
from robodistill_deploy.onnx_reader import read_onnx
from robodistill_deploy.ort_graph import OrtGraph
from robodistill_deploy.runtime import load_policy

Values = dict[str, np.ndarray[Any, Any]]
Write = Callable[..., Path]

A = np.random.default_rng(3).normal(0.0, 1.5, (2, 6)).astype(np.float32)
B = np.random.default_rng(4).normal(0.0, 1.0, (2, 6)).astype(np.float32)
POSITIVE = np.abs(A) + np.float32(0.1)
TRUE = np.array(True)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def scalar(value: float) -> np.ndarray[Any, Any]:
    return np.array(value, np.float32)


CASES: list[tuple[str, list[Any], dict[str, Any], int]] = [
    *((op, [A], {}, 1) for op in ("Abs", "Cos", "Exp", "Floor", "Identity", "Neg", "Relu", "Sigmoid", "Sin", "Tanh")),
    *((op, [POSITIVE], {}, 1) for op in ("Sqrt", "Reciprocal")),
    *((op, [A, B], {}, 1) for op in ("Add", "Div", "Max", "Min", "Mul", "Sub")),
    *((op, [A, B], {}, 1) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    ("Add", [A, scalar(2.0)], {}, 1),
    ("And", [A > 0, B > 0], {}, 1),
    ("Or", [A > 0, B > 0], {}, 1),
    ("Not", [A > 0], {}, 1),
    ("Pow", [POSITIVE, scalar(1.5)], {}, 1),
    ("Mod", [A, B], {"fmod": 1}, 1),
    ("Mod", [ints(-5, 5, 7), ints(3, -3, 4)], {}, 1),
    ("Where", [A > 0, A, B], {}, 1),
    ("Clip", [A, scalar(-0.5), scalar(0.7)], {}, 1),
    ("Clip", [A, None, scalar(0.7)], {}, 1),
    ("Clip", [A], {}, 1),
    ("Elu", [A], {"alpha": 0.7}, 1),
    ("Cast", [A > 0], {"to": TensorProto.FLOAT}, 1),
    ("Concat", [A, B], {"axis": 1}, 1),
    ("Concat", [A, B, A], {"axis": -1}, 1),
    ("Expand", [A[:, :1], ints(2, 6)], {}, 1),
    ("Expand", [A > 0, ints(3, 2, 6)], {}, 1),
    ("Flatten", [A.reshape(2, 3, 2)], {"axis": 1}, 1),
    ("Gemm", [A, B], {"transB": 1, "alpha": 0.5}, 1),
    ("Gemm", [A, B, np.ones((6, 6), np.float32)], {"transA": 1, "beta": 2.0}, 1),
    ("Gather", [A, ints(5, 0, -1)], {"axis": 1}, 1),
    ("Gather", [A, np.array(1, np.int64)], {}, 1),
    ("MatMul", [A, B.T.copy()], {}, 1),
    ("ReduceL2", [A, ints(-1)], {"keepdims": 1}, 1),
    ("ReduceSum", [A, ints(0)], {"keepdims": 0}, 1),
    ("ReduceSum", [A], {}, 1),
    ("Reshape", [A, ints(0, 3, -1)], {}, 1),
    ("Slice", [A, ints(1), ints(-1), ints(1)], {}, 1),
    ("Slice", [A, ints(0), ints(2**62), ints(-1), ints(2)], {}, 1),
    ("Split", [A, ints(2, 4)], {"axis": 1}, 2),
    ("Split", [A], {"axis": -1, "num_outputs": 4}, 4),
    ("Squeeze", [A[:, :1], ints(1)], {}, 1),
    ("Squeeze", [A[:, :1]], {}, 1),
    ("Unsqueeze", [A, ints(0, 3)], {}, 1),
    ("Transpose", [A], {}, 1),
    ("Transpose", [A.reshape(2, 3, 2)], {"perm": [1, 0, 2]}, 1),
]


def model_of(op: str, values: list[Any], attributes: dict[str, Any], outputs: int) -> bytes:
    """One operator whose first value is an input, the others constants; each result is cast to float."""
    names = [f"x{i}" if v is not None else "" for i, v in enumerate(values)]
    results = [f"y{i}" for i in range(outputs)]
    nodes = [helper.make_node(op, names, results, **attributes)]
    nodes += [helper.make_node("Cast", [y], [f"{y}f"], to=TensorProto.FLOAT) for y in results]
    kind = helper.np_dtype_to_tensor_dtype(values[0].dtype)
    graph = helper.make_graph(
        nodes, op,
        [helper.make_tensor_value_info("x0", kind, values[0].shape)],
        [helper.make_tensor_value_info(f"{y}f", TensorProto.FLOAT, None) for y in results],
        [numpy_helper.from_array(v, n) for n, v in list(zip(names, values, strict=True))[1:] if v is not None],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    ("op", "values", "attributes", "outputs"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_an_operator_as_onnxruntime_computes_it(
    op: str, values: list[Any], attributes: dict[str, Any], outputs: int
) -> None:
    data, names = model_of(op, values, attributes, outputs), [f"y{i}f" for i in range(outputs)]
    theirs = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(names, {"x0": values[0]})
    ours = NumpyGraph(data, Path("op.onnx")).run(names, {"x0": values[0]})
    for a, b in zip(ours, map(np.asarray, theirs), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)


def test_every_operator_is_compared() -> None:
    assert {case[0] for case in CASES} | {"Constant"} == set(OPERATORS)


def test_constants_as_nodes_are_read() -> None:
    value = np.arange(3, dtype=np.float32)
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(value)),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    (got,) = NumpyGraph(model.SerializeToString(), Path("c.onnx")).run(["y"], {"x": value})
    assert got.tolist() == [0.0, 2.0, 4.0]


def test_the_reader_reads_what_the_onnx_package_reads(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {"key": "väl"})
    ours = read_onnx(model.SerializeToString())
    assert ours.opset == 18
    assert ours.metadata == {"key": "väl"}
    assert [p.name for p in ours.inputs] == [v.name for v in model.graph.input]
    assert [p.shape for p in ours.outputs] == [
        tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in model.graph.output
    ]
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(ours.initializers[tensor.name], numpy_helper.to_array(tensor))
    assert [n.op for n in ours.nodes] == [n.op_type for n in model.graph.node]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.DOUBLE])
def test_numbers_that_are_not_raw_bytes_are_read(kind: int) -> None:
    tensor = helper.make_tensor("t", kind, [2, 2], [1, -2, 3, 4], raw=False)
    graph = helper.make_graph([], "g", [], [], [tensor])
    ours = read_onnx(helper.make_model(graph).SerializeToString())
    np.testing.assert_array_equal(ours.initializers["t"], numpy_helper.to_array(tensor))


def test_a_policy_runs_on_both(path: Path, ticks: list[Values]) -> None:
    ours, theirs = load_policy(path, backend="numpy"), load_policy(path, backend="onnxruntime")
    assert ours.backend.startswith("numpy")
    for i, signals in enumerate(ticks):
        if i == 20:
            ours.reset()
            theirs.reset()
        a, b = ours.tick(signals), theirs.tick(signals)
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-5)


def test_other_weights_fail_the_self_test_here_too(write: Write, model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "W":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.001), "W"))
    with pytest.raises(SpecError, match="self-test"):
        load_policy(write(model=model), backend="numpy")


def test_an_unknown_backend_is_named(path: Path) -> None:
    with pytest.raises(RobodistillError, match="'tensorrt': choose onnxruntime or numpy"):
        load_policy(path, backend="tensorrt")


def test_an_operator_that_is_missing_is_named(write: Write, model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Tanh":
            node.op_type = "Softsign"
    with pytest.raises(SpecError, match=r"no operator 'Softsign'.*load it with backend onnxruntime"):
        load_policy(write(model=model), backend="numpy")


@pytest.mark.parametrize("graph", [NumpyGraph, OrtGraph])
def test_a_bound_graph_reads_and_fills_the_arrays_it_was_given(graph: Callable[[bytes, Path], Graph]) -> None:
    data = model_of("Add", [A, B], {}, 1)
    x, y, other = A.copy(), np.zeros_like(A), np.zeros_like(A)
    loaded = graph(data, Path("add.onnx"))
    run, beside = loaded.bind({"x0": x}, {"y0f": y}), loaded.bind({"x0": x}, {"y0f": other})
    run()
    np.testing.assert_array_equal(y, A + B)
    x *= 2.0
    run()
    np.testing.assert_array_equal(y, 2.0 * A + B)
    assert not other.any()
    beside()
    np.testing.assert_array_equal(other, y)


@pytest.mark.parametrize("graph", [NumpyGraph, OrtGraph])
def test_an_output_of_another_size_is_refused(graph: Callable[[bytes, Path], Graph]) -> None:
    loaded = graph(model_of("ReduceSum", [A], {}, 1), Path("sum.onnx"))  # (1, 1), which numpy would stretch
    run = loaded.bind({"x0": A}, {"y0f": np.zeros_like(A)})
    with pytest.raises(GraphError, match=r"shape|dimensions"):
        run()


def test_shapes_that_do_not_fit_are_one_line(write: Write, model: onnx.ModelProto) -> None:
    graph = NumpyGraph(model.SerializeToString(), Path("g.onnx"))
    feeds = {p.name: np.zeros((1, 99), np.float32) for p in graph.inputs}
    with pytest.raises(GraphError, match="numpy failed at MatMul for 'linear'"):
        graph.run(["action.legs"], feeds)


PROBE = """
import sys
sys.modules["onnxruntime"] = None
from robodistill_deploy.runtime import load_policy
print(load_policy(sys.argv[1], backend="numpy").self_test_error)
"""


def test_it_needs_no_onnxruntime(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 1e-5
