"""The receiving end: packets to sound, as a speaker asks for it."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fcs_edge.codec import Codec
from fcs_edge.link import keys
from fcs_edge.link.conceal import Concealer
from fcs_edge.link.jitter import LOST, WAIT, JitterBuffer
from fcs_edge.link.packets import Format, PacketError, read_packet
from fcs_edge.link.sockets import ListeningSocket
from fcs_edge.live.clock import ClockHold
from fcs_edge.live.statistics import Statistics
from fcs_edge.model.layers import F32, new

_POLL_SECONDS = 0.004
_TIMER_MARGIN_SECONDS = 0.02


class Output(Protocol):
    """Where sound goes, and how much of it waits there."""

    @property
    def waiting(self) -> float:
        """Seconds of sound that wait."""

    @property
    def target(self) -> float:
        """Seconds that should wait right behind a chunk."""

    def write(self, samples: F32, speed: float | None = None) -> None:
        """Append a chunk, to be played so much faster than nominal."""


class Timer:
    """An output that nobody hears: it takes sound at the pace of the clock."""

    def __init__(self, rate: int, chunk: float) -> None:
        self.target = chunk + _TIMER_MARGIN_SECONDS
        self._rate = rate
        self._end = 0.0

    @property
    def waiting(self) -> float:
        """Seconds of sound that wait."""
        return max(0.0, self._end - time.monotonic())

    def write(self, samples: F32, speed: float | None = None) -> None:
        """Let time pass for (n,) float32."""
        seconds = samples.size / self._rate / (speed or 1.0)
        self._end = max(self._end, time.monotonic()) + seconds


class Receiver:
    """Receives one stream: a thread that listens, and one that plays.

    Parameters
    ----------
    codec : Codec
        The model.
    listening : ListeningSocket
        Where packets come from.
    key : Path or None
        The key file that packets are sealed with; open ones are taken without.
    buffered : int
        Chunks that wait when playing begins.
    sink : callable
        Takes the sound of each chunk, to record it.
    """

    def __init__(
        self,
        codec: Codec,
        listening: ListeningSocket,
        key: Path | None,
        buffered: int,
        sink: Callable[[F32], None],
    ) -> None:
        self._codec, self._listening, self._sink = codec, listening, sink
        self._form = Format.of(codec)
        self._key = keys.read_key(key) if key is not None else None
        self._seen = keys.Seen(key) if key is not None else None
        self.buffer = JitterBuffer(
            codec.chunk_tokens, codec.latency, target=buffered, authenticated=key is not None
        )
        self._lock = threading.Lock()
        self._concealer = Concealer(codec)
        self._silence = new(codec.chunk_tokens * codec.samples_out_per_token)
        self._hold = ClockHold(0.0)
        self._speed = 1.0
        self._heard_at = math.nan
        self.refused: Counter[str] = Counter()
        """Packets that were not taken, by reason."""
        self.statistics = Statistics()
        self.n_bytes = 0
        """Bytes of the packets that were taken, headers of UDP and IP not counted."""
        self._stop = threading.Event()

    @property
    def warning(self) -> str | None:
        """What is wrong with the record of what was received, where something is."""
        return self._seen.warning if self._seen is not None else None

    @property
    def speed(self) -> float:
        """How much faster than nominal the sender's clock is followed."""
        return self._speed

    def stop(self) -> None:
        """Let `listen` and `play` return soon; from any thread."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def listen(self) -> None:
        """Take packets until stopped."""
        while not self.stopped:
            data = self._listening.receive()
            if data is not None:
                self._take(data)
        if self._seen is not None:
            self._seen.save()

    def _take(self, data: bytes) -> None:
        try:
            packet = read_packet(self._form, data, self._key)
        except PacketError as error:
            self.refused[error.reason] += 1
            return
        now = time.monotonic()
        # Here and not where sound is made: it may write to a slow disk.
        if self._seen is not None and not self._seen.admit(packet.stream, packet.sequence, now):
            self.refused["replay"] += 1
            return
        self.n_bytes += len(data)
        with self._lock:
            self.buffer.put(packet, now)
            self._heard_at = now

    def play(self, output: Output, alive: Callable[[], None]) -> None:
        """Give an output its chunks until stopped; `alive` raises where it is gone."""
        stream = None
        chunk = self._codec.latency
        while not self.stopped:
            alive()
            if output.waiting > output.target - chunk:
                time.sleep(_POLL_SECONDS)
                continue
            self._follow(output)
            with self._lock:
                taken = self.buffer.take(time.monotonic())
                if self.buffer.stream != stream:
                    stream = self.buffer.stream
                    self._concealer.reset()
                    self._hold.restart()
            start = time.perf_counter()
            if taken is WAIT:
                sound = self._silence
                self._hold.restart()
            elif taken is LOST:
                sound = self._concealer.conceal()
            else:
                sound = self._concealer.play(taken)
                self.statistics.times.add(time.perf_counter() - start)
            self.statistics.played.update(sound, chunk)
            self._sink(sound)
            output.write(sound, self._speed)

    def _follow(self, output: Output) -> None:
        """Hold what waits, here and in the output, where it was when playing began."""
        chunk = self._codec.latency
        with self._lock:
            heard_at, self._heard_at = self._heard_at, math.nan
            level, goal = self.buffer.level, self.buffer.goal
        if math.isnan(heard_at):
            return
        # What would wait now had it been measured when the packet came.
        since = time.monotonic() - heard_at
        waiting = level * chunk + output.waiting + since - (output.target - chunk)
        self._hold.target = goal * chunk
        self._speed = self._hold.update(waiting, chunk)
