"""A robot without physics: sends states made here, in a named way of going wrong, and says which commands it heard."""

from __future__ import annotations

import json
import select
import sys
import time
from typing import Any

import numpy as np

from robodistill_deploy.drivers.base import Remote
from robodistill_deploy.drivers.unitree import motion_switcher, remote
from robodistill_deploy.drivers.unitree.dds import Participant, configuration, try_write
from robodistill_deploy.drivers.unitree.go2 import COMMAND_TOPIC, STATE_TOPIC, LowCmd_, LowState_
from robodistill_deploy.drivers.unitree.messages import LOW_CMD, LOW_STATE

POSITION = np.arange(20) * 0.125 - 0.5
FULL = np.full(LOW_STATE.c_type.itemsize, 255, np.uint8).view(LOW_STATE.c_type)
VALUES = 4 + np.flatnonzero(np.frombuffer(LOW_STATE.encode(FULL), np.uint8)[4:])
"""Bytes on the wire that are neither header nor padding"""


def state(tick: int) -> bytes:
    record = LOW_STATE.zeros()
    record["tick"], record["foot_force"] = tick, (10, 20, 30, 40)
    record["imu_state"]["quaternion"] = (0.5, -0.5, 0.5, 0.5)
    record["imu_state"]["gyroscope"] = (1.0, 2.0, 3.0)
    record["motor_state"]["q"] = POSITION
    record["motor_state"]["dq"] = POSITION + 1.0
    record["motor_state"]["tau_est"] = POSITION + 2.0
    record["wireless_remote"] = remote.to_receiver(Remote(np.array([0.25, 0.5, -0.25, -0.5]), frozenset({"A", "L2"})))
    record["crc"] = LOW_STATE.crc(record)
    return LOW_STATE.encode(record)


def wires(way: str, tick: int, rng: np.random.Generator) -> list[bytes]:
    """Return what goes out at ``tick``."""
    good = state(tick)
    if way == "duplicated":
        return [good, good]
    if way == "reordered":
        return [state(tick ^ 1)]
    if way == "damaged" or (way == "flipped" and tick % 3):
        damaged = bytearray(good)
        damaged[rng.choice(VALUES)] ^= 1 << int(rng.integers(8))
        return [bytes(damaged)]
    return [good]


def main(options: dict[str, Any]) -> None:
    participant = Participant(options["domain"], options.get("config") or configuration("lo"))
    commands = participant.reader(COMMAND_TOPIC, LowCmd_)
    states = participant.writer(STATE_TOPIC, LowState_)
    way = options.get("way", "")
    server = None if way == "silent" else motion_switcher.Server(participant, options.get("mode", "normal"))
    rng, tick, heard, wrong, last = np.random.default_rng(0), 0, 0, 0, LOW_CMD.zeros()
    print(json.dumps({"ready": True}), flush=True)
    due = time.monotonic()
    while not select.select([sys.stdin], [], [], 0.0)[0]:
        if server is not None:
            server.serve()
            server.mode = "normal" if way == "stubborn" else server.mode
        for sample in commands.take():
            record = LOW_CMD.decode(sample.wire)
            right = record is not None and LOW_CMD.crc(record) == record["crc"]
            heard, wrong, last = heard + 1, wrong + (not right), record if record is not None else last
        for wire in wires(way, tick, rng):
            try_write(states, LowState_(wire))
        tick, due = tick + 1, due + 0.002
        time.sleep(max(0.0, due - time.monotonic()))
    motors = {name: last["motor_cmd"][name].tolist() for name in ("mode", "q", "dq", "tau", "kp", "kd")}
    head = [*last["head"].tolist(), int(last["level_flag"])]
    mode = None if server is None else server.mode
    print(json.dumps({"heard": {"n": heard, "wrong": wrong, "motors": motors, "head": head, "mode": mode}}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
