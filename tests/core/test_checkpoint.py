"""Checkpoints: what is saved is what loads, whatever dies; and nothing else loads."""

from __future__ import annotations

import ast
import json
import os
import signal
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import robodistill
import robodistill.checkpoint
import robodistill_deploy
import robodistill_envs
import robodistill_policies
from robodistill.checkpoint import has_tree, load_tree, save_tree
from robodistill_deploy.errors import RobodistillError

_NUMPY = [np.dtype(c) for c in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")]
_TORCH = [d for d in _NUMPY if d not in (np.dtype("u2"), np.dtype("u4"), np.dtype("u8"))]


def _arrays(dtypes: list[np.dtype[Any]]) -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    return st.sampled_from(dtypes).flatmap(lambda d: hnp.arrays(d, shapes))


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_LEAVES = (
    _SCALARS
    | _arrays(_NUMPY)
    | _arrays(_TORCH).map(lambda a: torch.from_numpy(a.copy()))
    | _arrays(_TORCH).filter(lambda a: a.ndim == 2).map(lambda a: torch.from_numpy(a.copy()).T)
    | st.sampled_from([np.float32(1.5), np.float64(-0.0), np.int64(3), np.bool_(True)])
)
_NAMES = st.text(max_size=4) | st.sampled_from(["#", "__metadata__", "a/b", "name"])
_KEYS = _NAMES | st.integers() | st.booleans()
_TREES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Return whether two trees agree in kind, order, dtype, shape and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        keys = [(type(k), k) for k in a] == [(type(k), k) for k in b]
        return keys and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and same(_bits(a), _bits(b))
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return repr(a) == repr(b)


def _bits(tensor: torch.Tensor) -> np.ndarray:
    view = tensor.detach().contiguous()
    return (view.view(torch.int16) if view.dtype == torch.bfloat16 else view).numpy()


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # machines are shared
@given(_TREES)
def test_what_is_saved_is_what_loads(tree: Any) -> None:
    with (
        tempfile.TemporaryDirectory() as scratch,
        patch("os.fsync"),
    ):  # waiting for the disk tells nothing here
        folder = Path(scratch) / "last"
        save_tree(folder, tree)
        assert same(load_tree(folder), tree)


def test_the_law_has_teeth() -> None:
    assert not same({1: 2}, {"1": 2})
    assert not same((1,), [1])
    assert not same(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert not same(np.zeros(2), torch.zeros(2))
    assert not same(1, True)


def test_trainer_state_of_a_real_run(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    net(torch.randn(5, 3)).sum().backward()
    optimiser.step()
    generator = np.random.default_rng(3)
    shared = torch.arange(6.0)
    tree = {
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "rng": {"torch": torch.get_rng_state(), "numpy": generator.bit_generator.state},
        "tied": [shared, shared, shared[2:]],
        "half": torch.ones(3, dtype=torch.bfloat16),
    }
    save_tree(tmp_path / "last", tree)
    loaded = load_tree(tmp_path / "last")
    assert isinstance(net.state_dict(), OrderedDict)
    assert same(loaded["rng"], tree["rng"])
    assert same(loaded["tied"], tree["tied"])
    assert same(loaded["half"], tree["half"])
    assert same(loaded["optimiser"], tree["optimiser"])
    assert same(loaded["net"], dict(net.state_dict()))
    loaded["tied"][0][0] = 7.0
    assert loaded["tied"][1][0] == 0.0


@pytest.mark.parametrize(
    ("tree", "where"),
    [
        ({"a": [object()]}, "a/0"),
        ({"a": {(1, 2): 3}}, "a"),
        ({"a": np.array([object()])}, "a"),
        ({"a": np.zeros(2, dtype=">f4")}, "a"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "a"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "a"),
    ],
)
def test_what_would_need_pickle_is_refused_by_path(tmp_path: Path, tree: Any, where: str) -> None:
    with pytest.raises(RobodistillError, match=f"entry '{where}'"):
        save_tree(tmp_path / "last", tree)
    assert not has_tree(tmp_path / "last")


@pytest.mark.parametrize("name", ["tensors.safetensors", "tree.json", "manifest.json", "config.yaml"])
@pytest.mark.parametrize("harm", ["truncate", "alter", "delete", "empty"])
def test_damage_is_refused_with_the_reason(tmp_path: Path, name: str, harm: str) -> None:
    save_tree(tmp_path / "last", {"w": torch.arange(4.0), "n": 3}, {"config.yaml": "a: 1\n"})
    file = tmp_path / "last" / name
    data = file.read_bytes()
    if harm == "delete":
        file.unlink()
    elif harm == "alter":
        middle = len(data) // 2
        file.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        file.write_bytes(data[: len(data) - 2] if harm == "truncate" else b"")
    with pytest.raises(RobodistillError, match="checkpoint"):
        load_tree(tmp_path / "last")


def test_another_format_is_refused(tmp_path: Path) -> None:
    save_tree(tmp_path / "last", {})
    manifest = tmp_path / "last" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": "robodistill.tree/2"}))
    with pytest.raises(RobodistillError, match=r"tree/2.*reads 'robodistill.tree/1'"):
        load_tree(tmp_path / "last")


def test_replacing_leaves_nothing_behind(tmp_path: Path) -> None:
    for n in range(3):
        save_tree(tmp_path / "best", {"n": n}, {"extra.txt": "x"} if n == 0 else None)
    assert load_tree(tmp_path / "best") == {"n": 2}
    left = sorted(p.name for p in tmp_path.rglob("*"))
    assert left == ["best", "manifest.json", "tensors.safetensors", "tree.json"]


def test_the_last_one_keeps_the_one_before_it(tmp_path: Path) -> None:
    for n in range(4):
        save_tree(tmp_path / "last", {"n": n})
    assert (load_tree(tmp_path / "last"), load_tree(tmp_path / "previous")) == ({"n": 3}, {"n": 2})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "previous"]


def _killed_at(step: int, body: Callable[[], None]) -> bool:
    """Run ``body`` in a child that SIGKILLs itself before its ``step``-th file system call."""
    child = os.fork()
    if child == 0:
        left = [step]

        def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return wrapped

        for name in ("rename", "fsync", "unlink", "rmdir", "mkdir", "open"):
            setattr(os, name, guarded(getattr(os, name)))
        body()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["best", "last"])
def test_killed_at_any_step_the_old_or_the_new_one_loads(tmp_path: Path, name: str) -> None:
    seen: list[int] = []
    for step in range(60):
        folder = tmp_path / str(step) / name
        save_tree(folder, {"n": -1})
        save_tree(folder, {"n": 0, "w": torch.zeros(3)})
        killed = _killed_at(step, lambda place=folder: save_tree(place, {"n": 1, "w": torch.ones(3)}))
        tree = load_tree(folder)
        assert same(tree["w"], torch.full((3,), float(tree["n"])))
        assert has_tree(folder)
        seen.append(tree["n"])
        # The next writer finds its way from whatever was left.
        save_tree(folder, {"n": 2})
        assert load_tree(folder) == {"n": 2}
        left = sorted(p.name for p in folder.parent.iterdir())
        assert left == (["last", "previous"] if name == "last" else ["best"])
        if name == "last":
            assert same(load_tree(folder.with_name("previous")), tree)
        if not killed:
            break
    else:
        pytest.fail("the save never ended")
    assert seen == sorted(seen), "a later kill must not lose what an earlier one kept"
    assert 0 in seen
    assert 1 in seen
    assert len(seen) > 10


def test_no_module_of_the_project_unpickles() -> None:
    packages = [robodistill, robodistill_deploy, robodistill_envs, robodistill_policies]
    sources = [path for package in packages for path in Path(str(package.__file__)).parent.rglob("*.py")]
    assert Path(robodistill.checkpoint.__file__) in sources
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & {"pickle", "dill", "cloudpickle", "joblib"}, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), path
