"""The student on video: recorded episodes of the evaluation with the load, the pushes and the commands drawn in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodistill.report.inputs import Arrays, Inputs, control_dt, load_inputs, mapping
from robodistill.report.plots.tracking import alive_until, push_times
from robodistill_envs.model import mjcf_path
from robodistill_envs.render import Arrow, animate
from robodistill_envs.scene import load_scene
from robodistill_envs.stick_figure import Frame, root_body
from robodistill_envs.video import side_by_side, write_video

VIDEO = Path("report") / "student.mp4"
"""Where the video stands below the run."""
FPS = 25.0
SIZE = (480, 360)
PANELS = 2
MAX_S = 12.0
"""[s] shown of an episode."""

Color = tuple[float, float, float, float]
_WANTED, _ACTUAL, _PUSH = (0.15, 0.65, 0.25, 1.0), (0.16, 0.42, 0.86, 1.0), (0.88, 0.18, 0.22, 1.0)
_ABOVE = 0.22
"""[m] above the base where the velocity arrows begin."""
_PUSH_SHOWN_S = 0.5


@dataclass(frozen=True)
class Clip:
    """One recorded episode to draw, a row per frame."""

    qpos: NDArray[np.float64]
    """(F, nq)"""
    command: NDArray[np.float64]
    """(F, c)"""
    truth: NDArray[np.float64]
    """(F, c) what should follow the command"""
    push: NDArray[np.float64]
    """(F, 2) [m/s] world; the kick, shown for half a second"""
    fell: bool
    payload: float | None
    """[kg]"""


def student_video(run: Path) -> Path | None:
    """Write the student's video of the run in folder ``run`` and return its path; None without trajectories.

    A video that is younger than the trajectories is kept.
    """
    run = Path(run)
    inputs, path, source = load_inputs(run), run / VIDEO, run / "evaluation" / "trajectories.npz"
    mjcf = mapping(inputs.task, "robot").get("mjcf")
    policy = next((p for p in ("student", "onnx", "teacher") if f"{p}.qpos" in inputs.trajectories), None)
    if policy is None or not mjcf:
        return None
    if path.exists() and path.stat().st_mtime >= source.stat().st_mtime:
        return path
    dt = control_dt(inputs)
    stride = max(1, round(1.0 / (FPS * dt)))
    clips = [cut(inputs.trajectories, policy, row, dt, stride) for row in choose(inputs.trajectories, policy)]
    panels = [_animate(inputs, clip, mjcf_path(str(mjcf))) for clip in clips if len(clip.qpos)]
    if not panels:
        return None
    write_video(path, side_by_side(*panels), fps=1.0 / (dt * stride))
    return path


def choose(trajectories: Arrays, policy: str, count: int = PANELS) -> list[int]:
    """Return the recorded episodes worth watching: the heaviest payload, then the hardest pushes. Not by success."""
    rows = list(range(len(trajectories[f"{policy}.qpos"])))
    push = trajectories.get(f"{policy}.push")
    hardest = [_hardest_push(push[row]) if push is not None else 0.0 for row in rows]
    payload = trajectories.get("parameter.payload")
    load = [float(np.ravel(payload[row])[0]) if payload is not None else 0.0 for row in rows]
    first = max(rows, key=lambda row: (load[row], hardest[row]))
    others = sorted((row for row in rows if row != first), key=lambda row: -hardest[row])
    return [first, *others][:count]


def _hardest_push(push: NDArray[Any]) -> float:
    return max((speed for _, speed in push_times(push, 1.0)), default=0.0)


def cut(trajectories: Arrays, policy: str, row: int, dt: float, stride: int) -> Clip:
    """Return a recorded episode up to its end, every ``stride``-th tick."""
    qpos = trajectories[f"{policy}.qpos"][row]
    until = alive_until(trajectories, policy, row, len(qpos))
    payload = trajectories.get("parameter.payload")

    def rows(name: str, width: int) -> NDArray[np.float64]:
        table = trajectories.get(f"{policy}.{name}")
        return np.asarray(table[row] if table is not None else np.zeros((len(qpos), width)), np.float64)

    held = _held(rows("push", 2), round(_PUSH_SHOWN_S / dt))
    kept = slice(0, min(until, round(MAX_S / dt)), stride)
    return Clip(
        np.asarray(qpos, np.float64)[kept], rows("command", 0)[kept], rows("truth", 0)[kept], held[kept],
        fell=until < len(qpos), payload=None if payload is None else float(np.ravel(payload[row])[0]),
    )  # fmt: skip


def _held(push: NDArray[np.float64], ticks: int) -> NDArray[np.float64]:
    """Return (T, 2): each kick at its full size for ``ticks`` ticks, zero elsewhere."""
    held = np.zeros_like(push)
    for time, _ in push_times(push, 1.0):
        held[int(time) : int(time) + ticks] = push[int(time)]
    return held


def _animate(inputs: Inputs, clip: Clip, mjcf: Path) -> Iterator[Frame]:
    body = _loaded_body(inputs)
    payload = (body, clip.payload) if body and clip.payload is not None else None
    robot = mapping(inputs.task, "robot")
    model = load_scene(mjcf, bool(robot.get("floor", True)), payload, remove=robot.get("remove", ()))
    drawn = arrows(clip) if root_body(model) is not None and clip.qpos.shape[1] >= 7 else None
    return animate(model, clip.qpos, size=SIZE, labels=labels(clip, inputs.commands), arrows=drawn)


def _loaded_body(inputs: Inputs) -> str | None:
    """Return the body that the task's effects put the payload on."""
    for effect in inputs.task.get("effects") or ():
        params = effect.get("params") if isinstance(effect, Mapping) else None
        if isinstance(params, Mapping) and params.get("mass") == "payload":
            return str(params.get("body"))
    return None


def labels(clip: Clip, elements: Sequence[str]) -> list[str]:
    """Return what stands in the corner of each frame."""
    head = "" if clip.payload is None else f"payload {clip.payload:+.1f} kg"
    texts = []
    for i in range(len(clip.qpos)):
        wanted = "  ".join(
            f"{name} {value:+.1f}" for name, value in zip(elements, clip.command[i], strict=False)
        )
        speed = float(np.linalg.norm(clip.push[i]))
        pushed = f"PUSH {speed:.1f} m/s" if speed > 0 else ""
        texts.append("\n".join(part for part in (head, wanted, pushed) if part))
    if clip.fell and texts:
        texts[-1] += "\nFELL"
    return texts


def arrows(clip: Clip) -> list[list[Arrow]]:
    """Return the arrows of each frame: velocity asked for and true velocity above the base, a push from behind."""
    return [_frame_arrows(clip, i) for i in range(len(clip.qpos))]


def _frame_arrows(clip: Clip, i: int) -> list[Arrow]:
    place, yaw = clip.qpos[i, :3], _yaw(clip.qpos[i, 3:7])
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    found = []
    for values, color, lift in ((clip.command, _WANTED, _ABOVE + 0.03), (clip.truth, _ACTUAL, _ABOVE)):
        if values.shape[1] >= 2 and np.linalg.norm(values[i, :2]) > 0.03:
            found.append(_arrow(place, lift, 0.4 * turn @ values[i, :2], color, 0.01))
    speed = float(np.linalg.norm(clip.push[i]))
    if speed > 0:
        vector = 0.5 * clip.push[i]
        behind = vector + 0.25 * clip.push[i] / speed
        found.append(_arrow(place - np.append(behind, 0.0), 0.05, vector, _PUSH, 0.022))
    return found


def _arrow(place: NDArray[Any], lift: float, flat: NDArray[Any], color: Color, width: float) -> Arrow:
    x, y, z = (float(v) for v in place)
    return Arrow((x, y, z + lift), (float(flat[0]), float(flat[1]), 0.0), color, width)


def _yaw(quat: NDArray[np.float64]) -> float:
    """Return the heading [rad] of a quaternion (w, x, y, z)."""
    w, x, y, z = (float(v) for v in quat)
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def describe(inputs: Inputs) -> str:
    """Return one line that says what the video shows."""
    text = "The student in recorded episodes of the evaluation, chosen by difficulty, not by success"
    if "parameter.payload" in inputs.trajectories:
        text += ": left the heaviest payload, right the hardest push"
    if inputs.commands:
        text += ". Green: velocity asked for; blue: velocity it has; red: a push"
    return text + "."
