"""The README and the docs do what they say: blocks run, commands exist, links lead somewhere.

A fence of ```python runs, unless it is marked ```python sketch, for code around what a page cannot have; a sketch
must compile. A fence of ```bash runs when it is marked: ```bash run, or ```bash run slow when it takes long. The
blocks of one page run in order in one folder, so that a page reads as a session. The folder is empty, or, below a
comment <!-- continues other.md -->, a copy of the one that the other page leaves.
Bash that does not run is still checked for targets, verbs and tasks that do not exist.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from robodistill.cli import load_config, verbs
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.resolve import resolve

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*/README.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONTINUES = re.compile(r"<!-- continues (\S+) -->")
NAMED = re.compile(r"\brobodistill\w*(?:\.\w+)+:\w+")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    line: int
    language: str
    marks: frozenset[str]
    code: str

    @property
    def runs(self) -> bool:
        """Return whether the block is executed."""
        return (self.language == "python" and "sketch" not in self.marks) or (
            self.language == "bash" and "run" in self.marks
        )

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code] if self.language == "python" else ["bash", "-euc", self.code]


def blocks_of(text: str) -> list[Block]:
    return [
        Block(text[: m.start()].count("\n") + 1, m[1], frozenset(m[2].split()), m[3]) for m in FENCE.finditer(text)
    ]


def previous(page: Path) -> Path | None:
    """Return the page whose folder this one goes on in."""
    found = CONTINUES.search(page.read_text())
    return page.parent / found[1] if found else None


def is_slow(page: Path) -> bool:
    before = previous(page)
    blocks = blocks_of(page.read_text())
    return any(b.runs and "slow" in b.marks for b in blocks) or (before is not None and is_slow(before))


def programs(folder: Path) -> Path:
    """Return a folder with the programs as this interpreter has them, installed or only on its path."""
    folder.mkdir()
    arguments = {"robodistill": "-m robodistill", "robodistill-run": "-m robodistill_deploy.cli", "python": ""}
    for name, first in arguments.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {first} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def run_blocks(blocks: list[Block], folder: Path, path: Path) -> str:
    """Run the blocks that run, with the programs in ``path``; return what went wrong, or nothing."""
    # threads as a user has them, whatever the tests are given
    env = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    env["PATH"] = f"{path}{os.pathsep}{os.environ['PATH']}"
    for block in blocks:
        if block.runs:
            done = subprocess.run(block.command, cwd=folder, env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return f"line {block.line}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return ""


def shell_lines(text: str) -> list[tuple[int, list[str]]]:
    """Return the words of each command line in the page's bash blocks, without comments."""
    found = []
    for block in blocks_of(text):
        if block.language == "bash":
            for offset, line in enumerate(block.code.replace("\\\n", "  ").splitlines(), 1):
                words = line.split("#")[0].split()
                if words:
                    found.append((block.line + offset, words))
    return found


def page_parameters() -> list[object]:
    running = [page for page in PAGES if any(b.runs for b in blocks_of(page.read_text()))]
    return [
        pytest.param(
            page,
            marks=[*([pytest.mark.slow] if is_slow(page) else []), pytest.mark.xdist_group("docs")],
            id=str(page.relative_to(ROOT)),
        )
        for page in running
    ]


@dataclass
class Sessions:
    """The folder that each page leaves, each page run at most once."""

    root: Path
    path: Path
    outcomes: dict[Path, tuple[Path, str]]

    def run(self, page: Path) -> tuple[Path, str]:
        """Return the folder of ``page`` after its blocks, and what went wrong."""
        if page not in self.outcomes:
            folder = self.root / page.relative_to(ROOT).with_suffix("")
            before, wrong = previous(page), ""
            if before is None:
                folder.mkdir(parents=True)
            else:
                left, wrong = self.run(before)
                shutil.copytree(left, folder)
            wrong = f"{before}: {wrong}" if wrong else run_blocks(blocks_of(page.read_text()), folder, self.path)
            self.outcomes[page] = folder, wrong
        return self.outcomes[page]


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    return Sessions(tmp_path_factory.mktemp("pages"), programs(tmp_path_factory.mktemp("path") / "bin"), {})


@pytest.mark.parametrize("page", page_parameters())
def test_blocks_run(page: Path, sessions: Sessions) -> None:
    assert sessions.run(page)[1] == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sketches_compile(page: Path) -> None:
    for block in blocks_of(page.read_text()):
        if block.language == "python":
            compile(block.code, f"{page}:{block.line}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [t for t in LINK.findall(page.read_text()) if not t.startswith(("http://", "https://", "mailto:"))]
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_name_what_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    tasks = {f.stem for f in (ROOT / "configs/robodistill_configs/task").glob("*.yaml")}
    wrong = []
    for line, words in shell_lines(page.read_text()):
        if words[0] == "make":
            wrong += [(line, w) for w in words[1:] if "=" not in w and w not in targets]
        if words[0] == "robodistill":
            wrong += [(line, words[1])] if words[1] not in verbs() and words[1] != "<verb>" else []
        if not any(w.startswith("config_dir=") for w in words):
            wrong += [(line, w) for w in words if w.startswith("task=") and w[5:] not in tasks]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_code_exists(page: Path) -> None:
    for path in NAMED.findall(page.read_text()):
        assert resolve(path) is not None


def settings_on(page: Path) -> list[str]:
    """Return the words of each command line that chooses a task of the tree and changes keys."""
    lines = [w for _, w in shell_lines(page.read_text()) if w[0] == "robodistill" and len(w) > 2]
    own = ("config_dir=", "seed=$")
    lines = [w for w in lines if not any(x.startswith(own) for x in w) and any(x.startswith("task=") for x in w)]
    return [" ".join(x for x in w[2:] if "=" in x) for w in lines]


@pytest.mark.parametrize("words", sorted({line for page in PAGES for line in settings_on(page)}))
def test_keys_and_values_fit(words: str) -> None:
    assert load_config(words.split()).task.name in words


def test_the_checks_can_fail(tmp_path: Path) -> None:
    page = "x\n```python\nassert 1 == 2\n```\n\n```bash\nfalse\n```\n```bash run\ntouch here; false\n```\n"
    blocks = blocks_of(page)
    assert [(b.line, b.runs) for b in blocks] == [(2, True), (6, False), (9, True)]
    path = programs(tmp_path / "bin")
    assert run_blocks(blocks, tmp_path, path).startswith("line 2: exit 1")
    assert run_blocks(blocks[1:], tmp_path, path).startswith("line 9: exit 1")
    assert (tmp_path / "here").exists()
    assert shell_lines("```bash\nmake nothing  # a comment\n```\n") == [(2, ["make", "nothing"])]
    assert NAMED.findall("`robodistill_envs.terms.rewards:nothing`") == ["robodistill_envs.terms.rewards:nothing"]
    with pytest.raises(RobodistillError):
        load_config(["task=go2_flat", "teacher.nothing=1"])
