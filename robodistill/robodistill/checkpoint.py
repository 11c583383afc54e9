"""Checkpoints without pickle: nested trees of tensors and plain values as safetensors + JSON.

A folder holds ``tensors.safetensors`` (every tensor and array), ``tree.json`` (everything else, with
references into the first) and ``manifest.json`` (format version and the SHA-256 of each file beside it).
Loading runs no code from the file, and a truncated or altered file is refused by name. A checkpoint called
``last`` keeps the one that it replaces beside it, as ``previous``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch

from robodistill.files import sync, write_synced, writing
from robodistill_deploy.errors import RobodistillError

FORMAT = "robodistill.tree/1"
LAST, PREVIOUS = "last", "previous"
_TENSORS, _TREE, _MANIFEST = "tensors.safetensors", "tree.json", "manifest.json"
# An object with this key is not a dict of the user's but a value that JSON has no form for.
_TAG = "#"
_TORCH_DTYPES = frozenset(
    getattr(torch, name)
    for name in [
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "bfloat16",
        "float32",
        "float64",
    ]
)
_NUMPY_DTYPES = frozenset(
    np.dtype(code) for code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
)


def save_tree(folder: Path, tree: Any, texts: Mapping[str, str] | None = None) -> None:
    """Write ``tree`` to ``folder``, replacing what it holds; killed at any instant, the old or the new loads.

    ``tree`` nests dicts (keys: str, int, float, bool, None), lists and tuples of torch tensors, numpy arrays
    and scalars, int, float, bool, str and None. Tensors are saved from any device and load on the CPU.
    ``texts`` are further files by name, such as ``config.yaml``, written beside it and covered by the hashes.
    """
    folder = Path(folder)
    aside, old = _aside(folder), _old(folder)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists() and old.exists():
            os.rename(old, folder)  # the last writer was killed between its two renames
        shutil.rmtree(aside, ignore_errors=True)
        try:
            _write(aside, tree, texts or {})
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)  # a part takes the space that is lacking
            raise
        shutil.rmtree(old, ignore_errors=True)  # only now, when two whole ones stand beside it
        if folder.exists():
            os.rename(folder, old)
        os.rename(aside, folder)
        sync(folder.parent)
    if folder.name != LAST:
        shutil.rmtree(old, ignore_errors=True)


def load_tree(folder: Path) -> Any:
    """Return the tree saved in ``folder``; anything missing, truncated or altered is a RobodistillError."""
    return load_with_texts(folder)[0]


def load_with_texts(folder: Path) -> tuple[Any, dict[str, str]]:
    """Return the tree as ``load_tree`` does, and the texts that were saved beside it, of the same checkpoint."""
    folder = Path(folder)
    if not folder.exists() and _old(folder).exists():
        folder = _old(folder)  # a writer is, or was killed, between its two renames: this one is whole
    try:
        files = _read_files(folder)
    except RobodistillError as error:
        raise RobodistillError(f"{error}; {_remedy(folder)}") from error
    texts = {name: data.decode() for name, data in files.items() if name not in (_TREE, _TENSORS)}
    return _decode(json.loads(files[_TREE]), safetensors.torch.load(files[_TENSORS])), texts


def has_tree(folder: Path) -> bool:
    """Return whether a checkpoint stands at ``folder``, whole or damaged (or its writer was killed replacing one)."""
    return any(place.exists() for place in (Path(folder), _old(Path(folder))))


def is_whole(folder: Path) -> bool:
    """Return whether every file of the checkpoint in ``folder`` is as it was written."""
    try:
        _read_files(Path(folder))
    except RobodistillError:
        return False
    return True


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.tmp")


def _old(folder: Path) -> Path:
    return folder.with_name(PREVIOUS if folder.name == LAST else f".{folder.name}.old")


def _remedy(folder: Path) -> str:
    if folder.name == LAST and is_whole(folder.with_name(PREVIOUS)):
        return f"add resume={PREVIOUS} to the command that made it to go on from the one before it"
    return "restore it, or name another"


def _write(folder: Path, tree: Any, texts: Mapping[str, str]) -> None:
    tensors: dict[str, torch.Tensor] = {}
    encoded = _encode(tree, (), tensors)
    files = {name: text.encode() for name, text in texts.items()}
    files[_TENSORS] = safetensors.torch.save(tensors)
    files[_TREE] = json.dumps(encoded, indent=1, allow_nan=False).encode()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    files[_MANIFEST] = _manifest({"format": FORMAT, "files": digests}).encode()
    folder.mkdir()
    for name, data in files.items():
        write_synced(folder / name, data)
    sync(folder)


def _manifest(content: Any) -> str:
    return json.dumps(content, indent=1)


def _read_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint by name; whatever differs from what was written is a RobodistillError."""
    try:
        text = (folder / _MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RobodistillError(f"checkpoint {folder}: no {_MANIFEST} there") from error
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise RobodistillError(f"checkpoint {folder}: {_MANIFEST} is truncated or altered") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else manifest
        raise RobodistillError(f"checkpoint {folder}: format {found!r}, this version reads {FORMAT!r}")
    digests = manifest.get("files")
    if not isinstance(digests, dict) or not {_TENSORS, _TREE} <= set(digests):
        raise RobodistillError(f"checkpoint {folder}: {_MANIFEST} lists too few files")
    if text != _manifest(manifest).encode():  # its own bytes are in no digest: not even a space may differ
        raise RobodistillError(f"checkpoint {folder}: {_MANIFEST} is altered")
    return {name: _read_verified(folder, name, str(digest)) for name, digest in digests.items()}


def _read_verified(folder: Path, name: str, digest: str) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise RobodistillError(f"checkpoint {folder}: {name} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise RobodistillError(f"checkpoint {folder}: {name} ({len(data)} bytes) is truncated or altered")
    return data


def _encode(value: Any, path: tuple[str, ...], tensors: dict[str, torch.Tensor]) -> Any:
    """Return the JSON form of ``value``; its tensors go into ``tensors`` under names made from ``path``."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {_TAG: "float", "value": repr(value)}
    if isinstance(value, torch.Tensor):
        return {_TAG: "torch", "name": _store(_from_torch(value, path), path, tensors)}
    if isinstance(value, (np.ndarray, np.generic)):
        kind = "numpy" if isinstance(value, np.ndarray) else "numpy_scalar"
        return {_TAG: kind, "name": _store(_from_numpy(value, path), path, tensors)}
    if type(value) is list or type(value) is tuple:
        items = [_encode(item, (*path, str(i)), tensors) for i, item in enumerate(value)]
        return items if type(value) is list else {_TAG: "tuple", "items": items}
    if isinstance(value, dict):
        return _encode_dict(value, path, tensors)
    raise _refusal(path, f"a {type(value).__name__} cannot be saved; make it a tensor, number or text")


def _encode_dict(value: dict[Any, Any], path: tuple[str, ...], tensors: dict[str, torch.Tensor]) -> Any:
    for key in value:
        if key is not None and type(key) not in (str, int, float, bool):
            raise _refusal(path, f"key {key!r} is a {type(key).__name__}; legal: str, int, float, bool, None")
    items = {key: _encode(item, (*path, str(key)), tensors) for key, item in value.items()}
    if _TAG not in items and all(type(key) is str for key in items):
        return items
    # JSON turns other keys into text; pairs keep 1 and "1" apart.
    return {_TAG: "dict", "items": [[_encode(key, path, tensors), item] for key, item in items.items()]}


def _from_torch(value: torch.Tensor, path: tuple[str, ...]) -> torch.Tensor:
    if value.dtype not in _TORCH_DTYPES or value.layout is not torch.strided:
        raise _refusal(path, f"a {value.layout} tensor of {value.dtype} cannot be saved; convert it first")
    # Own memory for each: safetensors refuses views that share it, and weights may be tied.
    return value.detach().to("cpu").contiguous().clone()


def _from_numpy(value: Any, path: tuple[str, ...]) -> torch.Tensor:
    array = np.array(value, order="C", copy=True)
    if array.dtype not in _NUMPY_DTYPES:
        raise _refusal(path, f"a numpy array of {array.dtype} cannot be saved; convert it first")
    return torch.from_numpy(array)


def _store(tensor: torch.Tensor, path: tuple[str, ...], tensors: dict[str, torch.Tensor]) -> str:
    """Keep ``tensor`` under a readable name that is still free, and return the name for the tree."""
    name = stem = "/".join(path).encode("ascii", "backslashreplace").decode() or "value"
    while name in tensors or name == "__metadata__":
        name = f"{stem}~{len(tensors)}"
    tensors[name] = tensor
    return name


def _refusal(path: tuple[str, ...], reason: str) -> RobodistillError:
    return RobodistillError(f"checkpoint entry {'/'.join(path) or '(root)'!r}: {reason}")


def _decode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_TAG)
    if kind is None:
        return {key: _decode(item, tensors) for key, item in value.items()}
    if kind == "float":
        return float(value["value"])
    if kind == "tuple":
        return tuple(_decode(item, tensors) for item in value["items"])
    if kind == "dict":
        return {_decode(key, tensors): _decode(item, tensors) for key, item in value["items"]}
    tensor = tensors[value["name"]]
    if kind == "torch":
        return tensor
    return tensor.numpy() if kind == "numpy" else cast(Any, tensor.numpy())[()]
