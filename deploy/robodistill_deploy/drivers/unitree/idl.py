"""The DDS types of the messages, made from their fields.

Octets are ``types.byte``, never ``types.uint8``: CycloneDDS 11 announces uint8 in a way that the 0.10.2 on the robot
cannot parse, and the robot's process crashes (reproduced against Debian's 0.10.2 and the vendor's C++ SDK).
"""

from __future__ import annotations

from typing import Any

from cyclonedds import idl
from cyclonedds.idl import types

from robodistill_deploy.drivers.unitree.messages import Kind, Struct

_KINDS: dict[str, Any] = {
    "byte": types.byte,
    "int16": types.int16,
    "uint16": types.uint16,
    "int32": types.int32,
    "uint32": types.uint32,
    "float32": types.float32,
}


def raw_type(struct: Struct) -> type[Any]:
    """Return the IDL type of ``struct``, whose samples are made from, and hold as ``wire``, their own bytes.

    What CycloneDDS would encode and decode field by field is handed through; the header comes first.
    """
    made: Any = _made(struct, dataclassify=False)
    made.__init__ = _keep
    made.serialize = _hand_out
    made.deserialize = classmethod(_take_in)
    made.deserialize_key = classmethod(_take_in)  # of the empty sample that tells of a writer that has left
    return made


def _keep(sample: Any, wire: bytes) -> None:
    sample.wire = wire


def _hand_out(sample: Any, *_: object, **__: object) -> bytes:
    return sample.wire


def _take_in(made: type[Any], data: bytes, *_: object, **__: object) -> Any:
    return made(data)


def plain_type(struct: Struct) -> type[Any]:
    """Return the IDL type of ``struct`` as CycloneDDS has them: objects that it encodes field by field."""
    return _made(struct, dataclassify=True)


def _made(struct: Struct, dataclassify: bool) -> type[Any]:
    fields = {name: _field(kind, count) for name, kind, count in struct.fields}
    name = struct.name.rpartition(".")[2]
    return idl.make_idl_struct(name, struct.name, fields, dataclassify=dataclassify)


def _field(kind: Kind, count: int) -> Any:
    single = plain_type(kind) if isinstance(kind, Struct) else _KINDS[kind]
    return types.array[single, count] if count else single
