"""Measure: the environment's speed, where training spends its time, or how methods compare.

  robodistill bench env task=go2_flat            ratio= of VecEnv to bare stepping, at several numbers of worlds
  robodistill bench runtime                      what the robot's runtime and safety add to a bare onnxruntime call
  robodistill bench train task=go2_flat          what an iteration of the teacher's training is made of
  robodistill bench methods tasks=dmc_pendulum   methods on equal terms: a table of scores with intervals over seeds

Reads   the configuration, as train does; with run=<name> alone, the one the run was made with.
Writes  nothing, or the figures with out=<file.json>; bench methods: cells, records and tables.

Each has keys of its own: robodistill bench methods --help. For env and train threads=2 is that of physics and torch;
0 is all cores. A busy machine spoils any measurement: close what else runs, and look at the range.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robodistill.decode import decode
from robodistill.files import write_json
from robodistill.progress import Progress
from robodistill_deploy.errors import RobodistillError, unknown

if TYPE_CHECKING:
    from robodistill.settings import RunConfig


def run_words(words: list[str]) -> None:
    """Run the measurement that the first word names."""
    from robodistill import bench
    from robodistill.cli import load_config, refuse_misspelt

    legal = [info.name for info in pkgutil.iter_modules(bench.__path__)]
    if not words or words[0] not in legal:
        raise RobodistillError(unknown("measurement", words[0] if words else "", legal))
    module = importlib.import_module(f"robodistill.bench.{words[0]}")
    lists = {field.name: field.type.startswith("tuple") for field in fields(module.Settings)}
    own: dict[str, Any] = {}
    rest: list[str] = []
    out = ""
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key in lists:
            own[key] = _value(value, lists[key])
        elif key == "out":
            out = value
        else:
            rest.append(word)
    refuse_misspelt(rest, {*lists, "out"})
    settings = decode(module.Settings, own, f"bench {words[0]}")
    if hasattr(module, "measure_words"):  # it chooses tasks by itself
        module.measure_words(rest, settings, Progress.say)
        return
    config: RunConfig = load_config(rest)
    result: dict[str, Any] = module.measure(config, settings, Progress.say)
    if out:
        write_json(Path(out), result)


def _value(text: str, is_list: bool) -> Any:
    """Return what ``text`` says in YAML; a list may come without its brackets."""
    import yaml

    return yaml.safe_load(f"[{text}]" if is_list and not text.startswith("[") else text)
