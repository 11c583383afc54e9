"""Frozen dataclasses to plain JSON values and back, strictly: no field is guessed or ignored."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar, cast

from robodistill_deploy.errors import SpecError, unknown

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Turn dataclasses, tuples and dicts into the dicts, lists and scalars that JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    return value


def from_plain(cls: type[T], data: Any, path: str = "") -> T:
    """Build dataclass ``cls`` from plain ``data``; a missing, unknown or ill-typed field is a SpecError."""
    where = path or cls.__name__
    if not isinstance(data, dict):
        raise SpecError(f"{where}: expected a mapping, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cast(Any, cls))}
    for key in data:
        if key not in fields:
            raise SpecError(f"{where}: {unknown('field', str(key), fields)}")
    missing = sorted(fields - set(data))
    if missing:
        raise SpecError(f"{where}: missing field {missing[0]!r}")
    return cls(**{name: _decode(hints[name], data[name], f"{where}.{name}") for name in fields})


def _decode(hint: Any, value: Any, path: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _decode(_member(args, value), value, path)
    if origin is typing.Literal:
        if value not in args:
            raise SpecError(f"{path}: {unknown('value', str(value), map(str, args))}")
        return value
    if origin is tuple:
        return _decode_tuple(args, value, path)
    if origin is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{path}: expected a mapping, got {type(value).__name__}")
        return {str(k): _decode(args[1], v, f"{path}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_plain(cast(type, hint), value, path)
    return _decode_scalar(hint, value, path)


def _member(args: tuple[Any, ...], value: Any) -> Any:
    """Return the member of a union that ``value`` looks like, else the first, whose error then says what is wrong."""
    members = [a for a in args if a is not type(None)]
    kind = tuple if isinstance(value, (list, tuple)) else type(value)
    return next((a for a in members if (typing.get_origin(a) or a) is kind), members[0])


def _decode_tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise SpecError(f"{path}: expected a list, got {type(value).__name__}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_decode(args[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if len(value) != len(args):
        raise SpecError(f"{path}: expected {len(args)} values, got {len(value)}")
    return tuple(_decode(a, item, f"{path}[{i}]") for i, (a, item) in enumerate(zip(args, value, strict=True)))


def _decode_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise SpecError(f"{path}: expected {hint.__name__}, got {type(value).__name__} {value!r}")
    return value
