"""The functions a step is made of, compiled ahead of time: one C++ function each, not hundreds of operations.

It pays where worlds are few and a run is long, for what it saves in a step hardly depends on their number
(docs/benchmarks.md). Results differ from the uncompiled in the last bits. Compiling takes a minute, once for
what the functions compute: each library is kept in the user's cache folder.
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
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from robodistill_deploy.errors import RobodistillError
from robodistill_envs.random import WorldRandom
from robodistill_envs.world import World

Result = TypeVar("Result", bound=tuple[Any, ...])
# one thread, as torch has while worlds are stepped: the second core would wake for microseconds of work
_SETTINGS = {"cpp.threads": 1}
_MANY = 1 << 40
"""No number of worlds reaches it."""


def has_compiler() -> bool:
    """Return whether the C++ compiler is here that torch's inductor calls: what CXX names, or a usual one."""
    named = os.environ.get("CXX", "")
    return any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"]))


def require_compiler() -> None:
    """Refuse a machine without a C++ compiler."""
    if not has_compiler():
        named = os.environ.get("CXX") or "g++"
        raise RobodistillError(
            f"compile=true needs a C++ compiler, {named} was not found: install one (apt install g++), "
            "name one in CXX, or leave compile out"
        )


def compiled(
    world: World, function: Callable[..., Result], needs: Sequence[str] | None = None
) -> Callable[..., Result]:
    """Return ``function(world, random, how, *tensors)`` compiled, once for each ``how``, for any number of worlds.

    It returns a NamedTuple of tensors and dicts of them. ``needs`` are the rows of the world that it looks at, if
    not all; a tensor without dimensions belongs to all worlds.
    """
    everything = _rows(world)
    template, names = world.made_of(everything), tuple(everything if needs is None else needs)
    made: dict[Hashable, _Compiled] = {}

    def made_for(random: WorldRandom, how: Hashable) -> _Compiled:
        def of_tensors(keys: Tensor, *values: Tensor) -> Result:
            here = template.made_of(dict(zip(names, values, strict=False))) if names else template
            return function(here, random.with_keys(keys), how, *values[len(names) :])

        return _Compiled(of_tensors)

    def fast(world: World, random: WorldRandom, how: Hashable, *tensors: Tensor) -> Result:
        if how not in made:
            made[how] = made_for(random, how)
        rows = _rows(world) if names else {}
        return made[how](random.keys, *(rows[name] for name in names), *tensors)

    return fast


def _rows(world: World) -> dict[str, Tensor]:
    """Return the rows of ``world``, those that its first step makes included."""
    rows = world.rows()
    if "last_joint_vel" not in rows and "joint_vel" in {s.name for s in world.task.robot.sensors}:
        rows["last_joint_vel"] = torch.zeros_like(world.true("joint_vel"))
    return rows


class _Traced(nn.Module):
    """A function as the module that torch.export asks for: tensors in, a plain tuple of them out."""

    def __init__(self, function: Callable[..., tuple[Any, ...]]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Call the function."""
        return tuple(pytree.tree_leaves(tuple(self._function(*values))))


class _Compiled:
    """A function of tensors that returns a NamedTuple of tensors and dicts of them; compiled at its first call."""

    def __init__(self, function: Callable[..., tuple[Any, ...]]) -> None:
        self._function = function
        self._run: Callable[[list[Tensor]], list[Tensor]] | None = None
        self._made_of: Callable[[Iterator[Tensor]], Any]

    def __call__(self, *values: Tensor) -> Any:
        """Return what the function does."""
        # the library takes its inputs by their places, and reads their rows one after the other
        inputs = [value.contiguous() for value in values]
        if self._run is None:
            # what the function makes at its first call and keeps is made now, not while traced
            self._made_of = _maker(self._function(*inputs))
            self._run = self._compiled(inputs)
        return self._made_of(iter(self._run(inputs)))

    def _compiled(self, inputs: Sequence[Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
        # torch's errors from here, data-dependent branches to a failing g++, share no base below these
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                return _library(_trace(_Traced(self._function), inputs))
        except (RuntimeError, TypeError, ValueError, AssertionError, OverflowError) as error:
            raise RobodistillError(
                f"compile=true: this task cannot be compiled: {_first_line(error)} (rewards and terms may not branch "
                "on values or use numpy); leave compile out"
            ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _maker(result: tuple[Any, ...]) -> Callable[[Iterator[Tensor]], Any]:
    """Return what puts tensors, one after the other, where those of ``result``, a NamedTuple, are."""
    form = [tuple(part) if isinstance(part, dict) else None for part in result]
    kind: Any = type(result)

    def made_of(found: Iterator[Tensor]) -> Any:
        return kind(
            *(next(found) if names is None else {name: next(found) for name in names} for names in form)
        )

    return made_of


def _trace(module: nn.Module, inputs: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """Return ``module``, traced for any number of worlds."""
    # a size of 1 or of the environment's own would be taken for a constant
    example = tuple(value.new_zeros(4, *value.shape[1:]) if value.dim() else value for value in inputs)
    worlds = torch.export.Dim("worlds", max=_MANY)
    shapes = (tuple({0: worlds} if value.dim() else {} for value in example),)
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
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        settings = dict(_SETTINGS)  # it writes its own into what it is given
        made = aoti_compile_and_package(program, package_path=f"{folder}/made.pt2", inductor_configs=settings)
        os.replace(made, path)


def _key(program: torch.export.ExportedProgram) -> str:
    """Return what tells libraries apart: the traced operations, their constants, torch, and the machine."""
    digest = hashlib.sha256(program.graph_module.code.encode())
    for node in program.graph.find_nodes(op="placeholder"):  # the code names inputs, but not how wide they are
        digest.update(f"{node.meta['val'].dtype} {tuple(node.meta['val'].shape[1:])}".encode())
    tensors: Mapping[str, Any] = {**program.constants, **program.state_dict}
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().contiguous().numpy().tobytes())
    machine = (
        str(_SETTINGS),
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
