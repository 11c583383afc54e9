"""Bind the functions that a task's YAML names to their parameters, once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from robodistill_deploy.resolve import resolve_function


def bind(path: str, params: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """Return the function ``path`` (``package.module:name``) with ``params`` filled in.

    Lists of numbers become float32 tensors here, not at every tick. ``where`` begins the errors.
    """
    function = resolve_function(path, params, where)
    return functools.partial(function, **{name: _constant(value) for name, value in params.items()})


def _constant(value: Any) -> Any:
    numbers = isinstance(value, (list, tuple)) and value and all(isinstance(v, (int, float)) for v in value)
    return torch.tensor(value, dtype=torch.float32) if numbers else value
