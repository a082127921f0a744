"""The jitter buffer: packets in as they arrive, chunks out when the speaker requests them."""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fcs_edge.link.counts import Counts
from fcs_edge.link.packets import MAX_CHUNKS, MAX_SEQUENCES, Packet, Silence
from fcs_edge.live.latency import (
    BUFFER_CHUNKS,
    BUFFER_PATIENCE_SECONDS,
    buffer_goal,
    buffer_limit,
)
from fcs_edge.live.ring import slot as ring_slot

ALIVE_SECONDS = 2.0
"""Time after its last packet for which a stream counts as alive."""

QUIET_SECONDS = 32.0
"""Time after the last packet of a pause for which it lasts: two that are sent again may be lost."""

_FOLLOWERS = 1024
"""Entries of the table of expected packets: each of 1000 random strays hits one by 1/1024."""


class Missing(Enum):
    """What replaces a chunk that is not available."""

    LOST = "lost"
    WAIT = "wait"


LOST: Final = Missing.LOST
"""Conceal a chunk."""
WAIT: Final = Missing.WAIT
"""Play silence: too few chunks wait to start playback."""


class JitterBuffer:
    """Puts the chunks of one stream in order, with a bounded delay.

    Memory is allocated once. The caller passes the time, in seconds of a monotonic clock. The
    buffer is not thread-safe.

    Parameters
    ----------
    chunk_tokens : int
        Tokens a chunk.
    chunk_seconds : float
        Duration of a chunk.
    target : int, optional
        Chunks that wait when playback starts, 1 or more. Playback starts with fewer once the
        others are overdue. With n chunks a packet, n - 1 are added to this and to ``most``. Where
        a packet carries the one before as well, 2 n - 1 are.
    most : int, optional
        Chunks that may wait, more than ``target``; ``target + 4`` where it is None. With more,
        the oldest are skipped until ``target`` remain.
    patience : float, optional
        Seconds that an empty buffer is concealed before playback stops.
    authenticated : bool, optional
        Whether packets are authentic and no replays. Then a greater stream number is accepted at
        once and a smaller one never, and a stream never goes back. Otherwise another stream or
        position is accepted only after 2 s without a packet in place. Then two consecutive
        packets are necessary (as in RFC 3550, appendix A.1).

    Raises
    ------
    ValueError
        ``target`` or ``most`` is out of range.
    """

    _position: int
    _after_tokens: int
    _pause: tuple[int, int]
    _waiting: bool
    _waiting_since: float
    _overdue: int
    _starving: int
    _transit: float | None

    def __init__(
        self,
        chunk_tokens: int,
        chunk_seconds: float,
        *,
        target: int = BUFFER_CHUNKS,
        most: int | None = None,
        patience: float = BUFFER_PATIENCE_SECONDS,
        authenticated: bool = False,
    ) -> None:
        most = buffer_limit(target) if most is None else most
        if not 1 <= target < most <= 1000:
            raise ValueError(f"target and most must be 1 <= target < most, not {target}, {most}")
        self.counts = Counts()
        self._chunk_tokens = chunk_tokens
        self._chunk_seconds = chunk_seconds
        self._target = target
        self._most = most
        self._patience = max(1, round(patience / chunk_seconds))
        self._authenticated = authenticated
        # A sender is not further away than this, unless it was silent for as long.
        self._max_jump = most + math.ceil(ALIVE_SECONDS / chunk_seconds)
        self._capacity = most + 4 * MAX_CHUNKS
        self._tokens = np.zeros((self._capacity, chunk_tokens), np.uint16)
        self._sequences = np.full(self._capacity, -1, np.int64)
        self._followers = np.zeros((_FOLLOWERS, 3), np.uint64)
        self._stream: int | None = None
        self._received_at = -math.inf
        self._batch = 1
        self._pause_tokens = np.zeros(chunk_tokens, np.uint16)
        self._start_at(0, 0)

    @property
    def stream(self) -> int | None:
        """Number of the stream that `take` returns; None before the first packet."""
        return self._stream

    @property
    def level(self) -> int:
        """Chunks that wait, up to the highest received, gaps included; 0 or more."""
        return self._highest + 1 - self._position

    @property
    def goal(self) -> int:
        """Chunks that wait just after a packet, as a target; see `fcs_edge.live.latency`."""
        return buffer_goal(self._target, self._batch)

    @property
    def jitter(self) -> float:
        """Interarrival jitter in ms, as in RFC 3550, section 6.4.1."""
        return self._jitter * 1000

    def alive(self, now: float) -> bool:
        """Return whether a packet of the stream arrived within the last 2 s."""
        return now - self._received_at <= ALIVE_SECONDS

    def lacks(self, sequences: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which chunks of the stream are near, not received and not too late, (n,).

        Unlike the other methods, it may run beside `take`: the answer may then be a chunk old.
        """
        near = (sequences >= self._lowest()) & (sequences <= self._highest + 1 + self._reach())
        lacking: NDArray[np.bool_] = self._sequences[sequences % self._capacity] != sequences
        return near & lacking

    def put(self, packet: Packet | Silence, now: float) -> None:
        """Insert a packet that arrived at ``now``."""
        if isinstance(packet, Silence):
            self._put_silence(packet, now)
            return
        self.counts.received += 1
        before = packet.before or 0
        chunks = packet.tokens.size // self._chunk_tokens - before
        if not self._in_place(packet):
            if not self._moves(packet, chunks, now):
                return
            same = self._authenticated and packet.stream == self._stream
            self._resync(packet, self._position if same else 0, now)
        self._received_at = now
        self.counts.chunks += chunks
        highest, end, resumes = self._highest, packet.sequence + chunks, False
        if end > self._lowest():
            # The first packet of a stream carries no other one, but the next will.
            batch = chunks + (0 if packet.before is None else before or chunks)
            resumes = self._end_pause(packet.sequence - before, end)
            self._open(packet.sequence - before, end, batch, now)
        duplicates = self.counts.duplicate
        self._store(packet, before, chunks)
        if self.counts.duplicate - duplicates < chunks:
            self.counts.reordered += packet.sequence < highest
            if resumes:
                # The chunk before the first word is sent late.
                self._transit = None
            else:
                self._estimate(now - packet.sequence * self._chunk_seconds)

    def _put_silence(self, packet: Silence, now: float) -> None:
        """Insert a packet of a pause: its chunk, and what the chunks around it are."""
        tokens = np.full(self._chunk_tokens, packet.token, np.uint16)
        chunk = Packet(packet.stream, packet.sequence, tokens, packet.identified)
        self.counts.received += 1
        if not self._in_place(chunk):
            if not self._moves(chunk, 1, now):
                return
            same = self._authenticated and packet.stream == self._stream
            self._resync(chunk, self._position if same else 0, now)
        self._received_at = now
        self.counts.chunks += 1
        if packet.sequence >= self._lowest():
            self._open(packet.sequence, packet.sequence + 1, self._batch, now)
            self._store(chunk, 0, 1)
        if packet.sequence < self._after_tokens:
            return
        first = max(packet.sequence - packet.before, self._after_tokens)
        if packet.before > 1 and self._position >= first and not self._waiting:
            # A sender knows that a chunk is of the pause, and no word's start, a chunk later.
            self._follow_clock(max(first, packet.sequence + 2 - self.goal))
        self._pause = first, MAX_SEQUENCES
        self._pause_tokens[:] = packet.token
        self._paused_at = now

    def _follow_clock(self, position: int) -> None:
        """Move within a pause, where nothing else waits, by what the clocks differ."""
        difference = position - self._position
        # A chunk more than the goal does no harm; a chunk less delays the next words.
        if difference < 0 or difference > 1:
            self.counts.paused += difference
            self._position = self._floor = position

    def _end_pause(self, first: int, end: int) -> bool:
        """Let a pause end with tokens of the chunks from ``first`` to ``end``, if they follow.

        Return whether it ended now.
        """
        self._after_tokens = max(self._after_tokens, end)
        if not self._pause[0] < first < self._pause[1]:
            return False
        self._pause = self._pause[0], first
        return True

    def _pauses(self, now: float) -> bool:
        """Return whether the stream is in a pause, whose packets still come."""
        start, end = self._pause
        within = start <= self._position < end and end == MAX_SEQUENCES
        return within and now - self._paused_at <= QUIET_SECONDS

    def take(self, now: float) -> NDArray[np.uint16] | Missing:
        """Return what to play next; call it once for each chunk of the speaker's time.

        Returns
        -------
        (chunk_tokens,) ndarray of uint16, or LOST, or WAIT
            Tokens of the next chunk; LOST where a chunk must be concealed; WAIT for a chunk of
            silence.
        """
        if self._waiting:
            wait = self._overdue * self._chunk_seconds
            if not self.level or (self.level < self.goal and now - self._waiting_since < wait):
                return WAIT
            self._settle()
            self._waiting = False
        if not self.level and self._pauses(now):
            self._highest = self._position
            return self._paused()
        if not self.level:
            self._starving += 1
            if self._starving > self._patience:
                self._waiting = True
                self._starving = self._patience
                return WAIT
            self.counts.starved += 1
            return LOST
        slot = ring_slot(self._position, self._capacity)
        present = self._sequences[slot] == self._position
        if not present and self._pause[0] <= self._position < self._pause[1]:
            return self._paused()
        self._position += 1
        self._floor = self._position
        if not present:
            self.counts.lost += 1
            return LOST
        self.counts.played += 1
        tokens: NDArray[np.uint16] = self._tokens[slot].copy()
        return tokens

    def _paused(self) -> NDArray[np.uint16]:
        """Return a chunk of the pause."""
        self._position += 1
        self._floor = self._position
        self._starving = 0
        self.counts.paused += 1
        tokens: NDArray[np.uint16] = self._pause_tokens.copy()
        return tokens

    def _in_place(self, packet: Packet) -> bool:
        forward = packet.sequence - (self._highest + 1)
        backward = self._position - packet.sequence
        close = forward <= self._reach() and backward <= self._max_jump
        return packet.stream == self._stream and close

    def _reach(self) -> int:
        """Return how many chunks ahead of the highest received a packet may be: 3 lost, or 2 s."""
        return self._max_jump + 3 * (self._batch - 1)

    def _moves(self, packet: Packet, chunks: int, now: float) -> bool:
        """Return whether to resync to a packet out of place; count the packet where not."""
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
        """Return whether a packet directly follows an earlier one that was out of place."""
        before = self._followers[(packet.stream ^ packet.sequence) % _FOLLOWERS]
        halves = packet.stream >> 40, packet.stream & ((1 << 40) - 1)
        follows = bool(before.tolist() == [*halves, packet.sequence])
        following = packet.sequence + chunks
        self._followers[(packet.stream ^ following) % _FOLLOWERS] = *halves, following
        return follows

    def _resync(self, packet: Packet, floor: int, now: float) -> None:
        if self._stream is not None:
            self.counts.resyncs += 1
            self.counts.skipped += self._count(self._position, self._highest + 1)
            # The chunks that the sender can have sent since; it may also have jumped.
            since = math.ceil((now - self._received_at) / self._chunk_seconds) - 1
            missing = min(packet.sequence - (packet.before or 0) - (self._highest + 1), since)
            if packet.stream == self._stream and missing > 0:
                # The chunks that were concealed meanwhile stand for some of them.
                self.counts.starved -= min(self._starving, missing)
                self.counts.lost += missing
        self._stream = packet.stream
        self._start_at(packet.sequence, floor)

    def _start_at(self, position: int, floor: int) -> None:
        """Wait for chunks from ``position``; earlier ones count too, down to ``floor``."""
        self._sequences.fill(-1)
        self._followers.fill(0)
        self._position = position
        self._highest = position - 1
        self._floor = floor
        self._fresh = True
        self._waiting = True
        self._waiting_since = -math.inf
        self._overdue = self._target - 1
        self._newest_batch = 1
        self._starving = 0
        self._transit = None
        self._jitter = 0.0
        self._pause, self._paused_at = (0, 0), -math.inf
        self._after_tokens = 0

    def _lowest(self) -> int:
        """Return the lowest sequence that is not too late."""
        if not self._waiting:
            return self._position
        return max(self._floor, self._highest + 1 - self._most) if self.level else self._floor

    def _open(self, first: int, end: int, batch: int, now: float) -> None:
        """Extend the buffer to the chunks from ``first`` to ``end``; some may be late.

        ``batch`` is the number of chunks that each packet carries.
        """
        if not self.level:
            # The chunks that were concealed while nothing waited stand for the lost ones.
            gap = 0 if self._fresh else max(0, min(self._starving, first - self._position))
            self.counts.starved -= gap
            self.counts.lost += gap
            self._position += gap
            self._floor += gap
            self._starving = 0
            self._highest = self._position - 1
        if self._waiting and not self.level:
            self._waiting_since = now
            self._overdue = self._target - 1 + batch - (end - first)
            self._position = max(first, self._floor)
            self._highest = self._position - 1
        elif self._waiting:
            self._position = min(self._position, max(first, self._lowest()))
        highest = max(self._highest, end - 1)
        if highest > self._highest:
            # One short packet, as at a stream's end, is no reason to skip what waits.
            self._batch, self._newest_batch = max(batch, self._newest_batch), batch
        if highest + 1 - self._position > self._most + self._batch - 1:
            self._settle()
            position = highest + 1 - self.goal
            self.counts.skipped += self._count(self._position, position)
            self._count_absent(self._position, position)
            self._position = self._floor = position
        self._highest = highest

    def _settle(self) -> None:
        """Count the chunks missing before the first one that is played after a wait."""
        if not self._fresh:
            self._count_absent(self._floor, self._position)
        self._floor = self._position
        self._fresh = False

    def _count_absent(self, first: int, end: int) -> None:
        """Count the chunks from ``first`` to ``end`` that do not wait, as lost or of a pause."""
        low, high = max(first, self._pause[0]), min(end, self._pause[1])
        paused = high - low - self._count(low, high) if low < high else 0
        self.counts.paused += paused
        self.counts.lost += end - first - self._count(first, end) - paused

    def _store(self, packet: Packet, before: int, chunks: int) -> None:
        """Store a packet's chunks, and what is absent of the packet before."""
        first = packet.sequence - before
        rows: NDArray[np.uint16] | None = None
        for number in range(first, packet.sequence + chunks):
            slot, own = ring_slot(number, self._capacity), number >= packet.sequence
            if self._sequences[slot] == number:
                self.counts.duplicate += own
            elif number < self._position:
                self.counts.late += own
            else:
                # Decoding takes its time: only what is played is worth it.
                rows = packet.decoded().reshape(-1, self._chunk_tokens) if rows is None else rows
                self._sequences[slot] = number
                self._tokens[slot] = rows[number - first]
                self.counts.repaired += not own

    def _count(self, first: int, end: int) -> int:
        """Return how many of the chunks from ``first`` to ``end`` wait."""
        return int(np.count_nonzero((self._sequences >= first) & (self._sequences < end)))

    def _estimate(self, transit: float) -> None:
        if self._transit is not None:
            difference = abs(transit - self._transit)
            # A longer difference is a pause of the sender.
            if difference <= ALIVE_SECONDS:
                self._jitter += (difference - self._jitter) / 16
        self._transit = transit
