"""What a machine has and lacks for training, with the command that mends each lack."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Literal

from packaging.requirements import Requirement

from robodistill.cli import available_cores

State = Literal["ok", "note", "missing"]

_LEAST_PYTHON = (3, 10)
_GL_BACKENDS = ("egl", "osmesa", "glfw")
_RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any()
"""


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    name: str
    state: State
    """``missing`` stops training, ``note`` costs something."""
    text: str
    """What was found and, unless ok, what to do."""

    def line(self) -> str:
        """Return the line that is shown."""
        return f"{self.state:<8}{self.name:<14}{self.text}"


def examine(folder: Path = Path()) -> Iterator[Finding]:
    """Yield every finding, the quick ones first; ``folder`` is where runs would be written."""
    yield python(sys.version_info[:2])
    yield Finding("cores", "ok", f"{available_cores()} for this process, {os.cpu_count()} in the machine")
    yield disk(folder)
    yield from extras(_own_requirements())
    yield torch()
    yield physics()
    yield runtime()
    yield graphics()


def python(found: Sequence[int]) -> Finding:
    """Judge the Python version."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if tuple(found) >= _LEAST_PYTHON:
        return Finding("python", "ok", text)
    return Finding("python", "missing", f"{text}; install Python >= 3.10 and make a venv with it")


def disk(folder: Path) -> Finding:
    """Judge the space for runs: a demo leaves some 100 MB."""
    free = shutil.disk_usage(folder).free / 1e9
    state: State = "ok" if free > 2 else "note" if free > 0.5 else "missing"
    return Finding(
        "disk", state, f"{free:.1f} GB free here" + ("" if state == "ok" else "; free some, or set runs_dir=")
    )


def extras(requirements: Sequence[str] | None) -> Iterator[Finding]:
    """Compare what is installed with what each extra asks for; ``requirements`` as a wheel's metadata has them."""
    if requirements is None:
        text = "not installed but run from its sources: pip install -e '.[train]' in the clone"
        yield Finding("robodistill", "note", text)
        return
    by_extra: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, requirements):
        named = re.search(r"extra\s*==\s*['\"]([^'\"]+)", str(requirement.marker or ""))
        if requirement.name != "robodistill":
            by_extra.setdefault(named.group(1) if named else "", []).append(requirement)
    for extra, wanted in sorted(by_extra.items()):
        lacking = [text for text in map(_lack, wanted) if text]
        name = f"[{extra}]" if extra else "base"
        needed = extra in ("", "train")
        if lacking:
            mend = f"pip install 'robodistill[{extra or 'train'}]'"
            yield Finding(name, "missing" if needed else "note", f"{', '.join(lacking)}; {mend}")
        else:
            yield Finding(name, "ok", f"{len(wanted)} packages as asked for")


def torch() -> Finding:
    """Report torch's build and how many threads it would use."""
    module = _import("torch")
    if module is None:
        return Finding("torch", "missing", "not installed; pip install 'robodistill[train]'")
    build = f"CUDA {module.version.cuda}" if module.version.cuda else "CPU build"
    text = f"{module.__version__}, {build}, {module.get_num_threads()} threads"
    if module.version.cuda and not module.cuda.is_available():
        return Finding(
            "torch", "note", f"{text}, no GPU seen; a CPU build is smaller, see PyTorch's CPU index"
        )
    return Finding("torch", "ok", text)


def physics() -> Finding:
    """Judge whether mujoco is the version that mjbatch was built against."""
    mend = "pip install 'robodistill[train]'"
    mujoco = _import("mujoco")
    if mujoco is None:
        return Finding("mujoco", "missing", f"not installed; {mend}")
    if _import("mjbatch") is None:
        return Finding("mujoco", "missing", f"{mujoco.__version__}, but mjbatch is not installed; {mend}")
    return agreement(mujoco.__version__, metadata.version("mjbatch"), metadata.requires("mjbatch") or [])


def agreement(mujoco: str, mjbatch: str, requirements: Sequence[str]) -> Finding:
    """Compare the installed MuJoCo with the one that mjbatch's metadata names."""
    text = f"{mujoco}, mjbatch {mjbatch}"
    for requirement in map(Requirement, requirements):
        if requirement.name == "mujoco" and not requirement.specifier.contains(mujoco, prereleases=True):
            mend = f"pip install 'mujoco{requirement.specifier}'"
            return Finding(
                "mujoco", "missing", f"{text}, which was built against {requirement.specifier}; {mend}"
            )
    return Finding("mujoco", "ok", f"{text}, which agree")


def runtime() -> Finding:
    """Report ONNX Runtime."""
    module = _import("onnxruntime")
    if module is None:
        return Finding("onnxruntime", "missing", "not installed; pip install robodistill")
    return Finding(
        "onnxruntime", "ok", f"{module.__version__}, {', '.join(module.get_available_providers())}"
    )


def graphics(backends: Sequence[str] = _GL_BACKENDS, script: str = _RENDER) -> Finding:
    """Render one picture with each OpenGL backend, each in a process of its own: some crash instead of failing."""
    usable = [backend for backend in backends if _renders(backend, script)]
    if usable:
        return Finding("rendering", "ok", f"{', '.join(usable)} (choose one with MUJOCO_GL={usable[0]})")
    mend = "apt-get install libegl1 libgl1-mesa-dri, or libosmesa6"
    return Finding("rendering", "note", f"no OpenGL: the report draws stick figures instead; {mend}")


def _renders(backend: str, script: str) -> bool:
    environment = {**os.environ, "MUJOCO_GL": backend}
    environment.pop("PYOPENGL_PLATFORM", None)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _own_requirements() -> list[str] | None:
    try:
        return metadata.requires("robodistill") or []
    except metadata.PackageNotFoundError:
        return None


def _lack(requirement: Requirement) -> str:
    """Return what is wrong with an installed package; empty when nothing is."""
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} is {found}, not {requirement.specifier}"


def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
