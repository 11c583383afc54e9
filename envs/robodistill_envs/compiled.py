"""Outcomes and observations of a step compiled ahead of time: one C++ function each, not hundreds of operations.

It pays where worlds are few and a run is long, for what it saves in a step hardly depends on their number
(docs/benchmarks.md). Results differ from the uncompiled in the last bits. Compiling takes about a minute, once for
what the functions compute: the library is kept in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from robodistill_deploy.errors import RobodistillError
from robodistill_envs.random import WorldRandom
from robodistill_envs.world import World


class Outcome(NamedTuple):
    """What a step led to, in n worlds."""

    terminated: Tensor
    truncated: Tensor
    done: Tensor
    """(n,) bool, like the two before."""
    causes: dict[str, Tensor]
    """(n,) bool by name, why terminated."""
    rewards: Tensor
    """(n, terms), weighted."""
    reward: Tensor
    """(n,), their sum."""


class Seen(NamedTuple):
    """What is observed in n worlds."""

    groups: dict[str, Tensor]
    """(n, dim)"""
    signals: dict[str, Tensor]
    """(n, dim), what the groups are made of."""
    total: Tensor
    """The sum of all groups, which is finite if all of it is."""


Judge = Callable[[World, Tensor], Outcome]
"""(world, whose physics diverged (n,)) -> what the step led to."""
Look = Callable[[World, WorldRandom, Tensor, bool, "Tensor | None"], Seen]
"""(world, random, episode (n,), noise, ids as in ``World.measure``) -> what is seen."""
_MANY = 1 << 40
"""No number of worlds reaches it."""


def require_compiler() -> None:
    """Refuse a machine without the C++ compiler that torch's inductor calls."""
    named = os.environ.get("CXX", "")
    if not any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"])):
        raise RobodistillError(
            f"compile=true needs a C++ compiler, {named or 'g++'} was not found: install one (apt install g++), "
            "name one in CXX, or leave compile out"
        )


def compiled(world: World, judge: Judge, look: Look) -> tuple[Judge, Look]:
    """Return the same two functions, compiled at their first call for any number of worlds."""
    require_compiler()
    rows = _rows(world)
    template, names = world.made_of(rows), tuple(rows)

    def made_of(values: Sequence[Tensor]) -> World:
        return template.made_of(dict(zip(names, values, strict=True)))

    def outcome(*values: Tensor) -> Outcome:
        return judge(made_of(values[:-1]), values[-1])

    def seen_by(random: WorldRandom, noise: bool) -> Callable[..., Seen]:
        return lambda *values: look(
            made_of(values[:-2]), random.with_keys(values[-2]), values[-1], noise, None
        )

    fast_judge, fast_looks = _Compiled(outcome), dict[bool, _Compiled]()

    def compiled_judge(world: World, diverged: Tensor) -> Outcome:
        return Outcome(*fast_judge(*_rows(world).values(), diverged))

    def compiled_look(
        world: World, random: WorldRandom, episode: Tensor, noise: bool, ids: Tensor | None
    ) -> Seen:
        if noise not in fast_looks:
            fast_looks[noise] = _Compiled(seen_by(random, noise))
        return Seen(*fast_looks[noise](*_rows(world).values(), random.keys(ids), episode))

    return compiled_judge, compiled_look


def _rows(world: World) -> dict[str, Tensor]:
    """Return the rows of ``world``, those that its first step makes included, in an order that stays."""
    rows = world.rows()
    if "last_joint_vel" not in rows and "joint_vel" in {s.name for s in world.task.robot.sensors}:
        rows["last_joint_vel"] = torch.zeros_like(world.true("joint_vel"))
    return {name: rows[name] for name in sorted(rows)}


class _Traced(nn.Module):
    """A function as the module that torch.export asks for: tensors in, a plain tuple of them out."""

    def __init__(self, function: Callable[..., tuple[Any, ...]]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Call the function."""
        return tuple(pytree.tree_leaves(tuple(self._function(*values))))


class _Compiled:
    """A function of tensors with a row per world that returns tensors, or dicts of them; compiled at its first call."""

    def __init__(self, function: Callable[..., tuple[Any, ...]]) -> None:
        self._function = function
        self._run: Callable[[list[Tensor]], list[Tensor]] | None = None
        self._form: list[tuple[str, ...] | None] = []
        """For each thing returned: the names of a dict, or None."""

    def __call__(self, *values: Tensor) -> list[Any]:
        """Return what the function does, in its order."""
        # the library takes its inputs by their places, and reads their rows one after the other
        inputs = [value.contiguous() for value in values]
        if self._run is None:
            # what the function makes at its first call and keeps is made now, not while traced
            result = self._function(*inputs)
            self._form = [tuple(part) if isinstance(part, dict) else None for part in result]
            self._run = _library(_trace(_Traced(self._function), inputs))
        found = iter(self._run(inputs))
        return [
            next(found) if names is None else {name: next(found) for name in names} for names in self._form
        ]


def _trace(module: nn.Module, inputs: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """Return ``module``, traced for any number of worlds."""
    # a size of 1 or of the environment's own would be taken for a constant
    example = tuple(value.new_zeros(4, *value.shape[1:]) for value in inputs)
    worlds = torch.export.Dim("worlds", max=_MANY)
    shapes = (tuple({0: worlds} for _ in example),)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own deprecations, within torch
        return torch.export.export(module, example, dynamic_shapes=shapes, strict=False)


def _library(program: torch.export.ExportedProgram) -> Callable[[list[Tensor]], list[Tensor]]:
    """Return ``program`` as a compiled function, from the cache if it is there."""
    from torch._inductor import aoti_load_package  # slow to import, and only wanted here

    path = _cache() / f"{_key(program)}.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not path.exists():
            _compile(program, path)
        # its loader takes a flat list, without a search through nested containers for each call
        return aoti_load_package(str(path)).loader.run


def _compile(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write the library of ``program`` to ``path``, whole or not at all."""
    from torch._inductor import aoti_compile_and_package

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, contextlib.redirect_stderr(io.StringIO()):
        # one thread, as torch has while worlds are stepped: the second core would wake for microseconds of work
        one = {"cpp.threads": 1}
        made = aoti_compile_and_package(program, package_path=f"{folder}/made.pt2", inductor_configs=one)
        os.replace(made, path)


def _key(program: torch.export.ExportedProgram) -> str:
    """Return what tells libraries apart: the traced operations, their constants, torch, and the machine."""
    digest = hashlib.sha256(program.graph_module.code.encode())
    tensors: Mapping[str, Any] = {**program.constants, **program.state_dict}
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.detach().contiguous().numpy().tobytes())
    machine = (
        torch.__version__,
        platform.node(),
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
    )
    digest.update(" ".join(machine).encode())
    return digest.hexdigest()


def _cache() -> Path:
    """Return the folder of libraries."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "robodistill" / "compiled"
