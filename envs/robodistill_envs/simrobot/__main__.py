"""Start a simulated robot as its own process.

  python -m robodistill_envs.simrobot task=runs/mine/config.yaml link=udp link.port=5600

``task`` is a file with a resolved task: a run's config.yaml, or JSON. ``robodistill sim task=<name>`` composes a
task by its name and takes the same options; docs/sim-robot.md lists them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from robodistill_deploy.codec import from_plain
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.config import TaskConfig
from robodistill_envs.simrobot.options import parse
from robodistill_envs.simrobot.process import RobotProcess

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
"""YAML 1.2's number. PyYAML speaks 1.1, to which 1e-05 without a point is a word."""


class _Loader(yaml.SafeLoader):
    """Plain values; a number is what YAML 1.2, and so JSON, takes for one."""


# behind PyYAML's own rules, which it asks first: integers stay integers
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def main(words: Sequence[str]) -> int:
    """Serve until told to end; return the exit code."""
    try:
        given = dict(_taken_apart(word) for word in words)
        path = given.pop("task", None)
        if path is None:
            raise RobodistillError("no task: add task=<file>, such as a run's config.yaml")
        options = parse(given)
        RobotProcess(load_task(Path(path)), *options).run()
    except RobodistillError as error:
        sys.stderr.write(f"simrobot: {error}\n")
        return 2
    return 0


def load_task(path: Path) -> TaskConfig:
    """Return the resolved task in a YAML or JSON file: the whole of it, or its key ``task``."""
    try:
        text = path.read_text()
        data: Any = json.loads(text) if path.suffix == ".json" else yaml.load(text, _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RobodistillError(
            f"task={path}: no file with a resolved task; for a task by name: robodistill sim task=<name>"
        ) from error
    inner = data.get("task", data) if isinstance(data, dict) else data
    return from_plain(TaskConfig, inner, "task")


def _taken_apart(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise RobodistillError(f"{word!r}: options are written key=value")
    return key, value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
