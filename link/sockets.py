"""UDP sockets: one that sends packets, one that receives them."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable

from fcs_edge.errors import FcsError
from fcs_edge.link.datagrams import ROOM, Datagrams
from fcs_edge.link.rates import IPV4_BYTES, IPV6_BYTES

LOOPBACK = "127.0.0.1"
BUFFER_BYTES = 1 << 22
"""Memory to ask of the system for packets that wait: 10,000 short packets on Linux."""
_WAIT_SECONDS = 0.05
_BUSY, _BUSY_SECONDS = 16, 0.001
"""Packets of one call that mean a flood, and how long the next ones then gather."""
# Numbers of Linux that the socket module does not name.
_SO_RCVBUFFORCE, _SO_MEMINFO = 33, 55
_MEMINFO = struct.Struct("9I")
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")

_Address = tuple[int, tuple[object, ...]]
"""A family of addresses, and an address of it."""


class LinkError(FcsError):
    """A link that cannot be opened."""


def parse(text: str, *, listening: bool = False) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``[IPv6]:PORT``; to listen, ``PORT`` is enough.

    Raises
    ------
    LinkError
        The text is neither.
    """
    if listening and text.isdigit():
        text = f"{LOOPBACK}:{text}"
    match = _ADDRESS.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        forms = "PORT, HOST:PORT or [IPv6]:PORT" if listening else "HOST:PORT or [IPv6]:PORT"
        raise LinkError(f"{text!r} is no address: give {forms}, with a port of 1 to 65535")
    return match["six"] or match["host"], int(match["port"])


def address_text(host: str, port: int) -> str:
    """Return an address as `parse` reads it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolved(host: str, port: int) -> list[_Address]:
    """Return a host's addresses, those of IPv4 first: a listener at 0.0.0.0 has no others."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise LinkError(f"{host}: host not found ({error.strerror})") from None
    except UnicodeError:
        raise LinkError(f"{host!r} is no host: a part of the name is empty or too long") from None
    found = [(int(address[0]), address[4]) for address in addresses]
    return sorted(found, key=lambda address: address[0] != socket.AF_INET)


def _reachable(addresses: list[_Address]) -> _Address:
    """Return the first address that has a route; the first one where none has."""
    for family, address in addresses:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return family, address
    return addresses[0]


class PacketSocket:
    """Sends packets to one address. A network failure is counted; it is no error.

    Parameters
    ----------
    host, port : str and int
        The destination.
    warn : callable
        Takes one line at the first failure of each kind.

    Raises
    ------
    LinkError
        The host is not found.
    """

    def __init__(
        self, host: str, port: int, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        family, address = _reachable(_resolved(host, port))
        self.ip_bytes = IPV4_BYTES if family == socket.AF_INET else IPV6_BYTES
        """Bytes of the IP and UDP headers of a packet."""
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._name, self._warn = address_text(host, port), warn
        self._address, self._connected = address, False
        self.n_packets = 0
        """Packets that the system accepted."""
        self.n_bytes = 0
        """Their bytes, without UDP and IP headers."""
        self.errors: Counter[str] = Counter()
        """Packets that were not sent, by reason."""
        self.n_refused = 0
        """Packets that the other machine refused, as nobody listens there."""
        try:
            # Only a connected socket reports that nobody listens.
            self._socket.connect(address)
            self._connected = True
        except OSError as error:
            self._failed(error)

    def send(self, packet: bytes) -> None:
        """Send a packet, or count the error."""
        try:
            if not self._connected:
                self._socket.connect(self._address)
                self._connected = True
            try:
                self._socket.send(packet)
            except ConnectionRefusedError:
                # The answer to an earlier packet, in place of sending this one.
                self._refused()
                self._socket.send(packet)
        except OSError as error:
            self._failed(error)
            return
        self.n_packets += 1
        self.n_bytes += len(packet)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _refused(self) -> None:
        self.n_refused += 1
        if self.n_refused == 1:
            self._warn(f"nobody listens at {self._name} yet; sending goes on")

    def _failed(self, error: OSError) -> None:
        self._connected = False
        reason = error.strerror or "unknown error"
        self.errors[reason] += 1
        if self.errors[reason] == 1:
            self._warn(f"a packet to {self._name} was not sent ({reason}); sending goes on")


class ListeningSocket:
    """Receives packets at one address.

    Parameters
    ----------
    host, port : str and int
        The address to listen at.

    Raises
    ------
    LinkError
        The address is not available.
    """

    def __init__(self, host: str, port: int) -> None:
        family, address = _resolved(host, port)[0]
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.buffer_bytes = _enlarged(self._socket)
        """Memory that the system grants for packets that wait."""
        self._ready = select.poll()
        self._ready.register(self._socket, select.POLLIN)
        self._batch = Datagrams()
        self._n_dropped = 0
        try:
            self._socket.bind(address)
        except OSError as error:
            self._socket.close()
            name = address_text(host, port)
            raise LinkError(f"cannot listen at {name}: {error.strerror}") from None

    @property
    def port(self) -> int:
        """The port it listens at."""
        return int(self._socket.getsockname()[1])

    @property
    def n_dropped(self) -> int:
        """Packets that the system dropped as its buffer was full; 0 where it does not say."""
        with contextlib.suppress(OSError):
            info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            if len(info) == _MEMINFO.size:
                self._n_dropped = int(_MEMINFO.unpack(info)[-1])
        return self._n_dropped

    def receive(self) -> Datagrams:
        """Wait at most 50 ms for packets, and return them; the next call overwrites them."""
        if self._batch.count < _BUSY:
            self._ready.poll(1e3 * _WAIT_SECONDS)
        elif self._batch.count < ROOM:
            # One call for many packets costs less than many calls.
            time.sleep(_BUSY_SECONDS)
        self._batch.receive(self._socket)
        return self._batch

    def close(self) -> None:
        """Close the socket; `n_dropped` keeps its count."""
        _ = self.n_dropped
        self._socket.close()


def _enlarged(sock: socket.socket) -> int:
    """Enlarge a socket's buffer as far as the system allows; return its size in bytes."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    with contextlib.suppress(OSError):
        # Only an administrator may exceed net.core.rmem_max.
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
