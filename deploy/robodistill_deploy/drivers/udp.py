"""UDP, the runtime's side: any robot that speaks the protocol of docs/udp.md, be it from C."""

from __future__ import annotations

import dataclasses
import select
import socket
import time
from collections import Counter
from collections.abc import Mapping

from robodistill_deploy import udp_protocol as protocol
from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.errors import DriverError

_ASK_AGAIN_S = 0.1
_MAX_READ = 1024
"""Packets taken in one ``read``: whoever floods the socket must not hold up the loop."""
_STALL_S = 0.1
"""[s] between two reads after which what has queued up is thrown away: a full queue keeps the oldest packets, and
nobody knows their age."""


class UdpDriver:
    """Driver ``udp``.

    ``host``, ``port``: where the robot listens. ``timeout`` [s]: how long ``open`` waits for it. ``bind``: address of
    this machine to speak from; loopback unless given, so nothing leaves the machine by accident. ``lockstep``: ``read``
    waits for the state that answers the last command, and its stamps are the robot's own time; for simulations.

    The robot says itself what its joints and signals are: asking for them greets it, which moves nothing.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = protocol.PORT, bind: str = "127.0.0.1", timeout: float = 5.0,
        lockstep: bool = False,
    ) -> None:  # fmt: skip
        self._address, self._bind = (host, port), bind
        self._timeout, self._lockstep = timeout, lockstep
        self._socket: socket.socket | None = None
        self._layout: protocol.Layout | None = None
        self._newest: protocol.StatePacket | None = None
        self._sent = 0
        self._read_at = 0.0
        self._last = b""
        self.rejected: Counter[str] = Counter()
        """Reason -> how many packets were ignored for it."""

    @property
    def joints(self) -> tuple[str, ...]:
        """Return the robot's joints in its own order."""
        return self._known().joints

    @property
    def signals(self) -> Mapping[str, tuple[str, ...]]:
        """Return the robot's signals."""
        return self._known().signals

    def open(self) -> None:
        """Greet the robot until it says what it is, unless that is done."""
        if self._socket is not None:
            return
        self._newest, self._sent, self._read_at = None, 0, time.monotonic()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((self._bind, 0))
            self._socket.connect(self._address)
        except OSError as error:
            self.close()
            raise DriverError(
                f"udp: cannot reach {self._address} from {self._bind}: {error}; set host, port, bind"
            ) from error
        self._socket.setblocking(False)
        self._layout = self._greet(self._socket)

    def read(self) -> Reading | None:
        """Return the newest reading, stamped on arrival; in lockstep, the one that answers the last command."""
        last, self._read_at = self._read_at, time.monotonic()
        if not self._lockstep and self._read_at - last > _STALL_S:
            self.rejected["stalled"] += len(self._received())
        self._take_all()
        if self._lockstep:
            self._await_answer()
        return None if self._newest is None else self._newest.reading

    def write(self, command: Command) -> None:
        """Send ``command``; one that cannot be sent now is dropped, for the next is fresher."""
        self._sent += 1
        packet = protocol.CommandPacket(command, self._sent, time.monotonic())
        self._last = protocol.pack_command(self._known(), packet)
        self._send(self._last)

    def close(self) -> None:
        """Close the socket; the robot's watchdog damps it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _known(self) -> protocol.Layout:
        if self._layout is None:
            self.open()
        assert self._layout is not None
        return self._layout

    def _greet(self, sock: socket.socket) -> protocol.Layout:
        end = time.monotonic() + self._timeout
        while (now := time.monotonic()) < end:
            self._send(protocol.pack_hello(0, now))
            select.select([sock], [], [], min(_ASK_AGAIN_S, end - now))
            for data in self._received():
                layout = self._unpacked(data)
                if isinstance(layout, protocol.Layout):
                    return layout
        self.close()
        raise DriverError(
            f"udp: no robot answered at {self._address[0]}:{self._address[1]} within {self._timeout:g} s; "
            "is it on, and free of another client? set host and port"
        )

    def _received(self) -> list[bytes]:
        found: list[bytes] = []
        while self._socket is not None and len(found) < _MAX_READ:
            try:
                found.append(self._socket.recv(protocol.MAX_BYTES))
            except BlockingIOError:
                break
            except ConnectionError:  # nobody listens there (now): silence, as far as the runtime is concerned
                self.rejected["refused"] += 1
                break
        return found

    def _unpacked(self, data: bytes) -> protocol.Layout | protocol.StatePacket | None:
        try:
            kind = protocol.kind_of(data)
            if kind == protocol.DESCRIPTION:
                return protocol.unpack_description(data)
            if kind == protocol.STATE and self._layout is not None:
                return protocol.unpack_state(self._layout, data)
        except protocol.MalformedPacketError as error:
            self.rejected[error.reason] += 1
            return None
        self.rejected["kind"] += 1
        return None

    def _take_all(self) -> None:
        for data in self._received():
            packet = self._unpacked(data)
            if not isinstance(packet, protocol.StatePacket):
                continue
            if self._newest is not None and packet.sequence <= self._newest.sequence:
                self.rejected["old"] += 1
                continue
            if not self._lockstep:
                arrived = dataclasses.replace(packet.reading, stamp=time.monotonic())
                packet = dataclasses.replace(packet, reading=arrived)
            self._newest = packet

    def _await_answer(self) -> None:
        end = time.monotonic() + self._timeout
        while self._newest is None or self._newest.answers < self._sent:
            if self._socket is None:
                raise DriverError("udp: the driver is closed; call open() first")
            if time.monotonic() > end:
                raise DriverError(f"udp: no answer to a command within {self._timeout:g} s; is the robot in lockstep?")
            if not select.select([self._socket], [], [], _ASK_AGAIN_S)[0] and self._sent:
                self._send(self._last)  # either packet may have been lost
            self._take_all()

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            raise DriverError("udp: the driver is closed; call open() first")
        try:
            self._socket.send(data)
        except (BlockingIOError, ConnectionError):
            self.rejected["unsent"] += 1


driver = UdpDriver
