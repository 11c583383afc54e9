"""Look at a run's policies live in the browser, also over SSH: steer, push, load, switch between them, plot.

  robodistill play run=mine
  robodistill play run=mine checkpoint=latest       follow a training run
  robodistill play run=mine video=mine.mp4          no browser: a film under a fixed sequence of commands

Reads   config.yaml, the checkpoints and policy.onnx of the run, as far as they exist.
Writes  nothing, or the video.

Keys    checkpoint=last         last, best, or latest: last, read again whenever training has written a newer one
        policy=student          who drives at first: teacher, student, onnx, zero_action
        port=8080               of the page; it is served to this machine alone
        host=127.0.0.1          another address lets anybody who reaches it steer
        video=<file>.mp4        write a video instead
        seconds=10              [s] of the video

The page needs viser (pip install 'robodistill[view]'); without it a video is written. Ctrl-C ends it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from robodistill.progress import Progress

if TYPE_CHECKING:
    from robodistill.play.policies import Policies
    from robodistill.play.session import Session
    from robodistill.settings import RunConfig

SECTION = "play"
"""Keys of this part of the configuration can be written without its name."""


def run(config: RunConfig) -> int:
    """Serve the page until Ctrl-C, or write the video."""
    import torch

    from robodistill.play.policies import Policies, first_policy, run_folder
    from robodistill.play.session import Session
    from robodistill_envs.interface import interface_of

    torch.set_num_threads(1)  # one world: a second thread costs more than it brings
    folder = run_folder(config.runs_dir, config.run)
    policies = Policies(folder, interface_of(config.task), config.play.checkpoint)
    drivers = policies.load()
    session = Session(config.task, drivers, first_policy(drivers, config.play.policy), config.seed)
    if config.play.video:
        return _film(config, session, Path(config.play.video))
    if importlib.util.find_spec("viser") is None:
        path = folder.path / "play.mp4"
        Progress.say(f"no viser here, so a video instead; for the page: pip install 'robodistill[view]'  ({path})")
        return _film(config, session, path)
    return _serve(config, session, policies)


def _film(config: RunConfig, session: Session, path: Path) -> int:
    from robodistill.play.film import write_film

    ticks = max(1, round(config.play.seconds / session.task.control_dt))
    with Progress("play", ticks, quiet=config.quiet) as progress:
        write_film(path, session, config.play.seconds, progress.update)
    sys.stdout.write(f"video   {path.resolve()}\n")
    return 0


def _serve(config: RunConfig, session: Session, policies: Policies) -> int:
    from robodistill.play.server import PlayServer, reach_text

    server = PlayServer(session, policies, config.play.host, config.play.port)
    sys.stdout.write(reach_text(config.play.host, server.port))
    sys.stdout.flush()
    try:
        server.run()
    except KeyboardInterrupt:
        Progress.say("ended")
    finally:
        server.close()
    return 0
