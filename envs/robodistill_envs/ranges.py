"""Conditions other than the task's own: its ``ranges``, to evaluate under or to practise in."""

from __future__ import annotations

from dataclasses import replace

from robodistill_deploy.errors import SpecError, unknown
from robodistill_envs.config import TaskConfig

TRAIN = "train"
"""The range that a task itself draws from."""


def within(task: TaskConfig, name: str) -> TaskConfig:
    """Return ``task`` drawing from its range ``name``.

    What networks are told of a parameter keeps the scale of training, so that the same policy reads both.
    """
    if name == TRAIN:
        return task
    if name not in task.ranges:
        raise SpecError(f"task {task.name!r}: {unknown('range', name, (TRAIN, *task.ranges))}")
    chosen, parameters = task.ranges[name], dict(task.parameters)
    for key, draw in chosen.parameters.items():
        if key not in parameters:
            raise SpecError(f"task {task.name!r}, range {name!r}: {unknown('parameter', key, parameters)}")
        if len(draw.low) != len(parameters[key].low):
            width = len(parameters[key].low)
            raise SpecError(f"task {task.name!r}, range {name!r}: {key!r} has {width} values, not {len(draw.low)}")
        parameters[key] = replace(parameters[key], draw=draw)
    push = task.push
    if chosen.push_speed:
        if push is None:
            raise SpecError(f"task {task.name!r}, range {name!r}: this task does not push; leave out push_speed")
        push = replace(push, min_speed=chosen.push_speed[0], max_speed=chosen.push_speed[1])
    command = task.command
    if chosen.hold_s:
        if command is None:
            raise SpecError(f"task {task.name!r}, range {name!r}: this task has no command; leave out hold_s")
        command = replace(command, hold_s=chosen.hold_s)
    return replace(
        task, parameters=parameters, push=push, command=command,
        episode_s=chosen.episode_s or task.episode_s, reset=chosen.reset or task.reset,
    )  # fmt: skip
