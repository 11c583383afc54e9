"""Read an ONNX file without the ``onnx`` package: only what running or comparing a policy needs.

A protobuf message is a list of (field number, value): a varint, 4 or 8 bytes, or bytes with their length. Field
numbers below are those of onnx.proto3, which never change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from robodistill_deploy.errors import SpecError
from robodistill_deploy.graph import Port

Values = npt.NDArray[Any]
Field = int | bytes

_DTYPES: dict[int, type[np.generic]] = {
    1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64,
}  # fmt: skip
_NAMES = {1: "tensor(float)", 7: "tensor(int64)", 9: "tensor(bool)", 11: "tensor(double)"}
_TYPED_DATA = {4: np.float32, 5: np.int32, 7: np.int64, 10: np.float64}
"""Fields of a tensor that hold its numbers as such, instead of as raw bytes."""
MAX_ELEMENTS = 2**28


@dataclass(frozen=True)
class Node:
    """One operation."""

    op: str
    inputs: tuple[str, ...]
    """An empty name stands for an optional input that is left out."""
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class OnnxModel:
    """What a file holds."""

    nodes: tuple[Node, ...]
    initializers: dict[str, Values]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: dict[str, str]
    opset: int
    """Of the standard operators."""


def read_onnx(data: bytes) -> OnnxModel:
    """Return the model in ``data``; what is no ONNX model is a SpecError."""
    try:
        return _model(data)
    except (ValueError, KeyError, IndexError, TypeError, struct.error, OverflowError) as error:
        raise SpecError(f"not an ONNX model that can be read here: {' '.join(str(error).split())}") from error


def _model(data: bytes) -> OnnxModel:
    model = list(_fields(data))
    (graph,) = (list(_fields(_bytes(v))) for n, v in model if n == 7)
    tensors = [_tensor(_bytes(v)) for n, v in graph if n == 5]
    opsets = [dict(_fields(_bytes(v))) for n, v in model if n == 8]
    pairs = [dict(_fields(_bytes(v))) for n, v in model if n == 14]
    return OnnxModel(
        nodes=tuple(_node(_bytes(v)) for n, v in graph if n == 1),
        initializers=dict(tensors),
        inputs=tuple(_port(_bytes(v)) for n, v in graph if n == 11),
        outputs=tuple(_port(_bytes(v)) for n, v in graph if n == 12),
        metadata={_text(pair[1]): _text(pair.get(2, b"")) for pair in pairs},
        opset=next((_int(o[2]) for o in opsets if not o.get(1)), 0),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Field]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + size > len(data):
            raise ValueError(f"a field ends {at + size - len(data)} bytes behind the file")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number of more than 64 bits at byte {at}")


def _tensor(data: bytes) -> tuple[str, Values]:
    fields = list(_fields(data))
    single = dict(fields)
    dtype = np.dtype(_DTYPES[_int(single.get(2, 0))])
    shape = tuple(_repeated(fields, 1))
    if single.get(14):
        raise ValueError("a tensor lies in another file")
    typed = next((n for n in _TYPED_DATA if n in single), None)
    if 9 in single or typed is None:
        values = np.frombuffer(_bytes(single.get(9, b"")), dtype.newbyteorder("<"))
    elif typed in (4, 10):
        chunks = b"".join(_bytes(v) for n, v in fields if n == typed)
        values = np.frombuffer(chunks, np.dtype(_TYPED_DATA[typed]).newbyteorder("<"))
    else:
        values = np.array(_repeated(fields, typed), np.int64)
    if any(n < 0 for n in shape) or values.size > MAX_ELEMENTS:
        raise ValueError(f"a tensor of shape {shape}")
    return _text(single.get(8, b"")), values.astype(dtype).reshape(shape)


def _node(data: bytes) -> Node:
    fields = list(_fields(data))
    single = dict(fields)
    if single.get(7):
        raise ValueError(f"operator domain {_text(single[7])!r}")
    return Node(
        _text(single[4]),
        tuple(_text(v) for n, v in fields if n == 1),
        tuple(_text(v) for n, v in fields if n == 2),
        dict(_attribute(_bytes(v)) for n, v in fields if n == 5),
    )


def _attribute(data: bytes) -> tuple[str, Any]:
    fields = list(_fields(data))
    single = dict(fields)
    kind = _int(single.get(20, 0))
    name = _text(single[1])
    if kind == 1:
        return name, struct.unpack("<f", _bytes(single.get(2, b"\0\0\0\0")))[0]
    if kind == 2:
        return name, _signed(_int(single.get(3, 0)))
    if kind == 3:
        return name, _text(single.get(4, b""))
    if kind == 4:
        return name, _tensor(_bytes(single[5]))[1]
    if kind == 6:
        chunks = b"".join(_bytes(v) for n, v in fields if n == 7)
        return name, np.frombuffer(chunks, "<f4").tolist()
    if kind == 7:
        return name, _repeated(fields, 8)
    raise ValueError(f"attribute {name!r} of kind {kind}")


def _port(data: bytes) -> Port:
    port = dict(_fields(data))
    tensor = dict(_fields(_bytes(dict(_fields(_bytes(port[2])))[1])))
    shape: list[int | str | None] = []
    for number, value in _fields(_bytes(tensor.get(2, b""))):
        if number == 1:
            size = dict(_fields(_bytes(value)))
            shape.append(_int(size[1]) if 1 in size else _text(size[2]) if 2 in size else None)
    kind = _int(tensor.get(1, 0))
    return Port(_text(port[1]), _NAMES.get(kind, f"tensor of kind {kind}"), tuple(shape))


def _repeated(fields: list[tuple[int, Field]], number: int) -> list[int]:
    """Return integers that were written one by one or packed into one field."""
    found: list[int] = []
    for n, value in fields:
        if n == number and isinstance(value, int):
            found.append(_signed(value))
        elif n == number:
            at = 0
            packed = _bytes(value)
            while at < len(packed):
                one, at = _varint(packed, at)
                found.append(_signed(one))
    return found


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _int(value: Field) -> int:
    if not isinstance(value, int):
        raise TypeError("a field holds bytes where a number belongs")
    return value


def _bytes(value: Field) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a field holds a number where bytes belong")
    return value


def _text(value: Field) -> str:
    return _bytes(value).decode()
