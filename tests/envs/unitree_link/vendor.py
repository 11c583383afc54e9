"""The vendor's own SDK, in a process of its own: as the client of a robot, or as the robot."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

import numpy as np
import unitree_interface as sdk

from robodistill_deploy.drivers.unitree.dds import configuration

CROUCH = [0.0, 1.3, -2.6] * 4
STAND = [-0.1, 0.8, -1.5, 0.1, 0.8, -1.5, -0.1, 1.0, -1.5, 0.1, 1.0, -1.5]
"""[rad] in the order of the motor slots: FR, FL, RR, RL"""


OWN_OUTPUT = os.fdopen(os.dup(1), "w")
"""For what is said here; the SDK's own lines, which come at any time, go to standard error."""
os.dup2(2, 1)


def say(key: str, value: Any) -> None:
    OWN_OUTPUT.write(json.dumps({key: value}) + "\n")
    OWN_OUTPUT.flush()


def told_to_end(seconds: float) -> bool:
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def state(robot: Any) -> dict[str, Any]:
    low, remote = robot.read_low_state(), robot.read_wireless_controller()
    return {
        "q": low.motor.q, "dq": low.motor.dq, "tau": low.motor.tau_est, "quat": low.imu.quat, "rpy": low.imu.rpy,
        "gyro": low.imu.omega, "remote": [remote.lx, remote.ly, remote.rx, remote.ry, remote.keys],
    }  # fmt: skip


def drive(robot: Any) -> None:
    """Wait for a state, then move the joints to a crouch and up."""
    while not any(robot.read_low_state().motor.q):
        if told_to_end(0.02):
            return
    say("state", state(robot))
    here = np.array(robot.read_low_state().motor.q)
    for goal, seconds in ((CROUCH, 1.6), (STAND, 1.6), (STAND, 1.0)):
        begin = time.monotonic()
        while (share := (time.monotonic() - begin) / seconds) < 1.0:
            command = robot.create_zero_command()
            command.q_target = (here + share * (np.array(goal) - here)).tolist()
            command.kp, command.kd = [60.0] * 12, [3.0] * 12
            robot.write_low_command(command)
            time.sleep(0.004)
        here = np.array(goal)
    say("stood", state(robot))


def be_robot(robot: Any) -> None:
    """Send states, and answer the motion switcher, until told to end; then say what the last command was."""
    robot.enable_motion_switcher_responder()
    low = sdk.LowState(12)
    low.motor.q = [0.1 * (slot + 1) for slot in range(12)]
    low.imu.quat = [0.5, 0.5, -0.5, 0.5]
    say("ready", True)
    while not told_to_end(0.002):
        robot.publish_low_state(low)
    heard = robot.read_incoming_command()
    say("heard", {"q": heard.q_target, "dq": heard.dq_target, "kp": heard.kp, "kd": heard.kd, "tau": heard.tau_ff})


def main(options: dict[str, Any]) -> None:
    config = configuration("lo", options["port_base"])
    robot = sdk.UnitreeInterface.create_go2("lo", dds_config=config)
    (be_robot if options.get("robot") else drive)(robot)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
