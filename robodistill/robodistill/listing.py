"""What the configuration tree offers, each with the first comment line of its file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from robodistill.config import FOLDER_KEY, TREE, ConfigError, groups
from robodistill_deploy.errors import unknown


def listing(words: Sequence[str], tree: str = TREE) -> str:
    """Return the choices of the groups that ``words`` name (``tasks`` or ``task``), of all groups without any."""
    folders = [word.partition("=")[2] for word in words if word.startswith(f"{FOLDER_KEY}=")]
    names = [word for word in words if not word.startswith(f"{FOLDER_KEY}=")]
    if folders and not Path(folders[-1]).is_dir():
        raise ConfigError(f"{FOLDER_KEY}={folders[-1]}: no such folder")
    found = groups(folders[-1] if folders else None, tree)
    chosen = [_group(name, found) for name in names] or sorted(group for group in found if "/" not in group)
    return "\n".join(_section(group, found[group]) for group in chosen)


def description(file: Path) -> str:
    """Return the first sentence of the comment that a YAML file begins with."""
    lines = file.read_text().splitlines()
    begins = takewhile(lambda line: line.startswith("#") or not line.strip(), lines)
    said = " ".join(text for line in begins if (text := line.lstrip("# ").strip()) and not text.startswith("@package"))
    return re.split(r"(?<=\.) (?=[A-Z])", said)[0].removesuffix(".")


def _group(name: str, found: Mapping[str, object]) -> str:
    for group in found:
        if name in (group, plural(group)):
            return group
    raise ConfigError(unknown("group", name, map(plural, found)))


def plural(group: str) -> str:
    """Return the word for several of a group's choices."""
    return f"{group[:-1]}ies" if group.endswith("y") else f"{group}s"


def _section(group: str, choices: Mapping[str, Path]) -> str:
    width = max(map(len, choices))
    lines = (f"  {name:<{width}}  {description(file)}".rstrip() for name, file in sorted(choices.items()))
    return "\n".join([f"{plural(group)} ({group}=<name>)", *lines]) + "\n"
