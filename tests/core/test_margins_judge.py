"""What standing and following mean: falls count once the policy drives, velocities in the heading's frame."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodistill.config import compose, decode
from robodistill.margins_judge import Judge, drive, floor_friction, judge_of, twist
from robodistill_envs.config import TaskConfig

Array = NDArray[np.float64]
JUDGE = Judge(min_height=0.2, velocity_rmse=0.4, yaw_rate_rmse=0.5, max_tilt=0.9, contacts=(slice(1, 2),))
SCRIPT = [(0.0, (0.0, 0.0, 0.0)), (1.0, (1.0, 0.0, 0.0)), (3.0, (0.0, 0.0, 0.5))]


def track(yaw: float = 0.0, ahead: float = 1.0, turn: float = 0.0) -> dict[str, Any]:
    """Return five seconds of a robot that goes ``ahead`` [m/s] and turns, heading to ``yaw``."""
    time = np.arange(500) * 0.01
    qpos, qvel = np.zeros((500, 7)), np.zeros((500, 6))
    qpos[:, 2], qpos[:, 3], qpos[:, 6] = 0.3, math.cos(yaw / 2.0), math.sin(yaw / 2.0)
    qvel[:, 0], qvel[:, 1], qvel[:, 5] = ahead * math.cos(yaw), ahead * math.sin(yaw), turn
    return {"time": time, "qpos": qpos, "qvel": qvel, "sensordata": np.zeros((500, 3))}


@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5])
def test_velocity_is_in_the_headings_frame(yaw: float) -> None:
    made = track(yaw, 0.7, 0.2)
    found, tilt = twist(made["qpos"], made["qvel"])
    np.testing.assert_allclose(found, np.tile([0.7, 0.0, 0.2], (500, 1)), atol=1e-12)
    assert tilt.max() < 1e-6


def test_a_yaw_rate_is_about_the_vertical() -> None:
    made = track()
    half = math.pi / 8.0  # rolled by 45 degrees: the body's z axis sees only part of a turn about the vertical
    made["qpos"][:, 3:7] = (math.cos(half), math.sin(half), 0.0, 0.0)
    made["qvel"][:, 3:6] = (0.0, math.sin(2.0 * half), math.cos(2.0 * half))
    found, tilt = twist(made["qpos"], made["qvel"])
    assert found[:, 2] == pytest.approx(1.0)
    assert tilt == pytest.approx(math.pi / 4.0)


def test_tracking_counts_settled_time_alone() -> None:
    figures = drive(track(), 1.0, 3.0, SCRIPT[:2])
    assert figures["velocity_rmse"] == pytest.approx(0.0, abs=1e-9)
    assert figures["mean_command"] == pytest.approx([1.0, 0.0, 0.0])
    assert JUDGE.why(figures) == ""
    lazy = drive(track(ahead=0.5), 1.0, 2.99, SCRIPT)
    assert lazy["velocity_rmse"] == pytest.approx(0.5)
    assert JUDGE.why(lazy) == "does not follow: RMSE of the velocity 0.50 m/s, bound 0.40"
    ahead = drive(track(), 3.0, 5.0, SCRIPT)
    assert ahead["yaw_rate_rmse"] == pytest.approx(0.5)
    assert ahead["velocity_rmse"] == pytest.approx(1.0)


def test_falls_count_only_while_the_policy_drives() -> None:
    for column, value, what in (("qpos", 0.1, "sank below 0.20 m"), ("sensordata", 1.0, "fell")):
        made = track()
        made[column][50:60, 2 if column == "qpos" else 1] = value
        assert JUDGE.fall(made, 1.0, 5.0) == "", "that was the ramp"
        assert JUDGE.fall(made, 0.2, 5.0) == f"{what} at 0.5 s"
    tipped = track()
    tipped["qpos"][300:, 3:7] = (math.cos(0.5), math.sin(0.5), 0.0, 0.0)
    assert JUDGE.fall(tipped, 1.0, 5.0) == "fell at 3.0 s"
    assert JUDGE.fall(tipped, 1.0, 2.9) == ""
    assert dataclasses.replace(JUDGE, min_height=None).fall(tipped, 1.0, 5.0) == ""


def test_bounds_are_the_tasks() -> None:
    go2 = decode(TaskConfig, compose(["task=go2_flat"])["task"])
    judge = judge_of(go2, 1.5)
    assert judge.min_height == pytest.approx(0.6 * go2.reset.height)
    assert judge.velocity_rmse == pytest.approx(1.5 * go2.targets["velocity_rmse"])
    assert judge.max_tilt == 0.9
    assert len(judge.contacts) == 1
    assert floor_friction(go2) == 0.8
    swingup = decode(TaskConfig, compose(["task=pendulum_swingup"])["task"])
    assert judge_of(swingup, 1.5) == Judge(None, None, None)
    assert floor_friction(swingup) is None
