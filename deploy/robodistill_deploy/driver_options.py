"""Find a driver by name and make it from ``key=value`` words."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from robodistill_deploy import drivers
from robodistill_deploy.drivers.base import Driver
from robodistill_deploy.errors import DriverError, unknown
from robodistill_deploy.resolve import resolve


def find_driver(name: str) -> Callable[..., Driver]:
    """Return the class of driver ``name``: one of this package, or ``package.module:Class`` of anybody's."""
    if ":" in name:
        return cast(Callable[..., Driver], resolve(name))
    own = [info.name for info in pkgutil.iter_modules(drivers.__path__) if info.name != "base"]
    if name not in own:
        raise DriverError(f"{unknown('driver', name, own)}; one of your own is written package.module:Class")
    try:
        module = importlib.import_module(f"robodistill_deploy.drivers.{name}")
    except ModuleNotFoundError as error:
        raise DriverError(f"driver {name!r} needs the package {error.name!r}; install it") from error
    return cast(Callable[..., Driver], module.driver)


def make_driver(name: str, words: Sequence[str], known: Mapping[str, Any] | None = None) -> Driver:
    """Return driver ``name`` made with ``words``, each ``key=value``; the values are numbers, words or JSON.

    ``known`` is what a driver that wants it need not be told, such as the policy's ``task``.
    """
    factory = find_driver(name)
    every = inspect.signature(factory).parameters
    parameters = {
        key: parameter
        for key, parameter in every.items()
        if parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    }
    passes_on = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in every.values())
    types = typing.get_type_hints(factory.__init__ if isinstance(factory, type) else factory)
    options = {key: value for key, value in (known or {}).items() if key in parameters}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise DriverError(f"--set {word!r}: write it as key=value; legal keys: {', '.join(parameters) or '(none)'}")
        if key not in parameters and not passes_on:
            raise DriverError(f"driver {name!r}: {unknown('option', key, parameters)}")
        options[key] = _value(key, text, types.get(key))
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in options:
            raise DriverError(f"driver {name!r} needs --set {key}=...")
    return factory(**options)


def _value(key: str, text: str, hint: Any) -> Any:
    if hint is str:
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, bool) and type(value) is not hint:
        raise DriverError(f"--set {key}={text}: must be {_SAID[hint]}")
    return value


_SAID = {int: "a whole number", float: "a number", bool: "true or false"}
