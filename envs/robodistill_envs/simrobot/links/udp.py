"""UDP, robot side: the protocol of docs/udp.md, for one client at a time.

The robot answers each HELLO, takes commands from the client that greeted it and sends states there. Another client
takes over once the present one has been silent for ``TAKEOVER_S``.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Mapping

from robodistill_deploy import udp_protocol as protocol
from robodistill_deploy.drivers.base import Command, Reading
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.simrobot.links import Face, Option

TAKEOVER_S = 0.5
"""[s] of silence after which another client may take over."""
Address = tuple[str, int]


def open_link(face: Face, *, host: str = "127.0.0.1", port: int = protocol.PORT) -> UdpLink:
    """Return the link, bound to ``host`` and ``port``; port 0 takes a free one."""
    return UdpLink(face, host, port)


class UdpLink:
    """The robot's socket; see ``Link``."""

    def __init__(self, face: Face, host: str, port: int) -> None:
        twist = tuple(n for part in face.robot.actions if part.kind == "base_twist" for n in part.names)
        self._layout = protocol.Layout(face.robot.name, face.joints, face.signals, twist)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind((host, port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise RobodistillError(f"link udp: cannot listen on {host}:{port}: {error}; choose link.port=0") from error
        self._rejected: Counter[str] = Counter()
        self._peer: Address | None = None
        self._heard = 0.0
        self._taken = 0  # sequence of the newest command that was taken
        self._sent = 0
        self._last: bytes | None = None

    @property
    def rejected(self) -> Mapping[str, int]:
        """Reason -> how many packets were ignored for it."""
        return self._rejected

    @property
    def client(self) -> Mapping[str, Option]:
        """Where a driver reaches this robot."""
        host, port = self._socket.getsockname()
        return {"host": host, "port": port}

    def poll(self) -> Command | None:
        """Return the newest command that has not been returned yet."""
        newest: Command | None = None
        while True:
            try:
                data, address = self._socket.recvfrom(protocol.MAX_BYTES)
            except BlockingIOError:
                return newest
            except ConnectionError:  # an earlier state found nobody: the client is gone, which is its watchdog's matter
                continue
            try:
                newest = self._take(data, address) or newest
            except protocol.MalformedPacketError as error:
                self._rejected[error.reason] += 1

    def publish(self, reading: Reading) -> None:
        """Send ``reading`` to the client, if there is one."""
        self._sent += 1
        packet = protocol.StatePacket(reading, self._sent, self._taken)
        self._last = protocol.pack_state(self._layout, packet)
        self._send(self._last)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _take(self, data: bytes, address: Address) -> Command | None:
        kind = protocol.kind_of(data)
        now = time.monotonic()
        if kind not in (protocol.HELLO, protocol.COMMAND):
            raise protocol.MalformedPacketError("kind")
        if address != self._peer and (kind == protocol.COMMAND or self._busy(now)):
            raise protocol.MalformedPacketError("stranger")
        if kind == protocol.HELLO:
            self._peer, self._taken, self._heard = address, 0, now
            self._send(protocol.pack_description(self._layout, protocol.sequence_of(data), now))
            return None
        packet = protocol.unpack_command(self._layout, data)
        self._heard = now
        if packet.sequence <= self._taken:
            if packet.sequence == self._taken and self._last is not None:
                self._send(self._last)  # asked again: in lockstep the answer may have been lost
            raise protocol.MalformedPacketError("old")
        self._taken = packet.sequence
        return packet.command

    def _busy(self, now: float) -> bool:
        return self._peer is not None and now - self._heard < TAKEOVER_S

    def _send(self, data: bytes) -> None:
        if self._peer is None:
            return
        try:
            self._socket.sendto(data, self._peer)
        except (BlockingIOError, ConnectionError):  # full, or nobody there: the next state is fresher anyway
            self._rejected["unsent"] += 1
