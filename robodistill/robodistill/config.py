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

from robodistill.decode import ConfigError, declares, decode, field_paths
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


def compose(overrides: Sequence[str], cls: type[Any] | None = None, tree: str = TREE) -> dict[str, Any]:
    """Return the configuration that ``overrides`` (Hydra's ``key=value`` words) choose, resolved, as plain values.

    ``cls`` is the dataclass it will be decoded to: its keys may be set even where no YAML mentions them.
    """
    words, folder = _take_folder(overrides)
    parsed = [_parse(word) for word in words]
    legal = groups(folder, tree)
    for override in parsed:
        _check_choice(override, legal)
    search = [f"hydra.searchpath=['file://{folder}']"] if folder else []
    opened = [f"++{word}" if _may_add(o, legal, cls) else word for word, o in zip(words, parsed, strict=True)]
    with initialize_config_module(tree, version_base="1.3"):
        try:
            return _plain(hydra_compose("config", [*search, *opened]))
        except HydraException as error:
            chosen = [word for word, o in zip(words, parsed, strict=True) if o.key_or_group in legal]
            _refuse_unknown(parsed, _base([*search, *chosen], parsed, legal, error), legal, cls)
            said = _one_line(error)
            for word in words:  # as the user wrote it
                said = said.replace(f"++{word}", word)
            raise ConfigError(said) from error
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise ConfigError(_one_line(error)) from error


def _may_add(override: Override, legal: Mapping[str, Mapping[str, Path]], cls: type[Any] | None) -> bool:
    """Return whether ``override`` sets a key that ``cls`` has, whether or not a file of the tree mentions it."""
    key = override.key_or_group
    if cls is None or key in legal or override.package is not None:
        return False
    plain = not (override.is_add() or override.is_force_add() or override.is_delete())
    return plain and declares(cls, key.split("."))


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


def _base(
    words: list[str],
    parsed: Sequence[Override],
    legal: Mapping[str, Mapping[str, Path]],
    error: HydraException,
) -> DictConfig:
    """Compose the choices alone after ``error`` stopped the whole; say which choice is missing if one is."""
    absent = re.search(r"Could not find '(.+)/([^/']+)'", str(error))
    if absent is not None:
        group, choice = absent.groups()
        raise ConfigError(unknown(f"choice for {group}", choice, legal.get(group, {}))) from error
    unset = re.search(r"must specify '([^']+)'", str(error))
    if unset is not None:
        group = unset.group(1)
        for override in parsed:
            if difflib.get_close_matches(override.key_or_group, [group], cutoff=0.6):
                raise ConfigError(unknown("key", override.key_or_group, [group])) from error
        names = ", ".join(sorted(legal.get(group, {})))
        raise ConfigError(f"no {group} chosen: add {group}=<name>; legal: {names}") from error
    try:
        return hydra_compose("config", words)
    except HydraException as again:
        raise ConfigError(_one_line(again)) from again


def _refuse_unknown(
    parsed: Sequence[Override], base: DictConfig, legal: Mapping[str, Mapping[str, Path]], cls: type[Any] | None
) -> None:
    """Name the first key that neither the tree nor ``cls`` has."""
    for override in parsed:
        key = override.key_or_group
        adds = override.is_add() or override.is_force_add() or _may_add(override, legal, cls)
        if key not in legal and not adds and not _has(base, key):
            raise ConfigError(_unknown_key(key, base, cls))


def _has(composed: DictConfig, key: str) -> bool:
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(composed, parent) if parent else composed
    return isinstance(node, DictConfig) and last in node


def _unknown_key(key: str, composed: DictConfig, cls: type[Any] | None = None) -> str:
    """Name the nearest key anywhere, and the legal ones where ``key`` goes astray."""
    every = {
        *_leaves(OmegaConf.to_container(composed, resolve=False), ""),
        *(field_paths(cls) if cls else ()),
    }
    parent = key.rpartition(".")[0]
    while parent and not any(other.startswith(f"{parent}.") for other in every):
        parent = parent.rpartition(".")[0]
    start = f"{parent}." if parent else ""
    inside = {other[len(start) :].partition(".")[0] for other in every if other.startswith(start)}
    last = key.rpartition(".")[2]
    same = sorted(other for other in every if other.endswith(f".{last}"))
    near = same or difflib.get_close_matches(key, sorted(every), n=1, cutoff=0.75)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return (
        f"unknown key {key!r}: {hint}legal{f' in {parent!r}' if parent else ''}: {', '.join(sorted(inside))}"
    )


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
