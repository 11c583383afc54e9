"""Every difference between two policy files: fields of the spec by path, weights by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robodistill_deploy.codec import to_plain
from robodistill_deploy.describe import table
from robodistill_deploy.onnx_reader import OnnxModel, Values, read_onnx
from robodistill_deploy.policy_file import open_policy_file

_ABSENT = object()
_KEYED_BY = ("name", "signal")
"""What tells the items of a list apart, so that a new item is one difference and not one for each behind it."""
_LAST = ("provenance", "envelope")
"""Parts of a spec that differ between any two trainings: told after what a robot would notice."""
_NAMING = ("names", "elements", "joints")
"""Lists that name the numbers of the lists beside them."""


def differences(first: Path, second: Path) -> str:
    """Return a table of what differs between two policy files, one row a difference; empty if nothing does."""
    files = [open_policy_file(path) for path in (first, second)]
    specs = [to_plain(file.spec) for file in files]
    for spec in specs:  # follows from all else
        del spec["digest"]
    recorded = [[spec["self_test"].pop(kind) for kind in ("ticks", "sequence")] for spec in specs]
    rows = [(path, _text(a), _text(b)) for path, a, b in _walk(specs[0], specs[1], "")]
    rows += [_ticks(kind, a, b) for kind, a, b in zip(("ticks", "sequence"), *recorded, strict=True) if a != b]
    rows += _graph(*(read_onnx(file.path.read_bytes()) for file in files))  # where zoo:<name> was found
    rows.sort(key=lambda row: row[0].startswith(_LAST))  # stable
    return table(("what", str(first), str(second)), rows) + "\n" if rows else ""


def _ticks(kind: str, a: list[Any], b: list[Any]) -> tuple[str, str, str]:
    """Count recorded ticks that differ: their numbers follow from the weights."""
    same = sum(left == right for left, right in zip(a, b, strict=False))
    return f"self_test.{kind}", f"{len(a)} ticks", f"{len(b)} ticks, {same} of them the same"


def _walk(a: Any, b: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        names = _element_names(a, b)
        for key in dict.fromkeys([*a, *b]):
            own = f"{path}.{key}" if path else str(key)
            left, right = a.get(key, _ABSENT), b.get(key, _ABSENT)
            if key not in _NAMING and names and _is_list_of(left, len(names)) and _is_list_of(right, len(names)):
                left, right = dict(zip(names, left, strict=True)), dict(zip(names, right, strict=True))
            yield from _walk(left, right, own)
    elif isinstance(a, list) and isinstance(b, list) and a != b and _are_keyed(a, b):
        left, right = _by_key(a), _by_key(b)
        yield from _walk(left, right, path)
        if list(left) != list(right):
            yield f"{path}: order", ", ".join(left), ", ".join(right)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _walk(left, right, f"{path}[{i}]")
    elif type(a) is not type(b) or a != b:
        yield path, a, b


def _element_names(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return the names of the numbers in the lists of ``a`` and ``b``, where both have the same."""
    for key in _NAMING:
        if key in a and a[key] == b.get(key) and len(set(a[key])) == len(a[key]):
            return a[key]
    return []


def _is_list_of(value: Any, size: int) -> bool:
    return isinstance(value, list) and len(value) == size


def _are_keyed(*lists: list[Any]) -> bool:
    for items in lists:
        if not all(isinstance(item, dict) and any(key in item for key in _KEYED_BY) for item in items):
            return False
    return all(len(_by_key(items)) == len(items) for items in lists)


def _by_key(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {next(item[k] for k in _KEYED_BY if k in item): item for item in items}


def _text(value: Any) -> str:
    if value is _ABSENT:
        return "(none)"
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 72 else f"{text[:68]} ..."


def _graph(a: OnnxModel, b: OnnxModel) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    ops = [[node.op for node in model.nodes] for model in (a, b)]
    if ops[0] != ops[1]:
        rows.append(("graph: operators", f"{len(ops[0])} nodes", f"{len(ops[1])} nodes"))
    elif a.nodes != b.nodes:
        rows.append(("graph", "other connections or attributes", "with the same operators"))
    for name in dict.fromkeys([*a.initializers, *b.initializers]):
        left, right = a.initializers.get(name), b.initializers.get(name)
        if left is None or right is None or left.shape != right.shape:
            rows.append((f"weights: {name}", _shape(left), _shape(right)))
        elif not np.array_equal(left, right, equal_nan=left.dtype.kind == "f"):
            worst = float(np.max(np.abs(left.astype(float) - right.astype(float))))
            rows.append((f"weights: {name}", _shape(left), f"differs by up to {worst:.4g}"))
    return rows


def _shape(values: Values | None) -> str:
    return "(none)" if values is None else "x".join(map(str, values.shape)) or "1 number"
