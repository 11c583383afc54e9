"""Mutate policy files and specs: nothing may be accepted that was altered, nothing may fail but by one line.

  python benchmarks/fuzz_policy_file.py policy.onnx --files 10000 --specs 1000000

Files: bytes are flipped, overwritten, cut, inserted, repeated or exchanged, then the file is opened; half of them are
sealed anew first, so that what lies behind the digest is reached too (those may be accepted only if the self-test
passes). Specs: values of the JSON are replaced, removed, doubled or renamed, or its text is spoilt, then it is read.
Prints how many were refused, how many were read as another valid spec, and the first crash with its seed.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.policy_file import open_policy_file, stamp
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runtime import load_policy

Random = np.random.Generator
BACKENDS = ("onnxruntime", "numpy")


def mutated_bytes(data: bytes, random: Random) -> bytes:
    """Return ``data`` with one to four alterations; never ``data`` itself."""
    result = data
    while result == data:
        for _ in range(int(random.integers(1, 5))):
            result = _BYTES[random.integers(len(_BYTES))](result, random)
    return result


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = int(random.integers(len(data) + 1))
    return start, min(len(data), start + int(2 ** random.uniform(0.0, 10.0)))


def _flip(data: bytes, random: Random) -> bytes:
    if not data:
        return b"\0"
    at = int(random.integers(len(data)))
    return data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :]


def _overwrite(data: bytes, random: Random) -> bytes:
    a, b = _span(data, random)
    return data[:a] + random.bytes(b - a) + data[b:]


def _cut(data: bytes, random: Random) -> bytes:
    a, b = _span(data, random)
    return data[:a] + data[b:]


def _end(data: bytes, random: Random) -> bytes:
    return data[: int(random.integers(len(data) + 1))]


def _insert(data: bytes, random: Random) -> bytes:
    a, b = _span(data, random)
    return data[:a] + random.bytes(b - a) + data[a:]


def _repeat(data: bytes, random: Random) -> bytes:
    a, b = _span(data, random)
    return data[:b] + data[a:b] + data[b:]


def _exchange(data: bytes, random: Random) -> bytes:
    a, b = _span(data, random)
    c, d = _span(data, random)
    return data if a > c or b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip, _flip, _overwrite, _cut, _end, _insert, _repeat, _exchange,
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, 10**30, 0.5, -1e300, 1e-300, "", "x", "sensor", "\ud800", "joint_effort", [],
    [1], [[]], {}, {"name": 1}, [None], "robodistill.policy/2", "0" * 64, 1e308,
)  # fmt: skip


def mutated_spec(text: str, random: Random) -> str:
    """Return the JSON ``text`` with one to three alterations of its values or its characters."""
    if random.random() < 0.3:
        return mutated_bytes(text.encode(), random).decode("utf-8", "surrogateescape")
    plain = json.loads(text)
    for _ in range(int(random.integers(1, 4))):
        _alter(plain, random)
    return json.dumps(plain)


def _alter(plain: Any, random: Random) -> None:
    """Walk down to a random place below ``plain`` and alter what is there."""
    place = plain
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = keys[random.integers(len(keys))]
        if isinstance(place[key], (dict, list)) and place[key] and random.random() < 0.75:
            place = place[key]
            continue
        break
    choice = random.integers(4)
    if choice == 0:
        del place[key]
    elif choice == 1 and isinstance(place, dict):
        place[f"{key}x"] = copy.deepcopy(place[key])
    elif choice == 2 and isinstance(place, list):
        place.append(copy.deepcopy(place[key]))
    else:
        place[key] = copy.deepcopy(_VALUES[random.integers(len(_VALUES))])


def fuzz_specs(text: str, count: int, seed: int) -> Counter[str]:
    """Read ``count`` mutated specs; anything but a RobodistillError or an exact round trip escapes."""
    outcome: Counter[str] = Counter()
    original = PolicySpec.from_json(text)
    for i in range(count):
        altered = mutated_spec(text, np.random.default_rng((seed, i)))
        try:
            spec = PolicySpec.from_json(altered)
        except RobodistillError as error:
            outcome["refused" if "\n" not in str(error) else "refused in several lines"] += 1
            continue
        outcome["another valid spec" if spec != original else "same meaning"] += 1
        if PolicySpec.from_json(spec.to_json()) != spec:
            raise AssertionError(f"spec {i} of seed {seed} does not survive its own JSON")
    return outcome


def fuzz_files(source: Path, count: int, seed: int, folder: Path) -> Counter[str]:
    """Open ``count`` mutated files; one that is accepted without a new seal is counted as such."""
    outcome: Counter[str] = Counter()
    data, path = source.read_bytes(), folder / "mutated.onnx"
    for i in range(count):
        random = np.random.default_rng((seed, i))
        altered = mutated_bytes(data, random)
        path.write_bytes(altered)
        backend = BACKENDS[i // 2 % 2]
        kind = "sealed anew" if i % 2 else "as it is"
        try:
            if i % 2:
                stamp(path)
                load_policy(path, backend)
            else:
                open_policy_file(path, backend)
        except RobodistillError as error:
            outcome[f"{kind}: {'refused' if chr(10) not in str(error) else 'refused in several lines'}"] += 1
        else:
            outcome[f"{kind}: accepted"] += 1
    return outcome


def main() -> None:
    """Fuzz and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--specs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    text = open_policy_file(options.policy).spec.to_json()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, count in sorted(fuzz_files(options.policy, options.files, options.seed, Path(folder)).items()):
            print(f"files  {name:<36}{count:>9}")
    print(f"       {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    for name, count in sorted(fuzz_specs(text, options.specs, options.seed).items()):
        print(f"specs  {name:<36}{count:>9}")
    print(f"       {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
