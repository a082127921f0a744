"""The receiver's clock control, with the clocks of sender and speaker simulated."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fcs_edge import Codec
from fcs_edge.link import receiver as receiver_module
from fcs_edge.link.packets import Packet, PacketFormat, write_packet
from fcs_edge.link.receiver import Receiver
from fcs_edge.model.layers import F32

TARGET_CHUNKS = 3
MARGIN = 0.08


class Link:
    """A sender whose clock is slow by ppm, a receiver, and a speaker; time passes in `sleep`."""

    def __init__(self, codec: Codec, ppm: float, chunks: int, redundant: bool) -> None:
        self.now = 0.0
        self.chunk = codec.latency
        self.target = self.chunk + MARGIN
        self.levels: list[float] = []
        self.speeds: list[float] = []
        self._rate = codec.sample_rate_out
        self._form = PacketFormat.of(codec)
        self._chunks, self._redundant = chunks, redundant
        self._interval = chunks * self.chunk * (1 + 1e-6 * ppm)
        self._random = np.random.default_rng(1)
        self._sent = 0
        self._end = 0.0
        self._arrival = self._next_arrival()
        self.receiver = Receiver(codec, None, None, TARGET_CHUNKS, lambda samples: None)
        silence = np.zeros(codec.chunk_tokens * codec.samples_out_per_token, np.float32)
        self.receiver._concealer = SimpleNamespace(
            play=lambda tokens: silence, conceal=lambda: silence, reset=lambda: None
        )

    def _next_arrival(self) -> float:
        return self._sent * self._interval + 0.01 * self._random.random()

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        """Let time pass, in which packets arrive."""
        end = self.now + seconds
        while self._arrival <= end:
            self.now = self._arrival
            self.receiver._accept(write_packet(self._form, self._packet()))
            self.levels.append(self.receiver.buffer.level * self.chunk + self.waiting - MARGIN)
            self.speeds.append(self.receiver.speed)
            self._sent += 1
            self._arrival = self._next_arrival()
        self.now = end

    def _packet(self) -> Packet:
        """Return the next packet; it may carry the one before."""
        before = self._chunks * (self._sent > 0) if self._redundant else None
        n = ((before or 0) + self._chunks) * self._form.chunk_tokens
        tokens = np.zeros(n, np.uint16)
        return Packet(1, self._sent * self._chunks, tokens, self._sent == 0, before)

    @property
    def waiting(self) -> float:
        return max(0.0, self._end - self.now)

    def write(self, samples: F32, speed: float | None = None) -> None:
        self._end = max(self._end, self.now) + samples.size / self._rate / (speed or 1.0)

    def run(self, seconds: float) -> None:
        def check() -> None:
            if self.now >= seconds:
                self.receiver.stop()

        self.receiver.play(self, check)


@pytest.mark.parametrize(
    ("ppm", "chunks", "redundant"),
    [(-300, 1, False), (300, 1, False), (300, 12, False), (-300, 3, True)],
)
def test_the_delay_is_held_over_15_minutes(
    ppm: float, chunks: int, redundant: bool, tiny: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link(tiny, ppm, chunks, redundant)
    monkeypatch.setattr(receiver_module, "time", link)
    link.run(900)
    counts = link.receiver.buffer.counts
    goal = TARGET_CHUNKS - 1 + chunks * (1 + redundant)
    assert counts.played > 0.999 * 900 / link.chunk - goal - chunks
    assert (counts.lost, counts.late, counts.skipped, counts.starved) == (0, 0, 0, 0)
    late = slice(-round(300 / link.chunk / chunks), None)
    # The level just after a packet: the buffer, and what exceeds the speaker's target.
    assert np.mean(link.levels[late]) == pytest.approx(goal * link.chunk, abs=0.02)
    assert np.mean(link.speeds[late]) == pytest.approx(1 - 1e-6 * ppm, abs=3e-5)
    # After the first minute the speed follows the clock without swings.
    settled = slice(round(60 / link.chunk / chunks), None)
    assert np.abs(np.array(link.speeds[settled]) - 1).max() < 7e-4
