"""Sources of segments: the environment now, a ring of the last ones, or a recording."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from robodistill.checkpoint import load_tree, save_tree
from robodistill.collect import Collector
from robodistill.segment import Segment, State
from robodistill.settings import MethodConfig
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv
from robodistill_policies.policy import Policy


class Source(Protocol):
    """Gives a segment per iteration."""

    @property
    def obs(self) -> dict[str, Tensor]:
        """Return observations (N, dim) to begin the statistics with."""
        ...

    def collect(self, progress: float) -> tuple[Segment, dict[str, float]]:
        """Return a segment and figures for the log."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on bit for bit."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        ...


def make_source(
    method: MethodConfig,
    env: VecEnv,
    networks: Mapping[str, nn.Module],
    generator: torch.Generator,
    recording: Path | None,
) -> Source:
    """Return the source that ``collect.source`` names."""
    if method.collect.source == "file":
        if recording is None:
            raise RobodistillError("collect.source=file: there is no recording; use pipeline=offline, which makes one")
        return Recording(recording, method, networks)
    collector = Collector(method, env, networks, generator)
    return Ring(collector, method.collect.buffer) if method.collect.source == "buffer" else collector


class Ring:
    """The last ``size`` segments of a collector, side by side as one segment with more worlds.

    Only segments that were collected are in it. Each keeps the policy states at its start: those of the student
    were made by an earlier student. Values and advantages are those of the time of collection as well.
    """

    def __init__(self, collector: Collector, size: int) -> None:
        self.collector, self.size = collector, size
        self.segments: list[Segment] = []

    @property
    def obs(self) -> dict[str, Tensor]:
        """Return the present observations of the environment."""
        return self.collector.obs

    def collect(self, progress: float) -> tuple[Segment, dict[str, float]]:
        """Collect a segment, put it in the place of the oldest, return all that there are."""
        segment, figures = self.collector.collect(progress)
        self.segments = [*self.segments, segment][-self.size :]
        return join(self.segments), {**figures, "collect/segments": float(len(self.segments))}

    def state_dict(self) -> dict[str, Any]:
        """Return the collector's state and the segments."""
        return {"collector": self.collector.state_dict(), "segments": [_plain(s) for s in self.segments]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.collector.load_state_dict(state["collector"])
        self.segments = [_segment(s) for s in state["segments"]]


class Recording:
    """Recorded segments, over and over in the order of their making, without a step of the environment.

    The first begins with an episode in every world. What a policy with memory carries from one to the next, the
    policy being trained makes itself, by looking at each segment once more when it is left.
    """

    def __init__(self, folder: Path, method: MethodConfig, networks: Mapping[str, nn.Module]) -> None:
        self.segments = [_segment(load_tree(path)) for path in sorted(folder.glob("segment-*"))]
        collect = method.collect
        shape = self.segments[0].shape if self.segments else (0, 0)
        if shape != (collect.steps, collect.num_envs):
            raise RobodistillError(
                f"recording {folder} has segments of {shape} steps and worlds, the method {collect.steps} and "
                f"{collect.num_envs}; set collect.steps and collect.num_envs to match, or record again"
            )
        moving = {n: p for n, p in networks.items() if isinstance(p, Policy) and p.initial_state(1)}
        self._moving = {n: p for n, p in moving.items() if any(w.requires_grad for w in p.parameters())}
        self.states: dict[str, State] = {n: p.initial_state(collect.num_envs) for n, p in self._moving.items()}
        self.at = -1

    @property
    def obs(self) -> dict[str, Tensor]:
        """Return the recording's first observations."""
        return {group: value[0] for group, value in self.segments[0].obs.items()}

    @torch.no_grad()
    def collect(self, progress: float) -> tuple[Segment, dict[str, float]]:
        """Return the next recorded segment."""
        count = len(self.segments)
        if self.at >= 0:
            left = self.segments[self.at]
            for name, policy in self._moving.items():
                _, self.states[name] = policy.unroll(left.obs, self.states[name], left.resets)
        self.at = (self.at + 1) % count
        if self.at == 0:
            self.states = {n: {k: torch.zeros_like(v) for k, v in s.items()} for n, s in self.states.items()}
        segment = self.segments[self.at]
        own = Segment(
            segment.obs, segment.resets, dict(segment.data), {**segment.states, **self.states}, segment.drivers
        )
        return own, {"collect/reward": float(segment.data["reward"].mean()), "collect/segments": float(count)}

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the recording and the states of the policies; the segments stay in their files."""
        return {"at": self.at, "states": {n: dict(s) for n, s in self.states.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.at, self.states = state["at"], {n: dict(s) for n, s in state["states"].items()}


def join(segments: list[Segment]) -> Segment:
    """Return segments of equal length side by side, as one with the worlds of all."""
    first = segments[0]

    def beside(pick: Any) -> dict[str, Tensor]:
        return {key: torch.cat([pick(s)[key] for s in segments], dim=1) for key in pick(first)}

    states = {
        name: {key: torch.cat([s.states[name][key] for s in segments]) for key in state}
        for name, state in first.states.items()
    }
    return Segment(
        beside(lambda s: s.obs), torch.cat([s.resets for s in segments], 1), beside(lambda s: s.data), states,
        first.drivers,
    )  # fmt: skip


def record(collector: Collector, count: int, folder: Path, report: Callable[[int], None]) -> None:
    """Collect ``count`` segments and write each below ``folder``, as safetensors; ``report`` gets their number."""
    shutil.rmtree(folder, ignore_errors=True)  # of a session that was killed
    for number in range(count):
        segment, _ = collector.collect(number / count)
        save_tree(folder / f"segment-{number:05d}", _plain(segment))
        report(number + 1)


def _plain(segment: Segment) -> dict[str, Any]:
    return {
        "obs": segment.obs,
        "resets": segment.resets,
        "data": segment.data,
        "states": segment.states,
        "drivers": list(segment.drivers),
    }


def _segment(plain: dict[str, Any]) -> Segment:
    return Segment(plain["obs"], plain["resets"], plain["data"], plain["states"], tuple(plain["drivers"]))
