"""One thread for torch: the tests are small, and the machine may be busy."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def _load(name: str, folder: Path = Path(__file__).parent) -> ModuleType:
    """Import a module beside this file, which pytest does not do by itself, or of another folder."""
    spec = importlib.util.spec_from_file_location(f"learning_tests_{name}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """Return ``small.py``."""
    return _load("small")


@pytest.fixture(scope="session")
def teacher(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of an untrained teacher of the small run."""
    return small.save_teacher(tmp_path_factory.mktemp("teacher") / "last")


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    """Return ``toys.py``."""
    return _load("toys")


@pytest.fixture(scope="session")
def kills() -> ModuleType:
    """Return the benchmark ``kill_and_resume.py``, which compares runs and kills them."""
    return _load("kill_and_resume", Path(__file__).parents[2] / "benchmarks")
