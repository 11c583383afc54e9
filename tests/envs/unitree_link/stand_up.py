"""Stand the robot up through the unitree driver, 200 commands a second, and say how it stands."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from robodistill_deploy.drivers.base import Command
from robodistill_deploy.drivers.unitree.go2 import JOINTS, UnitreeDriver

CROUCH = {"hip": 0.0, "thigh": 1.3, "calf": -2.6}
STAND = {"hip": 0.0, "thigh": 0.9, "calf": -1.5}


def main(**options: Any) -> None:
    driver = UnitreeDriver(timeout=30.0, **options)
    driver.open()
    reading = driver.read()
    assert reading is not None
    here = reading.signals["joint_pos"]
    goals = [np.array([pose[name.split("_")[1]] for name in JOINTS]) for pose in (CROUCH, STAND)]
    before = float(np.abs(here - goals[1]).max())
    zero = np.zeros(12)
    for goal, seconds in ((goals[0], 1.6), (goals[1], 1.6), (goals[1], 1.0)):
        steps = int(200 * seconds)
        due = time.monotonic()
        for step in range(steps):
            target = here + (step + 1) / steps * (goal - here)
            driver.write(Command(target, zero, zero + 60.0, zero + 3.0, zero))
            driver.read()
            due += 0.005
            time.sleep(max(0.0, due - time.monotonic()))
        here = goal
    driver.wait(1.0)
    reading = driver.read()
    assert reading is not None
    w, x, y, z = reading.signals["imu_quat_wxyz"]
    driver.rejected.pop("stalled", None)  # a busy machine is no failure
    saw = {
        "before": before,
        "error": float(np.abs(reading.signals["joint_pos"] - goals[1]).max()),
        "tilt": float(np.hypot(2.0 * (w * x + y * z), 2.0 * (w * y - x * z))),
        "weight": float(reading.signals["foot_force"].sum()),
        "rejected": driver.rejected,
    }
    driver.close()
    time.sleep(1.0)  # for the robot's watchdog
    print(json.dumps({"saw": saw}), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
