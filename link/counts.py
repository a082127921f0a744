"""What a jitter buffer counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """What a jitter buffer has seen and done.

    Every chunk is one of late, duplicate, played, skipped, or waits. Without a resync, played,
    lost, and skipped together are how far the stream has got.

    Attributes
    ----------
    received, reordered, foreign, strays : int
        Packets: all; those behind one with a higher sequence; those of other streams; those of
        the stream that are seconds away from its place. The last two are thrown away.
    chunks : int
        Chunks of packets of the stream, strays excepted.
    played, lost, skipped : int
        Chunks of the stream that were played; that were not there when their time came; that
        were there and thrown away, as too many waited or the sender started anew.
    starved : int
        Chunks concealed while nothing waited, beyond those that turned out lost. The delay grew
        by as much.
    late, duplicate : int
        Chunks that came after their time; that came again.
    resyncs : int
        Changes to another stream, or to another place in the stream.
    """

    received: int = 0
    reordered: int = 0
    foreign: int = 0
    strays: int = 0
    chunks: int = 0
    played: int = 0
    lost: int = 0
    skipped: int = 0
    starved: int = 0
    late: int = 0
    duplicate: int = 0
    resyncs: int = 0
