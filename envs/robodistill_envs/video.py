"""Frames to files: H.264 video, pictures side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robodistill_deploy.errors import RobodistillError
from robodistill_envs.stick_figure import Frame


def write_video(path: Path, frames: Iterable[Frame], fps: float, crf: int = 27) -> int:
    """Write frames, uint8 (height, width, 3), as an H.264 file that every browser plays; return how many there were.

    ``crf`` is x264's constant rate factor: lower is better and larger. Odd sizes lose their last row or column. The
    file appears under its name when it is complete.
    """
    import imageio_ffmpeg

    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise RobodistillError(f"{path}: no frames to write")
    height, width = (n - n % 2 for n in first.shape[:2])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.part{path.suffix}")
    options = ["-crf", str(crf), "-preset", "medium", "-movflags", "+faststart", "-threads", "2"]
    write: Any = imageio_ffmpeg.write_frames  # its hints say int for numbers that ffmpeg takes as they are
    writer = write(
        str(partial), (width, height), fps=fps, codec="libx264", quality=None, pix_fmt_out="yuv420p",
        macro_block_size=2, output_params=options,
    )  # fmt: skip
    writer.send(None)
    count = 0
    try:
        for frame in itertools.chain([first], stream):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise RobodistillError(
                    f"{path}: frame {count} is {frame.dtype} {frame.shape}, the first {first.shape}"
                )
            writer.send(np.ascontiguousarray(frame[:height, :width]))
            count += 1
        writer.close()
        partial.replace(path)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)
    return count


def side_by_side(*streams: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames of equal height joined from left to right; a stream that ends early holds its last frame."""
    iterators = [iter(stream) for stream in streams]
    held: list[Frame | None] = [None] * len(iterators)
    while True:
        news = [next(iterator, None) for iterator in iterators]
        if all(new is None for new in news):
            return
        held = [old if new is None else new for old, new in zip(held, news, strict=True)]
        shown = [frame for frame in held if frame is not None]
        if len(shown) < len(held):
            raise RobodistillError("side by side: a stream has no frames")
        if len({frame.shape[0] for frame in shown}) > 1:
            raise RobodistillError(f"side by side: heights differ: {[frame.shape[0] for frame in shown]}")
        yield np.concatenate(shown, axis=1)
