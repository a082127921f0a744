"""UDP sockets: one that sends packets, one that receives them."""

from __future__ import annotations

import re
import socket
from collections import Counter

from fcs_edge.errors import FcsError
from fcs_edge.link.packets import MAX_PACKET

LOOPBACK = "127.0.0.1"
_WAIT_SECONDS = 0.05
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")


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


def _resolved(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise LinkError(f"{host}: host not found ({error.strerror})") from None
    return int(addresses[0][0]), addresses[0][4]


class PacketSocket:
    """Sends packets to one address. A network failure is counted; it is no error.

    Parameters
    ----------
    host, port : str and int
        The destination.

    Raises
    ------
    LinkError
        The host is not found.
    """

    def __init__(self, host: str, port: int) -> None:
        family, address = _resolved(host, port)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._address = address
        self.n_packets = 0
        """Packets that the system accepted."""
        self.n_bytes = 0
        """Their bytes, without UDP and IP headers."""
        self.errors: Counter[str] = Counter()
        """Packets that were not sent, or that the other end refused, by reason."""
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
            self._socket.send(packet)
        except OSError as error:
            self._failed(error)
            return
        self.n_packets += 1
        self.n_bytes += len(packet)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _failed(self, error: OSError) -> None:
        if isinstance(error, ConnectionRefusedError):
            self.errors["nobody listens there"] += 1
            return
        self._connected = False
        self.errors[error.strerror or "unknown error"] += 1


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
        family, address = _resolved(host, port)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.settimeout(_WAIT_SECONDS)
        try:
            self._socket.bind(address)
        except OSError as error:
            self._socket.close()
            raise LinkError(f"cannot listen at {host}:{port}: {error.strerror}") from None

    @property
    def port(self) -> int:
        """The port it listens at."""
        return int(self._socket.getsockname()[1])

    def receive(self) -> bytes | None:
        """Wait at most 50 ms for a packet; one that is too long is cut, and later rejected."""
        try:
            return self._socket.recv(MAX_PACKET + 1)
        except OSError:
            return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
