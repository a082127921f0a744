"""The sending end: chunks of tokens to packets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcs_edge.link import keys
from fcs_edge.link.packets import Packet, PacketFormat, write_packet
from fcs_edge.link.sockets import PacketSocket
from fcs_edge.model.layers import U16


class Sender:
    """Sends one stream.

    Parameters
    ----------
    socket : PacketSocket
        The destination.
    form : PacketFormat
        The packet format of the codec.
    chunks : int
        Chunks a packet.
    key : Path or None
        The key file that seals the packets; None for open packets.
    """

    def __init__(
        self, socket: PacketSocket, form: PacketFormat, chunks: int, key: Path | None
    ) -> None:
        self.socket = socket
        self._form, self._chunks = form, chunks
        self._key = keys.read_key(key) if key is not None else None
        self._stream, self.warning = keys.new_stream(key)
        self._waiting = np.zeros((chunks, form.chunk_tokens), np.uint16)
        self._n_waiting = 0
        self.n_chunks = 0
        """Chunks sent."""

    def send(self, tokens: U16) -> None:
        """Add a chunk, (chunk_tokens,) uint16; send the packet once it is full."""
        self._waiting[self._n_waiting] = tokens
        self._n_waiting += 1
        if self._n_waiting == self._chunks:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if not self._n_waiting:
            return
        tokens = self._waiting[: self._n_waiting].reshape(-1).copy()
        packet = Packet(self._stream, self.n_chunks, tokens)
        self.n_chunks += self._n_waiting
        self._n_waiting = 0
        self.socket.send(write_packet(self._form, packet, self._key))
