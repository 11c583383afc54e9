"""From plain values to frozen dataclasses, strictly: dacite, with the path and the nearest legal key in its errors."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import dacite

from robodistill_deploy.errors import RobodistillError, unknown

T = TypeVar("T")


class ConfigError(RobodistillError):
    """A key, a value or a choice does not fit the configuration."""


def decode(cls: type[T], data: Mapping[str, Any], path: str = "") -> T:
    """Build the dataclass ``cls`` from plain ``data``; ``path`` is where ``data`` stands in the configuration.

    Strict: unknown, missing or ill-typed keys and values that the class itself refuses are ConfigErrors with
    their path. An int serves as a float, a list as a tuple; a bool serves as neither.
    """
    hints = typing.get_type_hints(cls)
    fields = [field.name for field in dataclasses.fields(cast(Any, cls)) if field.init]
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in fields:
            raise ConfigError(
                f"{path}: {unknown('key', str(key), fields)}" if path else unknown("key", str(key), fields)
            )
        values[key] = _fit(hints[key], value, f"{path}.{key}" if path else key)
    where = path or "configuration"
    try:
        return dacite.from_dict(cls, values, dacite.Config(strict=True))
    except dacite.WrongTypeError as error:
        at = ".".join(filter(None, (path, error.field_path)))
        raise ConfigError(f"{at}: expected {_name(error.field_type)}, got {_shown(error.value)}") from error
    except dacite.MissingValueError as error:
        raise ConfigError(f"{where}: key {error.field_path!r} is missing; add it") from error
    except (ValueError, RobodistillError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error


def field_paths(cls: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of all fields of the dataclass ``cls`` and of the dataclasses in it."""
    found: list[str] = []
    for name, hint in typing.get_type_hints(cls).items():
        found.append(f"{prefix}{name}")
        for member in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(member) and typing.get_origin(hint) not in (tuple, list, dict):
                found += field_paths(member, f"{prefix}{name}.")
    return found


def declares(hint: Any, parts: Sequence[str]) -> bool:
    """Return whether a value of type ``hint`` may have the key ``parts``, a dotted one taken apart."""
    if not parts or hint is Any:
        return True
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(declares(member, parts) for member in args)
    if origin is dict:
        return declares(args[1], parts[1:])
    hints = typing.get_type_hints(hint) if dataclasses.is_dataclass(hint) else {}
    return parts[0] in hints and declares(hints[parts[0]], parts[1:])


def _fit(hint: Any, value: Any, path: str) -> Any:
    """Return ``value`` in the form that ``hint`` names, as far as the two agree; dacite judges the rest."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return value if value is None else _fit(_member(args, value), value, path)
    if origin is Literal:
        if not any(type(value) is type(arg) and value == arg for arg in args):
            raise ConfigError(f"{path}: {unknown('value', str(value), map(str, args))}")
        return value
    if hint in (int, float) and isinstance(value, bool):
        raise ConfigError(f"{path}: expected {_name(hint)}, got {_shown(value)}")
    if hint is float and isinstance(value, int):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return decode(cast("type[Any]", hint), value, path)
    if origin in _CONTAINERS:
        kinds, fit = _CONTAINERS[origin]
        if not isinstance(value, kinds):
            raise ConfigError(f"{path}: expected {_name(hint)}, got {_shown(value)}")
        return fit(args, value, path)
    return value


def _member(args: tuple[Any, ...], value: Any) -> Any:
    """Return the member of a union that ``value`` is meant for; Any when none is, so that dacite names the union."""
    members = [arg for arg in args if arg is not type(None)]
    if len(members) == 1:
        return members[0]
    for member in members:
        if _suits(member, value):
            return member
    return float if float in members and type(value) is int else Any


def _suits(hint: Any, value: Any) -> bool:
    if dataclasses.is_dataclass(hint):
        return isinstance(value, Mapping) and set(value) <= {field.name for field in dataclasses.fields(hint)}
    origin = typing.get_origin(hint) or hint
    if origin is Literal:
        return value in typing.get_args(hint)
    return isinstance(value, (list, tuple)) if origin is tuple else type(value) is origin


def _fit_tuple(args: tuple[Any, ...], value: Any, path: str) -> Any:
    hints = args[:1] * len(value) if args[1:] == (...,) else args
    if len(hints) != len(value):
        raise ConfigError(f"{path}: expected {len(hints)} values, got {len(value)}: {_shown(value)}")
    return tuple(
        _fit(hint, item, f"{path}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _fit_list(args: tuple[Any, ...], value: Any, path: str) -> Any:
    return [_fit(args[0], item, f"{path}[{i}]") for i, item in enumerate(value)]


def _fit_dict(args: tuple[Any, ...], value: Any, path: str) -> Any:
    return {key: _fit(args[1], item, f"{path}.{key}") for key, item in value.items()}


_CONTAINERS: dict[Any, tuple[tuple[type, ...], Callable[[tuple[Any, ...], Any, str], Any]]] = {
    tuple: ((list, tuple), _fit_tuple),
    list: ((list, tuple), _fit_list),
    dict: ((Mapping,), _fit_dict),
}


def _name(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return "a mapping" if dataclasses.is_dataclass(hint) else hint.__name__
    return str(hint).replace("typing.", "")


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
