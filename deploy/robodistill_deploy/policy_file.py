"""The file ``policy.onnx``: a graph and its PolicySpec in one, sealed by a digest over every byte.

The exporter, which may use the ``onnx`` package (this layer may not), writes a file in four steps:

1. Build the ``PolicySpec`` with ``digest=PLACEHOLDER``.
2. Put ``spec.to_json()`` into the model's ``metadata_props`` under ``METADATA_KEY``, once.
3. Save the model as one file: weights inside, never as external data; ``ir_version`` at most 9, which the
   oldest onnxruntime supported (1.17) reads; no ``metadata_props`` on nodes, where torch leaves stack traces.
4. Call ``stamp(path)`` last; any later change to the file breaks the seal.

The digest is the sha256 of the file in which the 64 digits of the digest field are zeros. They are
replaced in place, so no offset or length inside the file moves, and no ONNX tool is needed to check it.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from robodistill_deploy import zoo
from robodistill_deploy.errors import RobodistillError, SpecError, unknown
from robodistill_deploy.graph import Graph, load_graph
from robodistill_deploy.policy_spec import PLACEHOLDER, PolicySpec

METADATA_KEY = "robodistill.policy"

# The JSON is compact, and a quote inside a JSON string is escaped, so only the field itself reads like this.
_MARKER = re.compile(rb'"digest":"([0-9a-f]{64})"')
# How protobuf encodes the entry that points a tensor to another file.
_EXTERNAL_DATA = b"\x0a\x08location\x12"


@dataclass(frozen=True)
class PolicyFile:
    """A file whose digest, spec and graph were found to agree."""

    path: Path
    spec: PolicySpec
    session: Graph


def stamp(path: str | Path) -> str:
    """Seal the file at ``path`` in place, anew if it was sealed before, and return its digest."""
    path = Path(path)
    data = _read(path)
    start, _, digest = _digest(data, path)
    sealed = data[:start] + digest.encode() + data[start + len(digest) :]
    _replace(path, sealed)
    return digest


def verify(path: str | Path) -> str:
    """Return the digest of the file at ``path``; a byte changed since it was stamped is a SpecError."""
    path = Path(path)
    return _verified(_read(path), path)


def open_policy_file(path: str | Path, backend: str = "onnxruntime") -> PolicyFile:
    """Verify the file at ``path`` (or ``zoo:<name>``), read its spec and open its graph.

    The graph is built from the very bytes that were verified: a file swapped in between changes nothing.
    """
    path = zoo.locate(path)
    data = _read(path)
    digest = _verified(data, path)
    if _EXTERNAL_DATA in data:
        raise SpecError(
            f"{path}: keeps weights in another file, which no digest covers; export with them inside"
        )
    session = load_graph(data, path, backend)
    metadata = session.metadata
    if METADATA_KEY not in metadata:
        raise SpecError(f"{path}: an ONNX file without {METADATA_KEY!r}; make it with `robodistill export`")
    try:
        spec = PolicySpec.from_json(metadata[METADATA_KEY])
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    if spec.digest != digest:
        raise SpecError(f"{path}: the digest that was verified is not the policy spec's own; export it again")
    _check_graph(spec, session, path)
    return PolicyFile(path, spec, session)


def _check_graph(spec: PolicySpec, session: Graph, path: Path) -> None:
    interface = spec.interface
    inputs: dict[str, tuple[int, ...]] = {f"signal.{s.name}": (1, s.dim) for s in interface.signals}
    inputs.update({f"state.{s.name}": s.shape for s in spec.states})
    outputs: dict[str, tuple[int, ...]] = {f"action.{p.name}": (1, p.dim) for p in interface.actions}
    outputs.update({f"next.{s.name}": s.shape for s in spec.states})
    for kind, wanted, nodes in (
        ("input", inputs, session.inputs),
        ("output", outputs, session.outputs),
    ):
        found = {node.name: node for node in nodes}
        for name, shape in wanted.items():
            if name not in found:
                raise SpecError(
                    f"{path}: the graph lacks the spec's {kind} {name!r}; it has: {', '.join(found)}"
                )
            node = found[name]
            if node.type != "tensor(float)" or node.shape != shape:
                raise SpecError(
                    f"{path}: graph {kind} {name!r} is {node.type} {list(node.shape)}, must be float {list(shape)}"
                )
        for name in found:
            if name not in wanted:
                raise SpecError(f"{path}: the graph has an {unknown(kind, name, wanted)}")


def _verified(data: bytes, path: Path) -> str:
    _, stamped, digest = _digest(data, path)
    if stamped == PLACEHOLDER:
        raise SpecError(f"{path}: was never stamped; the last step of an export is stamp()")
    if stamped != digest:
        raise SpecError(
            f"{path}: changed or damaged since it was exported (digest differs); copy or export it again"
        )
    return digest


def _digest(data: bytes, path: Path) -> tuple[int, str, str]:
    """Return where the digits of the digest begin, those found there and those that belong there."""
    marks = list(_MARKER.finditer(data))
    if len(marks) != 1:
        raise SpecError(
            f"{path}: {len(marks)} digest fields, expected 1: truncated, damaged or not a policy file; "
            "copy or export it again"
        )
    start, end = marks[0].span(1)
    blank = hashlib.sha256(data[:start])
    blank.update(PLACEHOLDER.encode())
    blank.update(data[end:])
    return start, marks[0][1].decode(), blank.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RobodistillError(_no_file(path)) from error
    except OSError as error:
        raise RobodistillError(f"{path}: cannot be read: {error.strerror}") from error


def _no_file(path: Path) -> str:
    files = sorted(p.name for p in path.parent.glob("*.onnx"))
    near = difflib.get_close_matches(path.name, files, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]!r}? " if near else ""
    there = f"policy files there: {', '.join(files)}" if files else "it holds no .onnx at all"
    packed = f"; those of the package are written {zoo.PREFIX}NAME: {', '.join(zoo.names())}"
    packed = "" if path.suffix == ".onnx" else packed
    return f"no such file {path.name!r} in {path.parent.resolve()}; {meant}{there}{packed}"


def _replace(path: Path, data: bytes) -> None:
    """Write beside ``path`` and rename, so that a reader sees the old file or the new one, never a half."""
    temporary = path.with_name(f".{path.name}.stamped")  # one name: what a killed one left is written over
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
