"""Finding the robot: a state that queued up before does not tell that it is there now."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("cyclonedds")

from robodistill_deploy.drivers.unitree import UnitreeDriver
from robodistill_deploy.drivers.unitree.messages import LOW_STATE
from robodistill_deploy.errors import DriverError


class Topic:
    """Gives ``queued`` once, then ``always`` at each call."""

    def __init__(self, queued: list[bytes], always: list[bytes]) -> None:
        self.queued, self.always = queued, always

    def take(self) -> list[Any]:
        wires, self.queued = [*self.queued, *self.always], []
        return [SimpleNamespace(wire=wire) for wire in wires]

    def wait(self, seconds: float) -> bool:
        return False


class Found(UnitreeDriver):
    """The driver on a network of topics, before it has found the robot."""

    def __init__(self, states: Topic) -> None:
        super().__init__(timeout=0.02)
        self._topics = cast("Any", SimpleNamespace(states=states, remotes=Topic([], [])))

    def find(self) -> None:
        self._find()


def state() -> bytes:
    record = LOW_STATE.zeros()
    record["crc"] = LOW_STATE.crc(record)
    return LOW_STATE.encode(record)


def test_a_state_from_before_is_no_robot() -> None:
    with pytest.raises(DriverError, match="no rt/lowstate"):
        Found(Topic([state()], [])).find()


def test_the_control_one_that_keeps_coming_is() -> None:
    found = Found(Topic([], [state()]))
    found.find()
    assert found.read() is not None
