"""Start a simulated robot as its own process, and drive it as if it were yours.

  robodistill sim task=go2_flat
  robodistill sim run=mine lying=true noise=1 link.port=5601

Reads   the task, or the configuration of the run.
Writes  one line of JSON when it is ready, and one with its excursions when it ends: max tilt, min height, fell or
        not, torque peaks, tracking error.

Keys    link=udp                how it is talked to: docs/udp.md; the link's own: link.port=5600
        lying=false             start damped on the floor instead of standing
        speed=1                 simulated seconds per second
        lockstep=false          no clock: every command advances the physics by command_dt (the control period)
        gain=1 friction=-1 payload=0 delay=0 signal_delay=0 noise=0 bias=0 push=0
                                what is different about it; docs/sim-robot.md
        timestep=0.002          [s] of a physics step; the PD law is computed at each
        watchdog=0.1            [s] without a command after which it damps itself
        record=                 file that gets a row per physics step: truth, sensors, the command that acted
        seconds=0               [s] after which it ends; 0 runs until Ctrl-C
"""

from __future__ import annotations


def run_words(words: list[str]) -> int:
    """Serve until Ctrl-C."""
    import dataclasses

    from robodistill.cli import load_config
    from robodistill.config import ConfigError
    from robodistill_deploy.errors import unknown
    from robodistill_envs.simrobot.options import Process, Robot, parse
    from robodistill_envs.simrobot.process import RobotProcess

    own = {field.name for cls in (Robot, Process) for field in dataclasses.fields(cls)}
    pairs = [word.partition("=") for word in words]
    mine = {key: value for key, _, value in pairs if key in own or key.startswith("link.")}
    try:
        config = load_config([word for word, pair in zip(words, pairs, strict=True) if pair[0] not in mine])
    except ConfigError as error:
        strange = next((key for key, _, _ in pairs if key not in mine and f"unknown key {key!r}" in str(error)), None)
        if strange is None:
            raise
        legal = [*own, "task", "run", "link.<option>"]
        raise ConfigError(f"simulated robot: {unknown('option', strange, legal)}") from error
    RobotProcess(config.task, *parse(mine)).run()
    return 0
