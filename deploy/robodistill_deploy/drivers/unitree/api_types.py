"""Calls and answers of Unitree's services, named as the vendor names them (``unitree_sdk2py/idl/unitree_api``).

They are rare, so CycloneDDS encodes them field by field. It reads these annotations and cannot resolve ``str`` from
text: this module must do without ``from __future__ import annotations``.
"""

from dataclasses import dataclass
from typing import Any

from cyclonedds import idl
from cyclonedds.idl import types

_MODULE = "unitree_api.msg.dds_."
NO_BYTES: Any = []
"""For calls and answers that are all text"""


@dataclass
class RequestIdentity_(idl.IdlStruct, typename=_MODULE + "RequestIdentity_"):  # noqa: N801, as the vendor has it
    """Which call, and of what."""

    id: types.int64
    api_id: types.int64


@dataclass
class RequestLease_(idl.IdlStruct, typename=_MODULE + "RequestLease_"):  # noqa: N801
    """Who holds the service; not used by this one."""

    id: types.int64


@dataclass
class RequestPolicy_(idl.IdlStruct, typename=_MODULE + "RequestPolicy_"):  # noqa: N801
    """How the call is queued."""

    priority: types.int32
    noreply: bool


@dataclass
class RequestHeader_(idl.IdlStruct, typename=_MODULE + "RequestHeader_"):  # noqa: N801
    """What stands before the parameters."""

    identity: RequestIdentity_
    lease: RequestLease_
    policy: RequestPolicy_


@dataclass
class Request_(idl.IdlStruct, typename=_MODULE + "Request_"):  # noqa: N801
    """A call."""

    header: RequestHeader_
    parameter: str
    binary: types.sequence[types.byte]


@dataclass
class ResponseStatus_(idl.IdlStruct, typename=_MODULE + "ResponseStatus_"):  # noqa: N801
    """0, or what went wrong."""

    code: types.int32


@dataclass
class ResponseHeader_(idl.IdlStruct, typename=_MODULE + "ResponseHeader_"):  # noqa: N801
    """What stands before the answer."""

    identity: RequestIdentity_
    status: ResponseStatus_


@dataclass
class Response_(idl.IdlStruct, typename=_MODULE + "Response_"):  # noqa: N801
    """An answer."""

    header: ResponseHeader_
    data: str
    binary: types.sequence[types.byte]
