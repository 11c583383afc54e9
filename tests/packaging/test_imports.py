"""Importing a module changes nothing, and what a module says it exports exists."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOTS = ("robodistill", "envs", "policies", "deploy", "configs")


def all_modules() -> list[str]:
    """Return every module of the five packages, by its dotted name, lowest layer first."""
    found = []
    for root in reversed(ROOTS):
        for file in sorted((ROOT / root).rglob("*.py")):
            parts = file.relative_to(ROOT / root).with_suffix("").parts
            if parts[0].startswith("robodistill") and parts[-1] != "__main__":
                found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def probe(modules: list[str], folder: Path, *extra_path: Path) -> dict[str, list[str]]:
    """Import ``modules`` in a fresh process inside the empty ``folder``; return what each changed."""
    path = os.pathsep.join(str(p) for p in (*extra_path, *(ROOT / r for r in ROOTS)))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "tests/packaging/probe_imports.py"), *modules],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)  # fails too when a module printed something


def test_every_layer_has_modules() -> None:
    """The two tests below would pass on an empty list."""
    for package in ("robodistill", "robodistill_envs", "robodistill_policies", "robodistill_deploy"):
        assert sum(m == package or m.startswith(package + ".") for m in all_modules()) >= 2, package


@pytest.mark.slow
def test_importing_changes_nothing(tmp_path: Path) -> None:
    assert probe(all_modules(), tmp_path) == {}


@pytest.mark.slow
def test_the_probe_names_a_module_with_side_effects(tmp_path: Path) -> None:
    planted, folder = tmp_path / "planted", tmp_path / "cwd"
    planted.mkdir()
    folder.mkdir()
    (planted / "innocent.py").write_text("x = 1\n")
    (planted / "guilty.py").write_text("import os\nos.environ['PLANTED'] = '1'\nopen('left_behind', 'w').close()\n")
    assert probe(["innocent", "guilty"], folder, planted) == {"guilty": ["environment", "files"]}


@pytest.mark.parametrize("name", all_modules())
def test_all_resolves(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert [n for n in exported if not hasattr(module, n)] == []
    assert len(set(exported)) == len(exported)
