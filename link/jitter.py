"""The jitter buffer: packets in as they come, chunks out when the speaker wants them."""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fcs_edge.link.counts import Counts
from fcs_edge.link.packets import MAX_CHUNKS, Packet

ALIVE_SECONDS = 2.0
"""How long a stream counts as alive after its last packet."""

# What packets out of place were followed by: of 1000 strays between two packets of a sender, all
# different, each hits its slot with a chance of 1/1024.
_SLOTS = 1024


class Missing(Enum):
    """What a chunk that cannot be played is to be replaced with."""

    LOST = "lost"
    WAIT = "wait"


LOST: Final = Missing.LOST
"""Conceal a chunk."""
WAIT: Final = Missing.WAIT
"""Play silence: nothing is there, or not enough to begin."""


class JitterBuffer:
    """Puts the chunks of one stream in order, at a delay that stays within bounds.

    Memory is taken once. Time is what the caller says it is, in seconds of any clock that never
    goes back. Not safe to use from two threads at once.

    Parameters
    ----------
    chunk_tokens : int
        Tokens a chunk.
    chunk_seconds : float
        Duration of a chunk.
    target : int, optional
        Chunks that wait when playing begins, 1 or more; it begins without them once the others
        should have followed the first. Where packets hold n chunks, n - 1 are added to this and
        to ``most``.
    most : int, optional
        Chunks that may wait, more than ``target``; ``target + 4`` where it is absent. With more,
        the oldest are skipped, until ``target`` are left.
    patience : float, optional
        Seconds to conceal, with nothing to play, before playing stops.
    authenticated : bool, optional
        Packets are the sender's and no replays. Then a greater stream number is taken at once
        and a smaller one never, and a stream never goes back. Otherwise another stream, or
        another place in the stream, is taken only after 2 s without a packet in place, and only
        where one packet follows right on another (as in RFC 3550, appendix A.1).

    Raises
    ------
    ValueError
        If ``target`` or ``most`` is out of range.
    """

    _waiting: bool
    _waiting_since: float
    _starving: int
    _transit: float | None

    def __init__(
        self,
        chunk_tokens: int,
        chunk_seconds: float,
        *,
        target: int = 2,
        most: int | None = None,
        patience: float = 0.4,
        authenticated: bool = False,
    ) -> None:
        most = target + 4 if most is None else most
        if not 1 <= target < most <= 1000:
            raise ValueError(f"target and most must be 1 <= target < most, not {target}, {most}")
        self.counts = Counts()
        self._chunk_tokens = chunk_tokens
        self._chunk_seconds = chunk_seconds
        self._target = target
        self._most = most
        self._patience = max(1, round(patience / chunk_seconds))
        self._authenticated = authenticated
        # A sender is not further ahead than this unless it was silent for as long.
        self._reach = most + math.ceil(ALIVE_SECONDS / chunk_seconds)
        self._capacity = most + 2 * MAX_CHUNKS
        self._tokens = np.zeros((self._capacity, chunk_tokens), np.uint16)
        self._held = np.full(self._capacity, -1, np.int64)
        self._followers = np.zeros((_SLOTS, 2), np.uint64)
        self._stream: int | None = None
        self._seen_at = -math.inf
        self._batch = 1
        self._begin(0, 0)

    @property
    def stream(self) -> int | None:
        """Number of the stream that `take` gives chunks of; None before the first packet."""
        return self._stream

    @property
    def level(self) -> int:
        """Chunks that wait, up to the highest received, gaps included; 0 or more."""
        return self._highest + 1 - self._position

    @property
    def goal(self) -> int:
        """Chunks that wait right after a packet, if all is well: the level to steer for."""
        return self._target + self._batch - 1

    @property
    def jitter(self) -> float:
        """Interarrival jitter in ms, as in RFC 3550, section 6.4.1."""
        return self._jitter * 1000

    def alive(self, now: float) -> bool:
        """Tell whether a packet of the stream came within the last 2 s."""
        return now - self._seen_at <= ALIVE_SECONDS

    def put(self, packet: Packet, now: float) -> None:
        """Take a packet; ``now`` is when it came."""
        self.counts.received += 1
        chunks = packet.tokens.size // self._chunk_tokens
        if not self._in_place(packet):
            if not self._moves(packet, chunks, now):
                return
            back = self._authenticated and packet.stream == self._stream
            self._resync(packet, self._position if back else 0, now)
        self._seen_at = now
        self.counts.chunks += chunks
        highest = self._highest
        if packet.sequence + chunks > self._lowest():
            self._open(packet.sequence, packet.sequence + chunks, now)
        known = self.counts.duplicate
        for i in range(chunks):
            tokens = packet.tokens[i * self._chunk_tokens : (i + 1) * self._chunk_tokens]
            self._store(packet.sequence + i, tokens)
        if self.counts.duplicate - known < chunks:
            self.counts.reordered += packet.sequence < highest
            self._estimate(now - packet.sequence * self._chunk_seconds)

    def take(self, now: float) -> NDArray[np.uint16] | Missing:
        """Give what to play next; to be called once for every chunk of the speaker's time.

        Returns
        -------
        (chunk_tokens,) ndarray of uint16, or LOST, or WAIT
            Tokens of the stream's next chunk; LOST for a chunk to be concealed; WAIT for one of
            silence.
        """
        if self._waiting:
            wait = (self._target - 1) * self._chunk_seconds
            if not self.level or (self.level < self.goal and now - self._waiting_since < wait):
                return WAIT
            self._settle()
            self._waiting = False
        if not self.level:
            self._starving += 1
            if self._starving > self._patience:
                self._waiting = True
                self._starving = self._patience
                return WAIT
            self.counts.starved += 1
            return LOST
        slot = self._position % self._capacity
        held = self._held[slot] == self._position
        self._position += 1
        self._floor = self._position
        if not held:
            self.counts.lost += 1
            return LOST
        self.counts.played += 1
        tokens: NDArray[np.uint16] = self._tokens[slot].copy()
        return tokens

    def _in_place(self, packet: Packet) -> bool:
        ahead = packet.sequence - (self._highest + 1)
        behind = self._position - packet.sequence
        near = ahead <= self._reach and behind <= self._reach
        return packet.stream == self._stream and near

    def _moves(self, packet: Packet, chunks: int, now: float) -> bool:
        """Tell whether to go where a packet out of place is; count it where not."""
        same = packet.stream == self._stream
        if self._stream is None:
            return True
        if self._authenticated:
            moves = packet.sequence > self._highest if same else packet.stream > self._stream
        else:
            moves = self._follows(packet, chunks) and not self.alive(now)
        if not moves and same:
            self.counts.strays += 1
        elif not moves:
            self.counts.foreign += 1
        return moves

    def _follows(self, packet: Packet, chunks: int) -> bool:
        """Tell whether a packet follows right on an earlier one that was out of place."""
        entry = self._followers[(packet.stream ^ packet.sequence) % _SLOTS]
        follows = int(entry[0]) == packet.stream and int(entry[1]) == packet.sequence
        following = packet.sequence + chunks
        self._followers[(packet.stream ^ following) % _SLOTS] = packet.stream, following
        return follows

    def _resync(self, packet: Packet, floor: int, now: float) -> None:
        if self._stream is not None:
            self.counts.resyncs += 1
            self.counts.skipped += self._count(self._position, self._highest + 1)
            # What the sender can have sent since; it may also have jumped.
            since = math.ceil((now - self._seen_at) / self._chunk_seconds) - 1
            missing = min(packet.sequence - (self._highest + 1), since)
            if packet.stream == self._stream and missing > 0:
                # What was concealed while nothing came stood for some of them.
                self.counts.starved -= min(self._starving, missing)
                self.counts.lost += missing
        self._stream = packet.stream
        self._begin(packet.sequence, floor)

    def _begin(self, position: int, floor: int) -> None:
        """Wait for chunks from ``position``, or before it, but not before ``floor``."""
        self._held.fill(-1)
        self._followers.fill(0)
        self._position = position
        self._highest = position - 1
        self._floor = floor
        self._fresh = True
        self._waiting = True
        self._waiting_since = -math.inf
        self._starving = 0
        self._transit = None
        self._jitter = 0.0

    def _lowest(self) -> int:
        """Return the lowest sequence that is not too late."""
        if not self._waiting:
            return self._position
        return max(self._floor, self._highest + 1 - self._most) if self.level else self._floor

    def _open(self, first: int, end: int, now: float) -> None:
        """Make place for the chunks from ``first`` to ``end``; some of them may be late."""
        if not self.level:
            # What was concealed while nothing waited stands for what is lost.
            gap = 0 if self._fresh else max(0, min(self._starving, first - self._position))
            self.counts.starved -= gap
            self.counts.lost += gap
            self._position += gap
            self._floor += gap
            self._starving = 0
            self._highest = self._position - 1
        if self._waiting and not self.level:
            self._waiting_since = now
            self._position = max(first, self._floor)
            self._highest = self._position - 1
        elif self._waiting:
            self._position = min(self._position, max(first, self._lowest()))
        highest = max(self._highest, end - 1)
        if highest > self._highest:
            self._batch = end - first
        if highest + 1 - self._position > self._most + self._batch - 1:
            self._settle()
            position = highest + 1 - self.goal
            skipped = self._count(self._position, position)
            self.counts.skipped += skipped
            self.counts.lost += position - self._position - skipped
            self._position = self._floor = position
        self._highest = highest

    def _settle(self) -> None:
        """Count what is missing before the first chunk that is played after a wait."""
        if not self._fresh:
            self.counts.lost += self._position - self._floor
        self._floor = self._position
        self._fresh = False

    def _store(self, sequence: int, tokens: NDArray[np.uint16]) -> None:
        slot = sequence % self._capacity
        if self._held[slot] == sequence:
            self.counts.duplicate += 1
        elif sequence < self._position:
            self.counts.late += 1
        else:
            self._held[slot] = sequence
            self._tokens[slot] = tokens

    def _count(self, first: int, end: int) -> int:
        """Return how many of the chunks from ``first`` to ``end`` wait."""
        return int(np.count_nonzero((self._held >= first) & (self._held < end)))

    def _estimate(self, transit: float) -> None:
        if self._transit is not None:
            difference = abs(transit - self._transit)
            # A longer one is a pause of the sender.
            if difference <= ALIVE_SECONDS:
                self._jitter += (difference - self._jitter) / 16
        self._transit = transit
