"""Run the unitree driver for some readings and say what it saw."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from robodistill_deploy.drivers.base import Command
from robodistill_deploy.drivers.unitree.go2 import UnitreeDriver
from robodistill_deploy.errors import DriverError


def main(readings: int = 0, pause: float = 0.0, until_back: bool = False, **options: Any) -> None:
    """Take this many readings; ``until_back`` counts them from where the robot's own counter went back."""
    driver = UnitreeDriver(**{"timeout": 30.0, **options})  # a busy machine is no failure
    start = time.monotonic()
    try:
        driver.open()
        driver.open()  # which changes nothing
    except DriverError as error:
        print(json.dumps({"error": str(error), "after": time.monotonic() - start}), flush=True)
        return
    print(json.dumps({"open": time.monotonic() - start}), flush=True)
    seen: list[Any] = []
    zero = np.zeros(12)
    n = 0
    while n < readings:
        if pause:
            time.sleep(pause)
        else:
            driver.wait(0.5)
        reading = driver.read()
        assert reading is not None
        seen.append([reading.tick, reading.stamp, time.monotonic(), reading.signals["joint_pos"].tolist()])
        driver.write(Command(zero + n, zero + 1.0, zero + 20.0, zero + 0.5, zero - 2.0))
        until_back = until_back and not (len(seen) > 1 and seen[-1][0] < seen[-2][0])
        n += not until_back
    reading = driver.read()
    assert reading is not None
    last = {name: values.tolist() for name, values in reading.signals.items()}
    held = None if reading.remote is None else [reading.remote.axes.tolist(), sorted(reading.remote.buttons)]
    driver.close()
    driver.rejected.pop("stalled", None)
    print(
        json.dumps({"saw": {"seen": seen, "last": last, "remote": held, "received": driver.received,
                            "rejected": driver.rejected}}),
        flush=True,
    )  # fmt: skip


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
