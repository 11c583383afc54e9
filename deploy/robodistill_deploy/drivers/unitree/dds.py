"""One DDS participant and what it reads and writes. All that touches CycloneDDS's entities is here."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

from cyclonedds.core import (
    DDSException,
    InstanceState,
    Policy,
    Qos,
    ReadCondition,
    SampleState,
    ViewState,
    WaitSet,
)
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from robodistill_deploy.errors import DriverError, unknown

LOOPBACK = "lo"
_WITHOUT_WAITING = Qos(Policy.Reliability.Reliable(max_blocking_time=0))
"""Reliable, as the vendor's writers are, so that every reader matches; a full queue is an error, never a wait"""
_FRESH = ViewState.Any | SampleState.NotRead | InstanceState.Any


def configuration(interface: str, port_base: int = 7400) -> str:
    """Return CycloneDDS's configuration for one network ``interface``, by name.

    On the loopback interface there is no multicast: processes find each other by trying the ports of 127.0.0.1.
    ``port_base`` (the standard's: 7400) sets a group of processes apart from all others of the same domain.
    """
    local = interface == LOOPBACK
    adapter = f"<NetworkInterface name={quoteattr(interface)}" + (' multicast="false"/>' if local else "/>")
    general = f"<Interfaces>{adapter}</Interfaces>" + ("<AllowMulticast>false</AllowMulticast>" if local else "")
    unicast = '<ParticipantIndex>auto</ParticipantIndex><Peers><Peer Address="127.0.0.1"/></Peers>' if local else ""
    discovery = f"{unicast}<Ports><Base>{port_base}</Base></Ports>"
    return (
        f'<CycloneDDS><Domain Id="any"><General>{general}</General>'
        f"<Discovery>{discovery}</Discovery></Domain></CycloneDDS>"
    )


def check_interface(name: str) -> None:
    """Raise a DriverError that lists the network interfaces of this machine if ``name`` is none of them."""
    names = [known for _, known in socket.if_nameindex()]
    if name not in names:
        raise DriverError(unknown("network interface", name, names))


@contextlib.contextmanager
def dds_errors(what: str) -> Iterator[None]:
    """Turn CycloneDDS's exceptions into a DriverError that says ``what`` was tried."""
    try:
        yield
    except DDSException as error:
        raise DriverError(f"{what}: CycloneDDS says {error}") from error


class Participant:
    """A process's membership of a DDS domain. A process may join each domain once at a time."""

    def __init__(self, domain: int, config: str) -> None:
        """Join ``domain`` with CycloneDDS's XML ``config``, whatever CYCLONEDDS_URI says."""
        with dds_errors(f"DDS domain {domain} cannot be joined"):
            self._domain: Domain | None = Domain(domain, config)
            self._participant: DomainParticipant | None = DomainParticipant(domain)
        self._topics: dict[str, Topic[Any]] = {}

    def reader(self, topic: str, data_type: type[Any], depth: int = 1) -> Reader:
        """Return a reader of the newest ``depth`` samples of ``topic``."""
        with dds_errors(f"topic {topic} cannot be read"):
            qos = Qos(Policy.History.KeepLast(depth))
            return Reader(self._joined, DataReader(self._joined, self._topic(topic, data_type), qos))

    def writer(self, topic: str, data_type: type[Any]) -> DataWriter[Any]:
        """Return a writer of ``topic`` that never waits."""
        with dds_errors(f"topic {topic} cannot be written"):
            return DataWriter(self._joined, self._topic(topic, data_type), _WITHOUT_WAITING)

    def close(self) -> None:
        """Leave the domain; its readers and writers must not be used any more."""
        self._topics.clear()
        self._participant = None
        self._domain = None

    @property
    def _joined(self) -> DomainParticipant:
        if self._participant is None:
            raise DriverError("the DDS link is closed; open the driver first")
        return self._participant

    def _topic(self, name: str, data_type: type[Any]) -> Topic[Any]:
        if name not in self._topics:
            self._topics[name] = Topic(self._joined, name, data_type)
        return self._topics[name]


class Reader:
    """Newest samples of one topic."""

    def __init__(self, participant: DomainParticipant, reader: DataReader[Any]) -> None:
        self._reader = reader
        self._condition = ReadCondition(reader, _FRESH)
        self._waiting = WaitSet(participant)
        self._waiting.attach(self._condition)

    def take(self, limit: int = 4) -> list[Any]:
        """Return up to ``limit`` samples that have arrived since the last call, oldest first, without waiting.

        More than the depth, because the news that a writer has left comes as a sample, too.
        """
        try:
            samples = self._reader.take(limit)
        except UnicodeDecodeError:  # a call whose text is no UTF-8; who meant it calls again
            return []
        except DDSException as error:
            raise DriverError(f"reading failed: CycloneDDS says {error}") from error
        return [sample for sample in samples if sample.sample_info.valid_data]

    def wait(self, seconds: float) -> bool:
        """Wait until there is a sample to take; return False if there is none after ``seconds``."""
        with dds_errors("waiting failed"):
            return self._waiting.wait(int(1e9 * seconds)) > 0

    def writers(self) -> int:
        """Return how many writers of this topic have been found."""
        return len(self._reader.get_matched_publications())


def try_write(writer: DataWriter[Any], sample: object) -> bool:
    """Write ``sample``; return False where it would have had to wait for a slow reader."""
    try:
        writer.write(sample)
    except DDSException as error:
        if error.code != DDSException.DDS_RETCODE_TIMEOUT:
            raise DriverError(f"writing failed: CycloneDDS says {error}") from error
        return False
    return True
