"""The sending end: chunks of tokens to packets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fcs_edge.codec import Codec
from fcs_edge.entropy import TokenCoder
from fcs_edge.link.keys import read_key
from fcs_edge.link.packets import (
    MAX_PAUSE,
    MAX_SEQUENCES,
    Packet,
    PacketFormat,
    Silence,
    write_packet,
)
from fcs_edge.link.payload import CodedTokens, coded_if_shorter
from fcs_edge.link.rates import identify_every
from fcs_edge.link.records import new_stream, stream_time
from fcs_edge.link.sockets import PacketSocket
from fcs_edge.model.layers import U16

BEHIND_SECONDS = 5.0
"""How far a stream's sound may be behind the clock before a new stream begins."""

PAUSE_SECONDS = 15.0
"""Time between two packets of a pause."""


class Sender:
    """Sends one stream after another.

    A stream's number and a packet's sequence say when its sound was recorded. Where that is no
    longer so, as a device was lost for a while or the clock was set, a new stream begins. So does
    one after a fork: both processes may go on.

    Parameters
    ----------
    socket : PacketSocket
        The destination.
    codec : Codec
        The model.
    chunks : int
        Chunks a packet.
    key : Path or None
        The key file that seals the packets; None for open packets.
    warn : callable
        Takes one line, if the streams' numbers cannot be recorded.
    coder : TokenCoder, optional
        What codes each packet that it makes shorter; None for tokens as they are.
    redundant : bool, optional
        Whether each packet carries the one before as well, so that a single loss costs nothing.

    Raises
    ------
    FcsError
        The key is not readable, or no stream number remains.
    """

    def __init__(
        self,
        socket: PacketSocket,
        codec: Codec,
        chunks: int,
        key: Path | None,
        warn: Callable[[str], None] = lambda text: None,
        *,
        coder: TokenCoder | None = None,
        redundant: bool = False,
    ) -> None:
        self.socket = socket
        self._form, self._chunks = PacketFormat.of(codec), chunks
        self._chunk_seconds = codec.latency
        self._identify_every = identify_every(codec.latency)
        self._key_path, self._warn, self._warned = key, warn, set[str]()
        self._key = read_key(key).outgoing if key is not None else None
        self._waiting = np.zeros((chunks, self._form.chunk_tokens), np.uint16)
        self._n_waiting = 0
        self._coder, self._redundant = coder, redundant
        self._before = self._waiting[:0].reshape(-1)
        self._last = b""
        self._pause_every = max(2, round(PAUSE_SECONDS / codec.latency))
        self._n_paused, self._comfort = 0, -1
        self.n_chunks = 0
        """Chunks sent, of all streams."""
        self._begin()

    def send(self, tokens: U16) -> None:
        """Add a chunk, (chunk_tokens,) uint16; send the packet once it is full."""
        self._n_paused = 0
        self._waiting[self._n_waiting] = tokens
        self._n_waiting += 1
        if self._n_waiting == self._chunks:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if not self._n_waiting:
            return
        if self._is_over(self._sequence + self._n_waiting):
            self._begin()
        own = self._waiting[: self._n_waiting].reshape(-1).copy()
        tokens = np.concatenate([self._before, own]) if self._redundant else own
        body = coded_if_shorter(tokens, self._form.bits, self._coder)
        before = self._before.size // self._form.chunk_tokens if self._redundant else None
        identified = self._identifies(isinstance(body, CodedTokens))
        packet = Packet(self._stream, self._sequence, body, identified, before)
        self._before = own
        self._sequence += self._n_waiting
        self.n_chunks += self._n_waiting
        self._n_waiting = 0
        self._last = write_packet(self._form, packet, self._key)
        self.socket.send(self._last)

    def pause(self, token: int) -> None:
        """Add a chunk of a pause, whose comfort token this is; few of them make a packet."""
        self.finish()
        if self._is_over(self._sequence + 1):
            self._begin()
        if token != self._comfort:
            self._n_paused, self._comfort = 0, token
        # The second packet says what the first one said, which may be lost.
        if self._n_paused == 1 or self._n_paused % self._pause_every == 0:
            before = min(self._n_paused, MAX_PAUSE)
            packet = Silence(self._stream, self._sequence, token, before, self._key is None)
            self.socket.send(write_packet(self._form, packet, self._key))
        self._before, self._last = self._before[:0], b""
        self._n_paused += 1
        self._sequence += 1
        self.n_chunks += 1

    def finish(self) -> None:
        """Send what waits; with redundancy, send the last packet twice, as no other carries it."""
        self.flush()
        if self._redundant and self._last:
            self.socket.send(self._last)

    def _begin(self) -> None:
        """Begin a stream."""
        self._stream, warning = new_stream(self._key_path)
        self._sequence, self._process = 0, os.getpid()
        self._named = [-1, -1]
        self._before, self._last = self._before[:0], b""
        self._n_paused = 0
        if warning and warning not in self._warned:
            self._warned.add(warning)
            self._warn(warning)

    def _is_over(self, end: int) -> bool:
        """Return whether a packet that ends at a sequence must not be of this stream."""
        # A copy of this process, by fork, would send other packets under the same nonces.
        forked = os.getpid() != self._process
        behind = time.time() - self._time(end) > BEHIND_SECONDS
        return forked or behind or end > MAX_SEQUENCES

    def _time(self, sequence: int) -> float:
        """Return when a chunk's sound was recorded, in seconds since 1970."""
        return stream_time(self._stream) + sequence * self._chunk_seconds

    def _identifies(self, coded: bool) -> bool:
        """Return whether the packet that waits must name the model, or the prior that coded it.

        Each is due with the chunks whose sequence is a multiple of what a second holds.
        """
        every = self._identify_every
        turn = (self._sequence + self._n_waiting - 1) // every
        due = self._key is None and turn > self._named[coded]
        if due:
            # A coded packet names both.
            self._named = [turn, turn if coded else self._named[True]]
        return due
