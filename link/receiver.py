"""The receiving end: packets to audio, as a speaker requests it."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fcs_edge.codec import Codec
from fcs_edge.link.coding import packet_coders
from fcs_edge.link.conceal import Concealer
from fcs_edge.link.flood import FloodGate
from fcs_edge.link.jitter import LOST, WAIT, JitterBuffer
from fcs_edge.link.keys import read_key
from fcs_edge.link.packets import PacketFormat, Silence
from fcs_edge.link.reader import PacketReader
from fcs_edge.link.reasons import STRANGE, TEXTS, PacketError, Reason
from fcs_edge.link.records import SAVE_SECONDS, ReplayGuard
from fcs_edge.link.sockets import ListeningSocket
from fcs_edge.live.clock import ClockHold
from fcs_edge.live.latency import TIMER_MARGIN_SECONDS
from fcs_edge.live.session import Worker
from fcs_edge.live.statistics import Statistics
from fcs_edge.live.stop_flag import StopFlag
from fcs_edge.model.layers import F32, new

_POLL_SECONDS = 0.004
_LONGEST_GAP = 5.0
"""Seconds between two packets beyond which the level of the earlier one means nothing."""


class Output(Protocol):
    """A queue of audio before a speaker."""

    @property
    def waiting(self) -> float:
        """Seconds of audio that wait."""

    @property
    def target(self) -> float:
        """Seconds that should wait just after a chunk."""

    def write(self, samples: F32, speed: float | None = None) -> None:
        """Append a chunk, to be played at `speed`, 1 for nominal."""


class Timer:
    """An output without a speaker: it consumes audio at the pace of the clock."""

    def __init__(self, rate: int, chunk: float) -> None:
        self.target = chunk + TIMER_MARGIN_SECONDS
        self._rate = rate
        self._end = 0.0

    @property
    def waiting(self) -> float:
        """Seconds of audio that wait."""
        return max(0.0, self._end - time.monotonic())

    def write(self, samples: F32, speed: float | None = None) -> None:
        """Add the duration of (n,) float32."""
        seconds = samples.size / self._rate / (speed or 1.0)
        self._end = max(self._end, time.monotonic()) + seconds


class Receiver:
    """Receives one stream: `listen` and `play` run on a thread each.

    Parameters
    ----------
    codec : Codec
        The model.
    listening : ListeningSocket
        The socket that packets arrive at.
    key : Path or None
        The key file that opens sealed packets; None for open packets.
    buffered : int
        Chunks that wait when playback starts.
    sink : callable
        Takes the samples of each chunk, to record them.
    max_age : float
        Seconds that a packet's time may differ from this machine's clock.
    warn : callable
        Takes one line, once for each problem: the record against replays cannot be kept, or
        packets arrive that this end must refuse.

    Raises
    ------
    FcsError
        The key or the record against replays is damaged or not readable.
    """

    def __init__(
        self,
        codec: Codec,
        listening: ListeningSocket,
        key: Path | None,
        buffered: int,
        sink: Callable[[F32], None],
        max_age: float = math.inf,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._codec, self._listening, self._sink = codec, listening, sink
        self._warn, self._n_accepted = warn, 0
        halves = read_key(key) if key is not None else None
        self._guard = ReplayGuard(key, warn) if key is not None else None
        form, seconds = PacketFormat.of(codec), codec.latency
        coders = packet_coders(codec)
        self._reader = PacketReader(form, seconds, halves, self._guard, max_age, coders)
        self._gate = FloodGate()
        self.buffer = JitterBuffer(
            codec.chunk_tokens, codec.latency, target=buffered, authenticated=key is not None
        )
        self._lock = threading.Lock()
        self._concealer = Concealer(codec)
        self._silence = new(codec.chunk_tokens * codec.samples_out_per_token)
        self._hold = ClockHold(0.0)
        self._speed = 1.0
        self._received_at, self._level_at = math.nan, -math.inf
        self.refused: Counter[str] = Counter()
        """Packets that were rejected, by reason; ``flood`` counts those that were not read."""
        self.statistics = Statistics()
        self.n_bytes = 0
        """Bytes of the accepted packets, without UDP and IP headers."""
        self.limit = math.inf
        """Chunks of sound after which `play` stops, silence between streams included."""
        self._n_chunks = 0
        self._stop = StopFlag()

    @property
    def n_dropped(self) -> int:
        """Packets that the system dropped, as they came faster than this end reads them."""
        return self._listening.n_dropped

    @property
    def starts_record(self) -> bool:
        """Whether this end has a key and had no record of received streams."""
        return self._guard is not None and self._guard.fresh

    @property
    def speed(self) -> float:
        """Playback speed that follows the sender's clock, 1 for nominal."""
        return self._speed

    def stop(self) -> None:
        """Let `listen` and `play` return soon; from any thread."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def listen(self) -> None:
        """Receive packets until stopped; an exception stops `play` too."""
        saver = Worker(self._keep_record)
        try:
            while not self.stopped:
                self._receive()
        finally:
            self.stop()
            saver.join()

    def _receive(self) -> None:
        """Take what the socket has, but only a part of a flood."""
        batch = self._listening.receive()
        if not batch.count:
            return
        selected = self._gate.select(batch, self.buffer, time.monotonic())
        if batch.count > len(selected):
            self.refused["flood"] += batch.count - len(selected)
        for index in selected:
            self._accept(batch[index])

    def _keep_record(self) -> None:
        """Write the record against replays every few seconds: a slow disk must not lose packets."""
        if self._guard is None:
            return
        try:
            while not self._stop.wait(SAVE_SECONDS):
                self._guard.save()
            self._guard.save()
        finally:
            self.stop()

    def _accept(self, data: bytes) -> None:
        """Put a datagram's packet into the buffer, or count why it is rejected."""
        now = time.monotonic()
        try:
            packet = self._reader.read(data, now, self.buffer.stream)
        except PacketError as error:
            self._refuse(error.reason)
            return
        self._n_accepted += 1
        self.n_bytes += len(data)
        with self._lock:
            self.buffer.put(packet, now)
            # Only the first packet of a pause is sent at once.
            if not isinstance(packet, Silence) or packet.before == 0:
                self._received_at = now

    def _refuse(self, reason: Reason) -> None:
        """Count a packet; say once what the user can do, unless a stranger may have sent it."""
        self.refused[reason] += 1
        if self.refused[reason] > 1 or reason in STRANGE:
            return
        if not self._n_accepted or reason in ("replay", "age", "direction"):
            self._warn(TEXTS[reason])

    def play(self, output: Output, check: Callable[[], None]) -> None:
        """Write chunks to an output until stopped; `check` raises where the output is gone."""
        stream = None
        chunk = self._codec.latency
        while not self.stopped:
            check()
            if output.waiting > output.target - chunk:
                time.sleep(_POLL_SECONDS)
                continue
            self._follow(output)
            with self._lock:
                tokens = self.buffer.take(time.monotonic())
                if self.buffer.stream != stream:
                    stream = self.buffer.stream
                    self._concealer.reset()
                    self._hold.restart()
            start = time.perf_counter()
            if tokens is WAIT:
                samples = self._silence
                self._hold.restart()
            elif tokens is LOST:
                samples = self._concealer.conceal()
            else:
                samples = self._concealer.play(tokens)
                self.statistics.times.add(time.perf_counter() - start)
            self.statistics.output_meter.update(samples, chunk)
            self._sink(samples)
            output.write(samples, self._speed)
            self._n_chunks += 1
            if self._n_chunks >= self.limit:
                self.stop()

    def _follow(self, output: Output) -> None:
        """Set the speed that holds what waits, here and in the output, at its target."""
        chunk = self._codec.latency
        with self._lock:
            received_at, self._received_at = self._received_at, math.nan
            level, goal = self.buffer.level, self.buffer.goal
        if math.isnan(received_at):
            return
        # The level at the time when the packet arrived.
        since = time.monotonic() - received_at
        waiting = level * chunk + output.waiting + since - (output.target - chunk)
        self._hold.target = goal * chunk
        elapsed, self._level_at = received_at - self._level_at, received_at
        self._speed = self._hold.update(waiting, elapsed if elapsed < _LONGEST_GAP else chunk)
