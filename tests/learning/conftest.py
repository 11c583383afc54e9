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


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """Return ``small.py``, which pytest does not import by itself."""
    path = Path(__file__).with_name("small.py")
    spec = importlib.util.spec_from_file_location("learning_tests_small", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def teacher(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of an untrained teacher of the small run."""
    return small.save_teacher(tmp_path_factory.mktemp("teacher") / "last")
