"""The JSON Schema of the PolicySpec, derived from its dataclasses: there is no second place to keep in step.

``python -m robodistill_deploy.json_schema`` writes it to ``policy.schema.json`` beside this module. It says what is
there and of which type; that lengths, names and ranges agree is checked by the dataclasses themselves.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from pathlib import Path
from typing import Any, cast

from robodistill_deploy.policy_spec import SCHEMA, PolicySpec

FILE = Path(__file__).with_name("policy.schema.json")

_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    Any: {},
}


def policy_schema() -> dict[str, Any]:
    """Return the schema of what ``PolicySpec.to_json`` writes."""
    definitions: dict[str, Any] = {}
    root = _schema(PolicySpec, definitions)
    definitions["PolicySpec"]["properties"]["schema"] = {"const": SCHEMA}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        "title": SCHEMA,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def to_text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(policy_schema(), indent=1) + "\n"


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": list(args)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(arg, definitions) for arg in args]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1], definitions)}
    if origin is tuple and args[1:] == (Ellipsis,):
        return {"type": "array", "items": _schema(args[0], definitions)}
    if origin is tuple:
        return {
            "type": "array",
            "prefixItems": [_schema(arg, definitions) for arg in args],
            "items": False,
            "minItems": len(args),
        }
    if dataclasses.is_dataclass(hint):
        return _reference(cast(type, hint), definitions)
    return dict(_SCALARS[hint])


def _reference(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # before its fields, which may refer to it
        hints = typing.get_type_hints(cls)
        names = [field.name for field in dataclasses.fields(cls)]
        definitions[cls.__name__] = {
            "description": inspect.cleandoc(cls.__doc__ or ""),
            "type": "object",
            "properties": {name: _schema(hints[name], definitions) for name in names},
            "required": names,
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{cls.__name__}"}


if __name__ == "__main__":
    FILE.write_text(to_text())
