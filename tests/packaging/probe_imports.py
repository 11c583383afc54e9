"""Import the named modules one by one and print, as JSON, what each one changed. Run as a script, not a test."""

from __future__ import annotations

import importlib
import json
import logging
import os
import random
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

# What these do on import is theirs; they come first, so that what is left is ours.
THIRD_PARTY = (
    "numpy", "onnxruntime", "mcap", "mcap.reader", "mcap.writer", "torch", "torch.onnx", "torch.utils.tensorboard",
    "mujoco", "mjbatch", "hydra", "omegaconf", "dacite", "safetensors.torch", "onnx", "onnxscript", "rich.progress",
    "matplotlib.pyplot", "plotly.graph_objects", "imageio.v2", "gymnasium", "yaml", "stable_baselines3",
)  # fmt: skip


def snapshot() -> dict[str, Any]:
    """Return the parts of a process's global state that an import must leave alone."""
    import numpy as np

    state: dict[str, Any] = {
        "environment": dict(os.environ),
        "working directory": os.getcwd(),
        "files": sorted(str(p) for p in Path.cwd().rglob("*")),
        "sys.path": list(sys.path),
        "root logger": (logging.root.level, len(logging.root.handlers)),
        "warning filters": len(warnings.filters),
        "threads": threading.active_count(),
        "random": hash(random.getstate()),
        "numpy.random": hash(np.random.get_state()[1].tobytes()),  # type: ignore[union-attr]  # noqa: NPY002
    }
    if "torch" in sys.modules:
        import torch

        state["torch"] = (
            torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.initial_seed(),
            hash(torch.get_rng_state().numpy().tobytes()), torch.are_deterministic_algorithms_enabled(),
        )  # fmt: skip
    return state


def main() -> None:
    """Print {module: [what changed]} for the modules named in the arguments."""
    for name in THIRD_PARTY:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    changes: dict[str, list[str]] = {}
    before = snapshot()
    for name in sys.argv[1:]:
        importlib.import_module(name)
        after = snapshot()
        if after != before:
            changes[name] = [key for key in after if after[key] != before.get(key)]
        before = after
    sys.stdout.write(json.dumps(changes))


if __name__ == "__main__":
    main()
