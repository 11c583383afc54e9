"""A session on video instead of in a browser: what the operator would ask for is written down here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robodistill.play.session import Session, View
from robodistill.report.video import FPS, Clip, arrows, labels
from robodistill_envs.config import CommandConfig
from robodistill_envs.model import mjcf_path
from robodistill_envs.render import animate
from robodistill_envs.scene import load_scene
from robodistill_envs.stick_figure import root_body
from robodistill_envs.video import write_video

_SIZE = (640, 480)
_SHARE = 0.7
"""Of each command element's limits."""


def script(command: CommandConfig) -> NDArray[np.float64]:
    """Return the commands (S, c) to ask for one after the other: stand, then up and down each element in turn."""
    still = np.zeros(len(command.elements))
    steps = [still]
    for i in range(len(still)):
        for limit in (command.upper[i], command.lower[i]):
            step = still.copy()
            step[i] = _SHARE * limit
            steps += [step] if limit else []
    return np.array(steps)


def act_out(session: Session, seconds: float, tick_done: Callable[[int], None]) -> list[View]:
    """Return what was to see at every tick of ``seconds`` [s] under the script, equal time for each command."""
    count = max(1, round(seconds / session.task.control_dt))
    steps = script(session.task.command) if session.task.command else np.zeros((1, 0))
    views: list[View] = []
    for tick in range(count):
        wanted = steps[tick * len(steps) // count]
        if session.task.command:
            session.set_command([float(v) for v in wanted])
        views.append(session.view())
        session.tick()
        tick_done(tick + 1)
    return views


def write_film(path: Path, session: Session, seconds: float, tick_done: Callable[[int], None]) -> int:
    """Write ``seconds`` [s] of the session under the script as an H.264 file; return how many frames there were."""
    views = act_out(session, seconds, tick_done)
    dt, command = session.task.control_dt, session.task.command
    stride = max(1, round(1.0 / (FPS * dt)))
    shown = views[::stride]
    clip = Clip(
        np.array([v.qpos for v in shown]), np.array([v.command for v in shown], np.float64),
        np.array([v.truth for v in shown], np.float64), np.array([v.push for v in shown], np.float64),
        fell=False, payload=None,
    )  # fmt: skip
    robot = session.task.robot
    model = load_scene(mjcf_path(robot.mjcf), floor=robot.floor, remove=robot.remove)
    texts = [f"{v.policy}, {v.falls} falls\n{text}".strip() for v, text in zip(
        shown, labels(clip, command.elements if command else ()), strict=True)]  # fmt: skip
    drawn = arrows(clip) if root_body(model) is not None else None
    frames = animate(model, clip.qpos, size=_SIZE, labels=texts, arrows=drawn)
    return write_video(path, frames, fps=1.0 / (dt * stride))
