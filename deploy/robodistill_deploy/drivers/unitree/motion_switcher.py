"""Unitree's ``motion_switcher`` service, which says what drives the motors: both of its sides.

A robot that stands up after power-on is driven by its own sport mode, and so are its motors. Low-level commands
beside it fight with it, so it must be released first. Calls are DDS samples on ``rt/api/motion_switcher/request`` and
``.../response``, matched by id, with JSON inside. Source: ``unitree_sdk2py/rpc`` and ``comm/motion_switcher``.
"""

from __future__ import annotations

import json
import time
from typing import Any

from robodistill_deploy.drivers.unitree.api_types import (
    NO_BYTES,
    Request_,
    RequestHeader_,
    RequestIdentity_,
    RequestLease_,
    RequestPolicy_,
    Response_,
    ResponseHeader_,
    ResponseStatus_,
)
from robodistill_deploy.drivers.unitree.dds import Participant, try_write
from robodistill_deploy.errors import DriverError

CHECK_MODE, RELEASE_MODE = 1001, 1003
UNKNOWN_API = 3203
"""Status of a call that the service does not have (RPC_ERR_SERVER_API_NOT_IMPL)"""
_TOPIC = "rt/api/motion_switcher/"
_ANSWER = 1.0
"""[s] after which a call is sent again"""


def release(participant: Participant, timeout: float) -> None:
    """Release whatever drives the motors until nothing does.

    A DriverError says so when nobody answers, or when something still does after ``timeout`` [s].
    """
    client = _Client(participant, timeout)
    end = time.monotonic() + timeout
    while mode := client.call(CHECK_MODE).get("name"):
        if time.monotonic() > end:
            raise DriverError(
                f"the robot stays in mode {mode!r} for {timeout:g} s after release was asked for; lay it down and "
                "leave that mode with the vendor's app or remote, then start again"
            )
        client.call(RELEASE_MODE)
        time.sleep(0.1)


class _Client:
    def __init__(self, participant: Participant, timeout: float) -> None:
        self._timeout = timeout
        self._requests = participant.writer(_TOPIC + "request", Request_)
        self._responses = participant.reader(_TOPIC + "response", Response_, depth=10)

    def call(self, api: int) -> dict[str, Any]:
        """Return the answer to ``api``, asked again every second: at first the peer may not be found yet."""
        end = time.monotonic() + self._timeout
        while (now := time.monotonic()) < end:
            number = time.monotonic_ns()
            header = RequestHeader_(RequestIdentity_(number, api), RequestLease_(0), RequestPolicy_(0, False))
            try_write(self._requests, Request_(header, "{}", NO_BYTES))
            response = self._response(number, min(now + _ANSWER, end))
            if response is not None:
                return _content(response, api)
        raise DriverError(
            f"the robot's motion_switcher service does not answer within {self._timeout:g} s, so its sport mode cannot "
            "be released; update the firmware, or set release_sport_mode=false if nothing else drives the motors"
        )

    def _response(self, number: int, end: float) -> Response_ | None:
        while (left := end - time.monotonic()) > 0:
            self._responses.wait(min(left, 0.1))
            for response in self._responses.take(10):
                if response.header.identity.id == number:
                    return response
        return None


def _content(response: Response_, api: int) -> dict[str, Any]:
    code = response.header.status.code
    if code != 0:
        raise DriverError(f"the robot's motion_switcher refuses call {api} with code {code}; restart the robot")
    try:
        content = json.loads(response.data or "{}")
    except json.JSONDecodeError as error:
        raise DriverError(f"the robot's motion_switcher answers {response.data!r}, which is no JSON") from error
    return content if isinstance(content, dict) else {}


class Server:
    """The robot's side, for a simulated one. ``mode`` is what drives the motors; empty: low-level commands."""

    def __init__(self, participant: Participant, mode: str = "normal") -> None:
        self.mode = mode
        self._requests = participant.reader(_TOPIC + "request", Request_, depth=10)
        self._responses = participant.writer(_TOPIC + "response", Response_)

    def serve(self) -> None:
        """Answer the calls that have arrived, without waiting."""
        for request in self._requests.take(10):
            code, data = self._answer(request.header.identity.api_id)
            if not request.header.policy.noreply:
                header = ResponseHeader_(request.header.identity, ResponseStatus_(code))
                try_write(self._responses, Response_(header, data, NO_BYTES))

    def _answer(self, api: int) -> tuple[int, str]:
        if api == CHECK_MODE:
            return 0, json.dumps({"form": "0", "name": self.mode})
        if api == RELEASE_MODE:
            self.mode = ""
            return 0, ""
        return UNKNOWN_API, ""
