"""Row: one command tick as bytes, in a layout that is a numpy dtype and a ROS 2 message at once.

A message of ROS 2 in CDR is four bytes of header and its fields one after another, each aligned to its size. Fields
sorted by size need no padding, so the same bytes are a numpy record: they cost microseconds to write, hold every bit
of every float, NaN too, and Foxglove shows them by the schema in the log, without a plugin.
Sources: OMG DDS-XTypes 1.3, 7.4.3 (plain CDR); MCAP registry, schema encoding ``ros2msg``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodistill_deploy.machine import Mode
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runner import Record
from robodistill_deploy.safety.layout import Layout

Row = NDArray[np.void]

SCHEMA_NAME = "robodistill/msg/Tick"
CDR_HEADER = b"\x00\x01\x00\x00"
"""Little-endian plain CDR."""
MODES = tuple(Mode)
NO_READING, MALFORMED, SOUND_LAYOUT = 0, 1, 2
"""What ``reading_state`` says of the reading: none yet; it lacks what the driver promised; it is in ``signals``."""

_HEAD = (
    ("stamp", "f8"), ("due", "f8"), ("busy", "f8"), ("reading_stamp", "f8"), ("operator_stamp", "f8"),
    ("sequence", "u8"), ("reading_tick", "u8"),
)  # fmt: skip
_TAIL = (
    ("mode", "u1"), ("reading_state", "u1"), ("policy_ran", "u1"), ("arm", "u1"), ("stop", "u1"),
    ("command_count", "u1"),
)  # fmt: skip
_WORDS = {"f8": "float64", "f4": "float32", "u8": "uint64", "u1": "uint8"}
_PER_JOINT = ("position", "velocity", "kp", "kd", "effort")
_COUNT_BITS = (1 << 64) - 1


class Group(NamedTuple):
    """Numbers of one kind that belong together, such as a signal."""

    path: str
    """Such as ``signals.joint_pos``; the part before the dot is the branch that Foxglove shows it under."""
    kind: str
    """Of numpy: ``f8`` or ``f4``."""
    elements: tuple[str, ...]


class RowFormat:
    """The layout of one policy on one robot."""

    def __init__(self, spec: PolicySpec, layout: Layout) -> None:
        """Name every number by the policy file and the driver."""
        signals = spec.interface.signals
        commanded = tuple(e for s in signals if s.source == "command" for e in s.elements)
        twist = tuple(layout.value_names[i] for i in layout.twist_values)
        groups = [Group(f"signals.{name}", "f8", elements) for name, elements in layout.signals.items()]
        groups += [Group("operator.command", "f8", commanded)]
        groups += [Group(f"targets.{part.name}", "f8", part.names) for part in spec.interface.actions]
        groups += [Group(f"command.{name}", "f8", layout.joints) for name in _PER_JOINT]
        groups += [Group("command.twist", "f8", twist)]
        groups += [Group(f"inputs.{signal.name}", "f4", signal.elements) for signal in signals]
        self.groups = tuple(group for group in groups if group.elements)  # ROS has no empty message
        self.dtype = np.dtype([
            *((name, f"<{kind}") for name, kind in _HEAD),
            *((group.path, f"<{group.kind}", (len(group.elements),)) for group in self.groups),
            *_TAIL,
        ])  # fmt: skip

    @property
    def schema(self) -> str:
        """Return the message's definition in the language of ROS 2."""
        branches: dict[str, list[Group]] = {}
        for group in self.groups:
            branches.setdefault(group.path.split(".")[0], []).append(group)
        constants = [f"uint8 {mode.name}={i}" for i, mode in enumerate(MODES)]
        main = [f"{_WORDS[kind]} {name}" for name, kind in _HEAD]
        main += [f"robodistill/{_camel(name)} {name}" for name in branches]
        main += [f"{_WORDS[kind]} {name}" for name, kind in _TAIL]
        texts = ["\n".join([*constants, *main])]
        for name, groups in branches.items():
            fields = zip(groups, _identifiers([g.path.partition(".")[2] for g in groups]), strict=True)
            own = [(group, field, f"robodistill/{_camel(name)}{_camel(field)}") for group, field in fields]
            texts.append(_definition(_camel(name), [f"{kind} {field}" for _, field, kind in own]))
            for group, _, kind in own:
                lines = [f"{_WORDS[group.kind]} {field}" for field in _identifiers(group.elements)]
                texts.append(_definition(kind.partition("/")[2], lines))
        return "\n".join(texts) + "\n"

    def packer(self) -> Packer:
        """Return what turns records into bytes."""
        return Packer(self)

    def rows(self, messages: Sequence[bytes]) -> Row:
        """Return the messages of a log as one array, a field per group: (T,) or (T, elements)."""
        size = len(CDR_HEADER) + self.dtype.itemsize
        whole = np.frombuffer(b"".join(m for m in messages if len(m) == size), np.uint8).reshape(-1, size)
        return np.ascontiguousarray(whole[:, len(CDR_HEADER) :]).view(self.dtype).reshape(-1)


class Packer:
    """Writes into one buffer that it keeps; not for two threads at once."""

    def __init__(self, form: RowFormat) -> None:
        self._buffer = np.zeros(8 + form.dtype.itemsize, np.uint8)[8 - len(CDR_HEADER) :]  # the fields are aligned
        self._buffer[: len(CDR_HEADER)] = np.frombuffer(CDR_HEADER, np.uint8)
        row = self._buffer[len(CDR_HEADER) :].view(form.dtype)
        self._head = row.view(np.uint8)[: 8 * len(_HEAD)].view("<f8")
        self._counts = row.view(np.uint8)[: 8 * len(_HEAD)].view("<u8")
        self._tail = row.view(np.uint8)[-len(_TAIL) :]
        paths = [group.path for group in form.groups]
        self._measurement = _span(row, paths, "signals.")
        self._commanded = _span(row, paths, "operator.")
        self._targets = _span(row, paths, "targets.")
        self._inputs = _span(row, paths, "inputs.")
        self._command = [row[0][f"command.{name}"] for name in _PER_JOINT]
        self._twist = _span(row, paths, "command.twist")
        self._modes = {mode: i for i, mode in enumerate(MODES)}

    def pack(self, record: Record, inputs: NDArray[np.float32] | None, sequence: int) -> bytes:
        """Return the message of one tick; ``inputs`` are those of the record, or a copy where time has passed."""
        reading, operation, command = record.reading, record.operation, record.command
        state, tick, arrived = NO_READING, 0, np.nan
        if reading is not None:
            state = MALFORMED if record.measurement is None else SOUND_LAYOUT
            tick, arrived = reading.tick & _COUNT_BITS, reading.stamp
            self._measurement[:] = np.nan if record.measurement is None else record.measurement
        self._head[:5] = record.stamp, record.due, record.busy, arrived, operation.stamp
        self._counts[5:7] = sequence, tick
        given = operation.command
        n = min(len(given), len(self._commanded))
        self._commanded[n:] = np.nan
        self._commanded[:n] = given[:n]
        ran = inputs is not None and record.targets is not None
        if inputs is not None and record.targets is not None:
            self._inputs[:] = inputs
            self._targets[:] = record.targets
        values = (command.position, command.velocity, command.kp, command.kd, command.effort)
        for slot, value in zip(self._command, values, strict=True):
            slot[:] = value
        self._twist[:] = command.twist
        self._tail[:] = (
            self._modes[record.mode], state, ran, operation.arm, operation.stop, min(len(given), 255),
        )  # fmt: skip
        return self._buffer.tobytes()


def _span(row: Row, paths: Sequence[str], prefix: str) -> NDArray[Any]:
    """Return the groups that begin with ``prefix``, which lie side by side, as one writable vector."""
    own = [path for path in paths if path.startswith(prefix)]
    kinds: Mapping[str, Any] = row.dtype.fields or {}
    if not own:
        return np.zeros(0)
    first, last = kinds[own[0]], kinds[own[-1]]
    raw = row.view(np.uint8)[first[1] : last[1] + last[0].itemsize]
    return raw.view(first[0].base)


def _definition(name: str, lines: Sequence[str]) -> str:
    return "\n".join(["=" * 80, f"MSG: robodistill/{name}", *lines])


def _camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"\W|_", name) if word)


def _identifiers(names: Sequence[str]) -> Iterator[str]:
    """Yield a field's name for each, none twice: ROS allows small letters, digits and single underscores."""
    seen: set[str] = set()
    for name in names:
        word = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")
        word = word if word[:1].isalpha() else f"e{word}"
        unique, n = word, 1
        while unique in seen:
            n += 1
            unique = f"{word}_{n}"
        seen.add(unique)
        yield unique
