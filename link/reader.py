"""What a receiver accepts: packets of its key and model, no replays, nothing too old."""

from __future__ import annotations

import math
import time

from fcs_edge.link.packets import (
    NO_CODERS,
    STREAM_OFFSET,
    Coders,
    Packet,
    PacketFormat,
    Silence,
    read_packet,
)
from fcs_edge.link.payload import CodedTokens
from fcs_edge.link.reasons import PacketError
from fcs_edge.link.records import ReplayGuard, stream_time
from fcs_edge.link.seal import STREAM_BYTES, LinkKey

_STREAMS = 1024
_LOOKS, _LOOKS_PER_SECOND = 64.0, 20.0
"""How often a packet that is not authentic is tried as one of this end: at once, a second."""


class PacketReader:
    """Reads the packets of a link.

    Parameters
    ----------
    form : PacketFormat
        The format.
    chunk_seconds : float
        Duration of a chunk.
    key : LinkKey, optional
        This end's half of the key; None for an open link.
    guard : ReplayGuard, optional
        The record of what was received before; on a sealed link.
    max_age : float, optional
        Seconds that a packet's time may differ from this machine's clock.
    coders : mapping of int to TokenCoder, optional
        What decodes coded packets, by the check of its prior.
    """

    def __init__(
        self,
        form: PacketFormat,
        chunk_seconds: float,
        key: LinkKey | None = None,
        guard: ReplayGuard | None = None,
        max_age: float = math.inf,
        coders: Coders = NO_CODERS,
    ) -> None:
        self._form, self._chunk_seconds, self._max_age = form, chunk_seconds, max_age
        self._incoming = key.incoming if key is not None else None
        self._guard, self._coders = guard, coders
        self._identified: list[int | None] = [None] * _STREAMS
        self._coded: list[tuple[int, int] | None] = [None] * _STREAMS
        self._current: tuple[int, int] | None = None
        self._looks, self._looked_at = _LOOKS, 0.0

    def read(self, data: bytes, now: float, current: int | None = None) -> Packet | Silence:
        """Return the packet in a datagram.

        Parameters
        ----------
        data : bytes
            The datagram.
        now : float
            Seconds of a monotonic clock.
        current : int, optional
            Number of the stream that is being played: its model is known.

        Raises
        ------
        PacketError
            The packet must be discarded; ``reason`` says why.
        """
        try:
            check = self._check(int.from_bytes(data[STREAM_OFFSET:][:STREAM_BYTES], "big"))
            packet = read_packet(self._form, data, self._incoming, self._coders, check)
        except PacketError as error:
            if error.reason == "authentication" and self._is_own(data, now):
                raise PacketError("direction") from error
            raise
        self._remember(packet, current)
        if self._incoming is None and not self._is_identified(packet, current):
            raise PacketError("unidentified")
        # In this order, so that a limit that is no number refuses all.
        if not self._age(packet) <= self._max_age:
            raise PacketError("age")
        if self._guard is not None and not self._guard.admit(packet.stream, packet.sequence):
            raise PacketError("replay")
        return packet

    def _check(self, stream: int) -> int | None:
        """Return the check of a stream's prior, where an earlier packet told it."""
        for known in (self._current, self._coded[stream % _STREAMS]):
            if known is not None and known[0] == stream:
                return known[1]
        return None

    def _remember(self, packet: Packet | Silence, current: int | None) -> None:
        """Remember the check of a coded packet: that of the stream that is played apart."""
        if isinstance(packet, Packet) and isinstance(packet.tokens, CodedTokens):
            known = packet.stream, packet.tokens.coder.check
            self._coded[packet.stream % _STREAMS] = known
            if packet.stream == current:
                self._current = known

    def _is_identified(self, packet: Packet | Silence, current: int | None) -> bool:
        """Return whether this or an earlier packet of the stream named the model."""
        slot = packet.stream % _STREAMS
        if packet.identified:
            self._identified[slot] = packet.stream
        return packet.stream in (current, self._identified[slot])

    def _age(self, packet: Packet | Silence) -> float:
        """Return by how many seconds a packet's time differs from the clock, either way."""
        sent = stream_time(packet.stream) + packet.sequence * self._chunk_seconds
        return abs(time.time() - sent)

    def _is_own(self, data: bytes, now: float) -> bool:
        """Return whether a packet is of this end's direction, unless that was tried too often."""
        if self._incoming is None:
            return False
        elapsed, self._looked_at = now - self._looked_at, now
        self._looks = min(_LOOKS, self._looks + _LOOKS_PER_SECOND * elapsed)
        if self._looks < 1:
            return False
        self._looks -= 1
        try:
            read_packet(self._form, data, self._incoming.reverse, self._coders)
        except PacketError as error:
            return error.reason != "authentication"
        return True
