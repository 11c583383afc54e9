"""The video of a run: which episodes it shows, what is drawn into them, that it is made once."""

from __future__ import annotations

import math
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import yaml

from robodistill.report import student_video, write_report
from robodistill.report.inputs import load_inputs
from robodistill.report.video import Clip, arrows, choose, cut, labels

R, T, DT = 3, 100, 0.02
"""Shape of the recorded episodes: worlds, ticks, control step [s]."""


def test_video_shows_two_hard_episodes_and_is_kept(run: Path, small_videos: None) -> None:
    path = student_video(run)
    assert path is not None
    size = next(imageio_ffmpeg.read_frames(str(path)))["size"]
    assert size == (320, 120)  # two panels
    stamp = path.stat().st_mtime_ns
    assert student_video(run) == path
    assert path.stat().st_mtime_ns == stamp
    (run / "config.yaml").unlink()
    assert student_video(run) is None


def test_a_video_that_cannot_be_made_is_told(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["task"]["robot"]["mjcf"] = "robots/nowhere.xml"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "No video: no model file" in write_report(run).read_text()


def test_choose_takes_load_and_pushes_not_success(whole: Path) -> None:
    data = load_inputs(whole).trajectories
    push = np.zeros((R, T, 2))
    push[2, 30], push[1, 40] = (0.7, 0.0), (0.0, 0.3)
    data |= {"student.push": push}
    assert choose(data, "student") == [0, 2]  # 0 carries most, then 2 is pushed hardest
    del data["parameter.payload"]
    assert choose(data, "student") == [2, 1]


def test_clip_ends_with_the_episode_and_holds_a_push(whole: Path) -> None:
    data = load_inputs(whole).trajectories
    clip = cut(data, "student", 1, DT, stride=2)
    assert clip.fell
    assert len(clip.qpos) == len(clip.command) == len(clip.push) == math.ceil(T * 3 / 4 / 2)
    assert not clip.push[14].any()
    np.testing.assert_allclose(clip.push[15:27], np.tile(data["student.push"][1, 30], (12, 1)))
    assert labels(clip, ["vx", "vy"])[-1].endswith("FELL")
    assert "PUSH" in labels(clip, ["vx", "vy"])[20]
    assert labels(clip, [])[0] == "payload -0.5 kg"


def test_arrows_point_where_the_robot_should_go() -> None:
    quarter = [math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]  # heading along +y
    qpos = np.array([[1.0, 2.0, 0.3, *quarter, 0.0]])
    clip = Clip(
        qpos, np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 0.5, 0.0]]), np.array([[0.4, 0.0]]), False, None
    )
    wanted, actual, push = arrows(clip)[0]
    np.testing.assert_allclose(wanted.vector, [0.0, 0.4, 0.0], atol=1e-12)
    np.testing.assert_allclose(actual.vector, [-0.2, 0.0, 0.0], atol=1e-12)
    tip = np.add(push.start, push.vector)
    assert tip[0] < 1.0
    assert push.vector[0] > 0.0  # towards the robot, from behind
    still = Clip(qpos, np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 2)), False, None)
    assert arrows(still) == [[]]
