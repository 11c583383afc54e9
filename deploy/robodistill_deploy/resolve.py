"""Turn the ``package.module:Name`` that a configuration gives into the class or function it names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeVar, overload

from robodistill_deploy.errors import SpecError, unknown

T = TypeVar("T")


@overload
def resolve(path: str, base: type[T]) -> type[T]: ...
@overload
def resolve(path: str, base: None = None) -> Any: ...
def resolve(path: str, base: type[Any] | None = None) -> Any:
    """Import ``path`` (``package.module:Name``); with ``base``, it must be a class derived from it."""
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise SpecError(f"type {path!r}: write it as 'package.module:Name'")
    module = _import(module_name, path)
    found = getattr(module, name, None)
    if found is None:
        raise SpecError(f"type {path!r}: {unknown('name', name, _public(module, base))}")
    if base is not None and not (isinstance(found, type) and issubclass(found, base)):
        raise SpecError(f"type {path!r}: {name} does not derive from {base.__module__}:{base.__qualname__}")
    return found


def resolve_function(path: str, params: Mapping[str, Any], where: str) -> Any:
    """Import function ``path``; ``params`` must be its keyword-only parameters. ``where`` begins the errors."""
    function = resolve(path)
    keywords = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for name in params:
        if name not in keywords:
            raise SpecError(f"{where}: {unknown('parameter', name, keywords)}")
    for name, parameter in keywords.items():
        if parameter.default is inspect.Parameter.empty and name not in params:
            raise SpecError(f"{where}: {path} needs the parameter {name!r}")
    return function


def _import(module_name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if not f"{module_name}.".startswith(f"{missing}."):
            raise SpecError(f"type {path!r}: needs the package {missing!r}; install it") from error
        parent, _, last = missing.rpartition(".")
        if not parent:
            raise SpecError(f"type {path!r}: there is no package {missing!r} to import") from error
        hint = unknown(f"module of {parent}", last, _submodules(parent))
        raise SpecError(f"type {path!r}: {hint}") from error


def _submodules(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    return [info.name for info in pkgutil.iter_modules(folders)] if folders else []


def _public(module: ModuleType, base: type[Any] | None) -> list[str]:
    """Return what ``module`` itself defines and a configuration may name."""
    names: list[str] = []
    for name, value in inspect.getmembers(module, callable):
        here = getattr(value, "__module__", None) == module.__name__
        fits = base is None or (isinstance(value, type) and issubclass(value, base))
        if here and fits and not name.startswith("_"):
            names.append(name)
    return names
