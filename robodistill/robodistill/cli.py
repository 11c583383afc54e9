"""``robodistill <verb> key=value ...``: finds the verb, composes its configuration, turns errors into one line."""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import pkgutil
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import robodistill.verbs
from robodistill.files import refused
from robodistill_deploy.errors import RobodistillError, unknown

OVERVIEW = """\
robodistill: train a teacher in simulation, distil it to a robot's own sensors, run it from one ONNX file.

  robodistill <verb> key=value ...      robodistill <verb> --help

{verbs}

The whole way in one command is `robodistill pipeline --help`; what it costs is in docs/benchmarks.md.
Keys are those of the configuration: add --config to any verb to see all of them, resolved, and do nothing else.
The robot needs none of this: `robodistill-run --help`.
"""

_TRAIN_PACKAGES = frozenset({
    "torch", "hydra", "omegaconf", "dacite", "safetensors", "yaml", "rich", "mujoco", "mjbatch", "onnx", "onnxscript",
    "tensorboard", "matplotlib", "plotly", "imageio", "imageio_ffmpeg", "gymnasium",
})  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 1 a check failed, 2 an error, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    set_threads()
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except RobodistillError as error:
        print(f"robodistill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = shlex.join(["robodistill", *words])
        print(
            f"\nrobodistill: stopped; the same command goes on from the last checkpoint: {again}",
            file=sys.stderr,
        )
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _TRAIN_PACKAGES:
            raise
        verb = words[0] if words else ""
        print(
            f"robodistill: {verb} needs {error.name}, which a robot does not: pip install 'robodistill[train]'",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        line = refused(error, error.filename or "a file")
        if line is None:
            raise
        print(f"robodistill: {line}", file=sys.stderr)
        return 2


def set_threads(environment: dict[str, str] | None = None) -> None:
    """Make OpenMP's workers sleep when idle, unless the user decided otherwise; call before torch is imported.

    They spin by default, beside physics threads that need the same cores: measured, that cost up to three times
    the speed.
    """
    chosen = os.environ if environment is None else environment
    chosen.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    chosen.setdefault("GOMP_SPINCOUNT", "0")
    chosen.setdefault("OMP_NUM_THREADS", str(available_cores()))


def available_cores() -> int:
    """Return how many cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def verbs() -> dict[str, str]:
    """Return every verb with its help. A module in ``robodistill.verbs`` is a verb; its docstring is the help."""
    folder = Path(robodistill.verbs.__path__[0])
    names = [info.name for info in pkgutil.iter_modules([str(folder)])]
    return {name.rstrip("_"): _docstring(folder / f"{name}.py") for name in names}


def _docstring(source: Path) -> str:
    """Return a module's docstring. Read, not imported: help must not wait for torch, nor need it."""
    return ast.get_docstring(ast.parse(source.read_text())) or ""


def _help(verb: str, words: Sequence[str]) -> str:
    """Return the help of ``robodistill <verb> --help``, or of what the next word names, such as ``bench env``."""
    part = Path(robodistill.verbs.__path__[0]).with_name(verb) / f"{words[0]}.py"
    own = _docstring(part) if words[0].isidentifier() and part.is_file() else ""
    return own if f"robodistill {verb} {words[0]}" in own else verbs()[verb]


def _dispatch(words: list[str]) -> int:
    legal = verbs()
    if not words or words[0] in ("-h", "--help", "help"):
        lines = (f"  {name:<10} {text.splitlines()[0]}" for name, text in legal.items())
        print(OVERVIEW.format(verbs="\n".join(lines)), end="")
        return 0
    if words == ["--version"]:
        print(f"robodistill {version('robodistill')}")
        return 0
    verb, *rest = words
    if verb not in legal:
        raise RobodistillError(unknown("verb", verb, legal))
    if {"-h", "--help"} & set(rest):
        print(_help(verb, rest))
        return 0
    options = [word for word in rest if word.startswith("-")]
    if options and options != ["--config"]:
        raise RobodistillError(
            f"unknown option {options[0]!r}: keys are written key=value; see {verb} --help"
        )
    module = importlib.import_module(f"robodistill.verbs.{verb}")
    return _call(module, [word for word in rest if not word.startswith("-")], show=bool(options))


def _call(module: ModuleType, words: list[str], show: bool) -> int:
    """Call the verb: ``run(config)``, or ``run_words(words)`` when that is all it has or the first word sets no key."""
    wordy = not hasattr(module, "run") or (bool(words) and "=" not in words[0])
    if wordy and hasattr(module, "run_words"):
        result = module.run_words(words)
    else:
        words = module.reword(words) if hasattr(module, "reword") else words
        words, back = _take_resume(words) if getattr(module, "RESUMES", False) else (words, False)
        config = load_config(_spelt_out(words, getattr(module, "SECTION", "")))
        if show:
            return _show(config)
        if back:
            from robodistill.resume import fall_back
            from robodistill.runs import RunFolder

            fall_back(RunFolder(Path(config.runs_dir) / config.run))
        result = module.run(config)
    return result if isinstance(result, int) else 0


def _spelt_out(words: Sequence[str], section: str) -> list[str]:
    """Put the name of a verb's own ``section`` of the configuration before keys that are found there alone."""
    if not section:
        return list(words)
    import dataclasses
    import typing

    from robodistill.settings import RunConfig

    own = {field.name for field in dataclasses.fields(typing.get_type_hints(RunConfig)[section])}
    refuse_misspelt(words, own)
    return [f"{section}.{word}" if word.partition("=")[0] in own else word for word in words]


def refuse_misspelt(words: Sequence[str], own: Collection[str]) -> None:
    """Name the nearest of a verb's ``own`` keys where a word's key is none of them, and none of the configuration's.

    The configuration, which refuses the rest, does not know them.
    """
    from dataclasses import fields

    from robodistill.config import FOLDER_KEY, groups
    from robodistill.settings import RunConfig

    known = {FOLDER_KEY, *(field.name for field in fields(RunConfig)), *groups(), *own}
    for key in (word.partition("=")[0].lstrip("+~").partition("@")[0] for word in words):
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
        if "." not in key and key not in known and near and near[0] in own:
            legal = ", ".join(sorted(own))
            raise RobodistillError(f"unknown key {key!r}: did you mean {near[0]!r}? legal of this verb alone: {legal}")


def _take_resume(words: list[str]) -> tuple[list[str], bool]:
    """Split ``resume=previous`` off the words: it says what to do now, and is no part of a run's configuration."""
    given = [word.partition("=")[2] for word in words if word.startswith("resume=")]
    for value in given:
        if value != "previous":
            raise RobodistillError(unknown("resume", value, ["previous"]))
    return [word for word in words if not word.startswith("resume=")], bool(given)


def load_config(words: Sequence[str]) -> Any:
    """Return the RunConfig that ``words`` choose.

    ``run=<name>`` without a task takes up the configuration that the run was made with; other words change it.
    """
    from robodistill.config import compose, decode, overlay
    from robodistill.settings import RunConfig

    stored = _stored(words)
    return decode(RunConfig, compose(words, RunConfig) if stored is None else overlay(stored, words))


def _stored(words: Sequence[str]) -> Mapping[str, Any] | None:
    from robodistill.runs import RunFolder

    given = dict(word.split("=", 1) for word in words if "=" in word)
    if "task" in given or "run" not in given:
        return None
    folder = Path(given.get("runs_dir", "runs"))
    run = RunFolder(folder / given["run"])
    if not run.config_path.exists():
        names = sorted(path.parent.name for path in folder.glob("*/config.yaml"))
        raise RobodistillError(f"{unknown(f'run in {folder}', given['run'], names)}; a new one needs task=<name>")
    return {**_since_added(), **run.config()}


def _since_added() -> Mapping[str, Any]:
    """Return parts of the configuration that runs of earlier versions lack."""
    from robodistill.runs import plain
    from robodistill.settings import PlayConfig
    from robodistill_deploy.codec import to_plain

    return {"play": plain(to_plain(PlayConfig())), "rollouts_dir": ""}


def _show(config: Any) -> int:
    import yaml

    from robodistill.runs import plain
    from robodistill_deploy.codec import to_plain

    print(yaml.safe_dump(plain(to_plain(config)), sort_keys=False), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
