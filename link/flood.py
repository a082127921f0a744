"""A limit on the foreign datagrams that are read, so that a flood leaves time for sound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcs_edge.link.datagrams import Datagrams
from fcs_edge.link.jitter import JitterBuffer
from fcs_edge.link.packets import MARK, SEQUENCE_OFFSET, STREAM_OFFSET, stream_bytes
from fcs_edge.link.reasons import VERSION

FOREIGN_PER_SECOND = 5000
"""Datagrams of other streams, and of no stream, that are read in a second."""
AT_ONCE = 1000
"""Datagrams that are read before the limit holds: what 80 s without a processor leave waiting."""

_PLACES = 256 ** np.arange(3, -1, -1)
"""Factors of the bytes of a sequence."""


class FloodGate:
    """Selects which datagrams are read: all that the stream lacks, and some of the others.

    A new stream of the sender is among the others. With 100,000 foreign ones a second, one in 20
    is read, so a sender that starts again is back within seconds.
    """

    def __init__(self) -> None:
        self._allowed = float(AT_ONCE)
        self._at = 0.0

    def select(self, batch: Datagrams, buffer: JitterBuffer, now: float) -> list[int]:
        """Return the indices of the datagrams to read, in order.

        Parameters
        ----------
        batch : Datagrams
            What was received.
        buffer : JitterBuffer
            Where the packets go.
        now : float
            Seconds of a monotonic clock.
        """
        elapsed, self._at = now - self._at, now
        self._allowed = min(AT_ONCE, self._allowed + FOREIGN_PER_SECOND * elapsed)
        if batch.count <= self._allowed:
            self._allowed -= batch.count
            return list(range(batch.count))
        selected = _expected(batch.headers, buffer)
        foreign = np.flatnonzero(~selected)[: int(self._allowed)]
        self._allowed -= foreign.size
        selected[foreign] = True
        return [int(index) for index in np.flatnonzero(selected)]


def _expected(headers: NDArray[np.uint8], buffer: JitterBuffer) -> NDArray[np.bool_]:
    """Return which headers, (n, 16), name the stream that is played and a chunk that it lacks."""
    if buffer.stream is None:
        return np.zeros(len(headers), np.bool_)
    stream = np.frombuffer(stream_bytes(buffer.stream), np.uint8)
    of_stream: NDArray[np.bool_] = (headers[:, STREAM_OFFSET:] == stream).all(axis=1)
    of_stream &= headers[:, 0] == MARK | VERSION
    sequences = headers[:, SEQUENCE_OFFSET:STREAM_OFFSET].astype(np.int64) @ _PLACES
    return of_stream & buffer.lacks(sequences)
