"""Measure: the environment's speed, where training spends its time, or how methods compare.

  robodistill bench env task=go2_flat            ratio= of VecEnv to bare stepping, at several numbers of worlds
  robodistill bench runtime                      what the robot's runtime and safety add to a bare onnxruntime call
  robodistill bench train task=go2_flat          what an iteration of the teacher's training is made of
  robodistill bench methods tasks=dmc_pendulum   methods on equal terms: a table of scores with intervals over seeds

Reads   the configuration, as train does; with run=<name> alone, the one the run was made with.
Writes  nothing, or the figures with out=<file.json>; bench methods: its cells into folder=, its tables into out=,
        what finished cells gave into records=.

Keys    worlds=256,1024,4096    bench env: numbers of worlds
        rounds=9                bench env: rounds for each, of which the median counts
        compiled=auto           bench env: VecEnv with compile=true beside the plain one; auto: with a C++ compiler
        policy=a.onnx,b.onnx    bench runtime: files to measure; unless given, one of every kind is made for the task
        calls=3000  paced=250   bench runtime: calls of each kind back to back, and one a control period
        ticks=0                 bench runtime: ticks over which memory must not grow; 0 leaves it out
        iterations=10           bench train: iterations that are timed
        threads=2               of physics and torch; 0 is all cores

        tasks=a,b  methods=c,d  bench methods: what to measure; without methods= all that train a student
        variants=<file.yaml>    bench methods: methods with some keys changed, name: {method: ..., words: [...]}, a row
                                each; benchmarks/ablations has some
        seeds=0,1,2             training seeds; three or more give intervals
        steps=2000000           env steps of a cell, teacher and student together; 0 is what the recipe says
        ranges=ood,far          the ranges to evaluate under; unless given, all but those for practice
        jobs=1                  cells at once, each in a process with one thread
        folder=runs/bench_methods    the cells: what is there is not done again, what was interrupted goes on; bench
                                runtime: where the files that it makes are kept and found again
        records=<file.json>     what finished cells gave, which is not measured again, on another machine neither;
                                unless given, records.json in out=
        out=<folder>            where methods.md, methods.csv, methods.json and plots go; folder= unless given

A round of `bench env` steps from the same state by the engine alone, in VecEnv and, where a C++ compiler is found, in
VecEnv with compile=true, all with the same targets. `ratio=` at the end is the worst of the compiled one, or of the
plain one where it is alone. Compiling takes about a minute the first time. A busy machine spoils any measurement: close
what else runs, and look at the range.
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
