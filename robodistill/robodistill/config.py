"""From YAML and ``key=value`` words to frozen dataclasses, strictly; no DictConfig leaves this module.

Hydra composes the tree, dacite checks it against the dataclasses. Whatever does not fit is a one-line
ConfigError with the path of the key and the nearest legal one.
"""

from __future__ import annotations

import difflib
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from robodistill.decode import ConfigError, decode
from robodistill_deploy.errors import unknown

__all__ = ["ConfigError", "compose", "decode", "groups", "overlay"]

TREE = "robodistill_configs"
FOLDER_KEY = "config_dir"
"""``config_dir=<folder>`` adds a folder of the same shape as the tree: tasks, robots, ... of one's own."""


def groups(folder: str | Path | None = None, tree: str = TREE) -> dict[str, dict[str, Path]]:
    """Return the choices of each config group as {group: {choice: file}}; ``folder`` adds one's own."""
    roots = [Path(str(importlib.resources.files(tree)))] + ([Path(folder)] if folder else [])
    found: dict[str, dict[str, Path]] = {}
    for root in roots:
        for file in sorted(root.rglob("*.yaml")):
            group = file.parent.relative_to(root).as_posix()
            if group != ".":
                found.setdefault(group, {})[file.stem] = file
    return found


def compose(overrides: Sequence[str], tree: str = TREE) -> dict[str, Any]:
    """Return the configuration that ``overrides`` (Hydra's ``key=value`` words) choose, resolved, as plain values."""
    words, folder = _take_folder(overrides)
    parsed = [_parse(word) for word in words]
    legal = groups(folder, tree)
    for override in parsed:
        _check_choice(override, legal)
    search = [f"hydra.searchpath=['file://{folder}']"] if folder else []
    with initialize_config_module(tree, version_base="1.3"):
        try:
            composed = hydra_compose("config", [*search, *words])
        except HydraException as error:
            raise _composition_error(error, parsed, search, legal) from error
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise ConfigError(_one_line(error)) from error
        return _plain(composed)


def overlay(stored: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a run's own configuration with ``overrides`` (``key=value`` words) put on top."""
    composed = OmegaConf.create(dict(stored))
    for override in map(_parse, overrides):
        key = override.key_or_group
        if override.is_add() or override.is_delete() or not _has(composed, key):
            raise ConfigError(f"{_unknown_key(key, composed)}; with task=<name> the whole tree is open")
        if OmegaConf.is_config(OmegaConf.select(composed, key)) and isinstance(override.value(), str):
            raise ConfigError(f"{key}={override.value()} would exchange a whole part: say task=<name> too")
        OmegaConf.update(composed, key, override.value(), merge=False)
    return _plain(composed)


def _take_folder(overrides: Sequence[str]) -> tuple[list[str], Path | None]:
    """Split ``config_dir=<folder>`` off the overrides."""
    words = [word for word in overrides if not word.startswith(f"{FOLDER_KEY}=")]
    given = [word.partition("=")[2] for word in overrides if word.startswith(f"{FOLDER_KEY}=")]
    if not given:
        return words, None
    folder = Path(given[-1]).expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(f"{FOLDER_KEY}={given[-1]}: no such folder; name one that holds task/, robot/, ...")
    return words, folder


def _parse(word: str) -> Override:
    try:
        return OverridesParser.create().parse_override(word)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(
            f"cannot read {word!r}: write key=value, with quotes around special characters"
        ) from error


def _check_choice(override: Override, legal: Mapping[str, Mapping[str, Path]]) -> None:
    chosen = override.value()
    if override.key_or_group not in legal or override.is_delete() or not isinstance(chosen, str):
        return
    if chosen != "???" and chosen not in legal[override.key_or_group]:
        raise ConfigError(unknown(override.key_or_group, chosen, legal[override.key_or_group]))


def _composition_error(
    error: HydraException,
    parsed: Sequence[Override],
    search: list[str],
    legal: Mapping[str, Mapping[str, Path]],
) -> ConfigError:
    """Find what Hydra stumbled over: a group that nobody chose, or a key that does not exist."""
    groups_set = [o for o in parsed if o.key_or_group in legal]
    unset = re.search(r"must specify '([^']+)'", str(error))
    if unset is not None:
        group = unset.group(1)
        for override in parsed:
            if difflib.get_close_matches(override.key_or_group, [group], cutoff=0.6):
                return ConfigError(unknown("key", override.key_or_group, [group]))
        return ConfigError(
            f"no {group} chosen: add {group}=<name>; legal: {', '.join(sorted(legal.get(group, {})))}"
        )
    try:
        base = hydra_compose("config", [*search, *(str(o.input_line) for o in groups_set)])
    except HydraException:
        return ConfigError(_one_line(error))
    for override in parsed:
        if override not in groups_set and not override.is_add() and not _has(base, override.key_or_group):
            return ConfigError(_unknown_key(override.key_or_group, base))
    return ConfigError(_one_line(error))


def _has(composed: DictConfig, key: str) -> bool:
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(composed, parent) if parent else composed
    return isinstance(node, DictConfig) and last in node


def _unknown_key(key: str, composed: DictConfig) -> str:
    """Name the nearest key anywhere, and the legal ones where ``key`` goes astray."""
    parent = key
    node: Any = None
    while parent and not isinstance(node, DictConfig):
        parent = parent.rpartition(".")[0]
        node = OmegaConf.select(composed, parent) if parent else composed
    every = _leaves(OmegaConf.to_container(composed, resolve=False), "")
    last = key.rpartition(".")[2]
    near = difflib.get_close_matches(key, every, n=1, cutoff=0.75) or [
        k for k in every if k.endswith(f".{last}")
    ]
    hint = f"did you mean {near[0]!r}? " if near else ""
    inside = f" in {parent!r}" if parent else ""
    return f"unknown key {key!r}: {hint}legal{inside}: {', '.join(sorted(map(str, node)))}"


def _leaves(value: Any, prefix: str) -> dict[str, Any]:
    """Return every mapping's every key, dotted, with its value."""
    found: dict[str, Any] = {}
    for key, item in value.items() if isinstance(value, dict) else ():
        found |= {f"{prefix}{key}": item, **_leaves(item, f"{prefix}{key}.")}
    return found


def _plain(composed: DictConfig) -> dict[str, Any]:
    raw = _leaves(OmegaConf.to_container(composed, resolve=False), "")
    for key, value in raw.items():
        if value == "???":
            raise ConfigError(f"key {key!r} is not set: add {key}=<value>")
    try:
        return cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"key {getattr(error, 'full_key', None)!r}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    """Return the first paragraph of a message on one line, without what points at Hydra's own manual."""
    lines = [line.strip() for line in str(error).split("\n\n")[0].splitlines()]
    kept = [
        line for line in lines if line and not line.startswith(("See https", "full_key:", "object_type="))
    ]
    return "; ".join(kept) or type(error).__name__
