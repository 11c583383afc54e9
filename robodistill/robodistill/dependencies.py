"""What the result of a pipeline's stage depends on: the keys that it uses, and the stages that feed it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from robodistill.runs import RunFolder, differences
from robodistill_deploy.errors import RobodistillError, unknown

if TYPE_CHECKING:
    from robodistill.pipeline import StageConfig

FREE = ("run", "runs_dir", "rollouts_dir", "quiet", "threads", "play", "pipeline.reuse")
"""Keys that may change between the sessions of one run: they do not change what it makes."""
FREE_SECTIONS = frozenset(key.partition(".")[0] for key in FREE)
"""What holds them at the top: no stage's result depends on any of it."""


def digest_of(stage: StageConfig, values: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """Return the hash of all that the stage's result depends on, the stages that feed it included."""
    if stage.uses:
        used = {key: select(values, key, stage.name) for key in _with_seed(stage, values)}
    else:
        used = {key: value for key, value in values.items() if key not in FREE_SECTIONS}
    feeding = {giver: digests[giver] for giver in givers(stage)}
    parts = {"type": stage.type, "uses": used, "inputs": stage.inputs, "from": feeding}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def differing(stage: StageConfig, run: RunFolder, values: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return what of ``run``'s configuration is not as in ``values``: all of it, and what the stage depends on."""
    found = differences(run.stage(stage.name).config(), values, FREE)
    uses = tuple(_with_seed(stage, values))
    return found, [difference for difference in found if not stage.uses or difference.startswith(uses)]


def _with_seed(stage: StageConfig, values: Mapping[str, Any]) -> list[str]:
    """Add the seed to what a stage uses: it costs nothing, and forgetting it would make all seeds one."""
    return sorted({*stage.uses, *({"seed"} & set(values))})


def select(values: Mapping[str, Any], key: str, stage: str) -> Any:
    """Return the value of a dotted ``key`` that a stage uses."""
    node: Any = values
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            legal = node if isinstance(node, Mapping) else ()
            raise RobodistillError(f"stage {stage!r} uses {key!r}: {unknown('key', part, legal)}")
        node = node[part]
    return node


def givers(stage: StageConfig) -> list[str]:
    """Return the names of the stages that feed ``stage``."""
    return sorted({source.partition(".")[0] for source in stage.inputs.values()})
