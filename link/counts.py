"""The counters of a jitter buffer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """The counters of a jitter buffer.

    Each chunk that came, in its own packet or repaired, is late, duplicate, played or skipped, or
    it waits. Without a resync, the sum of
    played, lost, skipped and paused is the position in the stream.

    Attributes
    ----------
    received, reordered, foreign, strays : int
        Packets: all; those that arrived after a higher sequence; those of other streams; those
        of the stream that are seconds away from its position. The last two are discarded.
    chunks : int
        Chunks in packets of the stream, without strays and without those of the packet before.
    repaired : int
        Chunks that were absent, and stored from the packet behind their own.
    played, lost, skipped : int
        Chunks of the stream: played; absent when they were due; discarded, because too many
        waited or the sender restarted.
    paused : int
        Chunks of pauses, which the sender did not send: the comfort token was played.
    starved : int
        Chunks concealed while nothing waited, without those that were lost. The delay grew by
        their duration.
    late, duplicate : int
        Chunks that arrived after they were due; that arrived again.
    resyncs : int
        Changes to another stream, or to another place in the stream.
    """

    received: int = 0
    reordered: int = 0
    foreign: int = 0
    strays: int = 0
    chunks: int = 0
    repaired: int = 0
    played: int = 0
    lost: int = 0
    skipped: int = 0
    paused: int = 0
    starved: int = 0
    late: int = 0
    duplicate: int = 0
    resyncs: int = 0
