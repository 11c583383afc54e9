"""Processes that talk DDS, each test in a domain of its own; none outlives its test, and none can hang it."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from robodistill.cli import load_config
from robodistill_deploy.codec import to_plain

HERE = Path(__file__).parent
_DOMAINS = itertools.count(os.getpid())


class Peer:
    """A process that speaks in lines of JSON and ends when its standard input does."""

    def __init__(self, *command: str, log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self._end = threading.Timer(180.0, self._process.kill)
        self._end.start()

    def says(self, key: str, within: float = 120.0) -> Any:
        """Return the value of ``key`` in the next line that is JSON and has it; fail after ``within`` seconds."""
        assert self._process.stdout is not None
        impatient = threading.Timer(within, self._process.kill)
        impatient.start()
        try:
            for line in self._process.stdout:
                if line.startswith(b"{") and key in (message := json.loads(line)):
                    return message[key]
        finally:
            impatient.cancel()
        raise AssertionError(
            f"ended with {self._process.wait()} before it said {key!r}: {self.log.read_text()[-2000:]}"
        )

    def end(self) -> None:
        """Ask it to end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def ended(self) -> int:
        """Return its exit code once it has ended."""
        return self._process.wait(60.0)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self._end.cancel()
        self._process.kill()
        self._process.communicate() if self._process.stdin and not self._process.stdin.closed else self._process.wait()


@dataclass
class Network:
    """A DDS domain that nobody else is in."""

    domain: int
    folder: Path
    peers: list[Peer] = field(default_factory=list)

    @property
    def port_base(self) -> int:
        """Return with which base domain 0 has the ports of this domain: the vendor's SDK knows domain 0 only."""
        return 7400 + 250 * self.domain

    def start(self, *command: str) -> Peer:
        """Start ``command`` with this Python."""
        self.peers.append(Peer(*command, log=self.folder / f"{len(self.peers)}.log"))
        return self.peers[-1]

    def script(self, name: str, **options: Any) -> Peer:
        """Start a script of this folder; by default it joins this domain on the loopback interface."""
        return self.start(str(HERE / f"{name}.py"), json.dumps({"domain": self.domain, **options}))


def unused_domain() -> int:
    """Return a domain whose first ports are free."""
    for number in _DOMAINS:
        domain = 1 + number * 7 % 100
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", 7400 + 250 * domain + 10))
            except OSError:
                continue
        return domain
    raise AssertionError("count() does not end")


@pytest.fixture(scope="session")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the Go2's task, for the simulated robot."""
    file = tmp_path_factory.mktemp("task") / "task.yaml"
    file.write_text(yaml.safe_dump(to_plain(load_config(["task=go2_flat"]).task)))
    return file


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    pytest.importorskip("cyclonedds", reason="needs cyclonedds, which is installed with robodistill[dds]")
    made = Network(unused_domain(), tmp_path)
    yield made
    for peer in made.peers:
        peer.kill()
