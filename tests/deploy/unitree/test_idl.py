"""The announced types: octets are byte. As uint8 they crash peers that run CycloneDDS 0.10.2, which robots do."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest

pytest.importorskip("cyclonedds", reason="needs cyclonedds, which is installed with robodistill[dds]")

from cyclonedds.idl import IdlStruct, IdlUnion, make_idl_struct, types

from robodistill_deploy.drivers.unitree.api_types import Request_, Response_
from robodistill_deploy.drivers.unitree.go2 import LowCmd_, LowState_, WirelessController_

TYPES = [LowCmd_, LowState_, WirelessController_, Request_, Response_]


def kinds(idl_type: Any) -> set[str]:
    """Return the names of all primitive kinds in ``idl_type``."""
    found: set[str] = set()
    for hint in get_type_hints(idl_type, include_extras=True).values():
        found |= kinds_of(hint)
    return found


def kinds_of(hint: Any) -> set[str]:
    if isinstance(hint, type):
        return kinds(hint) if issubclass(hint, IdlStruct) else {hint.__name__}
    found = {part for part in getattr(hint, "__metadata__", ()) if isinstance(part, str)}
    inner = [getattr(part, "subtype", None) for part in getattr(hint, "__metadata__", ())]
    for part in [*inner, *get_args(hint)]:
        if part is not None and not isinstance(part, str) and (isinstance(part, type) or get_args(part)):
            found |= kinds_of(part) - {"int", "float", "list", "Sequence"}
    return found


@pytest.mark.parametrize("idl_type", TYPES, ids=lambda t: t.__name__)
def test_no_octet_is_a_uint8(idl_type: Any) -> None:
    assert "uint8" not in kinds(idl_type)


def test_the_search_sees_octets_at_every_depth() -> None:
    assert "byte" in kinds(LowState_)
    assert "byte" in kinds(Request_)
    inner = make_idl_struct("Inner_", "planted.Inner_", {"x": types.array[types.uint8, 3]})
    outer = make_idl_struct("Outer_", "planted.Outer_", {"y": types.array[inner, 2]})
    assert "uint8" in kinds(outer)


TK_BYTE, TK_UINT8 = 0x02, 0x0D
"""Discriminators of XTypes 1.3, section 7.3.4.5"""


def announced(idl_type: Any) -> set[Any]:
    """Return the kinds of all type identifiers in what a participant announces for ``idl_type``."""
    idl_type.__idl__.populate()
    idl_type.__idl__.fill_type_data()
    return identifiers(idl_type.__idl__.get_type_mapping())


def identifiers(value: Any) -> set[Any]:
    if isinstance(value, IdlUnion):
        own = {value.discriminator} if type(value).__name__ == "TypeIdentifier" else set()
        return own | identifiers(value.value)
    if isinstance(value, list | tuple):
        return set().union(*map(identifiers, value))
    return set().union(*map(identifiers, vars(value).values())) if isinstance(value, IdlStruct) else set()


@pytest.mark.parametrize("idl_type", TYPES, ids=lambda t: t.__name__)
def test_what_is_announced_has_no_uint8(idl_type: Any) -> None:
    found = announced(idl_type)
    assert TK_UINT8 not in found
    assert (TK_BYTE in found) == (idl_type is not WirelessController_)


def test_a_planted_uint8_would_be_announced() -> None:
    planted = make_idl_struct("Planted_", "planted.Planted_", {"x": types.uint8, "y": types.array[types.uint8, 2]})
    assert TK_UINT8 in announced(planted)


def test_names_are_the_vendors() -> None:
    names = [t.__idl__.idl_transformed_typename for t in TYPES]
    assert names == [
        "unitree_go::msg::dds_::LowCmd_",
        "unitree_go::msg::dds_::LowState_",
        "unitree_go::msg::dds_::WirelessController_",
        "unitree_api::msg::dds_::Request_",
        "unitree_api::msg::dds_::Response_",
    ]
