"""The queue before the speaker, with simulated clocks that drift, stall and jitter."""

from __future__ import annotations

import numpy as np
import pytest

from fcs_edge.live.clock import MAX_CORRECTION, ClockHold
from fcs_edge.live.speaker import Playout
from fcs_edge.model.layers import F32

CHUNK = 0.08
RATE = 24000


def sine(n: int, start: int, hz: float = 440) -> F32:
    t = (start + np.arange(n)) / RATE
    return (0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


class SimulatedSpeaker:
    """A speaker whose clock is fast by ppm, and chunks that arrive up to `jitter` seconds late."""

    def __init__(self, ppm: float, jitter: float = 0, device_rate: int = 48000) -> None:
        self.playout = Playout(RATE, device_rate, 0.08, CHUNK)
        self._block = device_rate // 100
        self._rate = device_rate * (1 + ppm * 1e-6)
        self._random = np.random.default_rng(1)
        self._jitter = jitter
        self._n_chunks = self._n_blocks = 0
        self.levels: list[float] = []
        self.speeds: list[float] = []
        self.played: list[F32] = []

    def run(self, seconds: float, stall: float = 0, record: bool = False) -> None:
        size = round(CHUNK * RATE)
        for _ in range(round(seconds / CHUNK)):
            self._n_chunks += 1
            now = self._n_chunks * CHUNK + stall + self._jitter * self._random.random()
            while (self._n_blocks + 1) * self._block / self._rate <= now:
                out = np.full(self._block, np.nan, np.float32)
                self.playout.play(out)
                self._n_blocks += 1
                if record:
                    self.played.append(out)
            self.playout.write(sine(size, (self._n_chunks - 1) * size))
            self.levels.append(self.playout.waiting)
            self.speeds.append(self.playout.speed)


@pytest.mark.parametrize("ppm", [-300, -30, 0, 100, 300])
def test_the_level_is_held_for_long(ppm: float) -> None:
    speaker = SimulatedSpeaker(ppm, jitter=0.02)
    speaker.run(900)
    playout = speaker.playout
    assert (playout.n_underruns, playout.n_silent, playout.n_skipped) == (0, 0, 0)
    late = np.array(speaker.levels[-2000:])
    assert abs(late.mean() - playout.target) < 0.02
    speeds = np.array(speaker.speeds)
    # The speaker runs 1 + ppm times as fast, so the sound is stretched by 1 + ppm.
    assert abs(np.mean(speeds[-2000:]) - 1 + ppm * 1e-6) < 2e-5
    assert np.abs(speeds - 1).max() < MAX_CORRECTION / 2
    assert np.abs(np.diff(speeds)).max() < 1e-4


@pytest.mark.parametrize("device_rate", [44100, 48000, 8000])
def test_correcting_makes_no_click(device_rate: int) -> None:
    speaker = SimulatedSpeaker(250, jitter=0.03, device_rate=device_rate)
    speaker.run(30, record=True)
    played = np.concatenate(speaker.played)[device_rate:]
    step = 2 * np.pi * 440 / device_rate
    # A sine's second difference is small: the squared frequency. A jump's is large.
    assert np.abs(np.diff(played, 2)).max() < 0.5 * step**2 * 1.1
    assert speaker.playout.n_underruns == 0


def test_nothing_of_the_start_is_lost() -> None:
    playout = Playout(RATE, 48000, 0.05, CHUNK)
    playout.play(np.zeros(480, np.float32))
    playout.write(sine(1920, 0))
    assert playout.waiting == pytest.approx(playout.target, abs=1e-3)
    assert playout.n_skipped == 0


def test_an_underrun_is_counted_and_fades() -> None:
    speaker = SimulatedSpeaker(0)
    speaker.run(2, record=True)
    speaker.run(2, stall=0.5, record=True)
    playout = speaker.playout
    assert playout.n_underruns == 1
    assert 0.2 < playout.n_silent / 48000 < 0.6
    played = np.concatenate(speaker.played)
    step = 0.5 * 2 * np.pi * 440 / 48000
    # A fade within 5 ms: half the amplitude over 240 samples, and the sine's own step.
    assert np.abs(np.diff(played)).max() < 1.1 * (step + 0.5 / 240)


def test_what_comes_at_once_does_not_grow_the_delay() -> None:
    speaker = SimulatedSpeaker(0)
    speaker.run(2)
    for _ in range(12):
        speaker.playout.write(sine(1920, 0))
        assert speaker.playout.waiting < speaker.playout.target + 2 * CHUNK
    assert speaker.playout.n_skipped > 9 * CHUNK * 48000


def test_the_end_is_no_underrun() -> None:
    speaker = SimulatedSpeaker(0)
    speaker.run(2)
    speaker.playout.finish()
    while not speaker.playout.drained:
        speaker.playout.play(np.zeros(480, np.float32))
    speaker.playout.play(np.zeros(480, np.float32))
    assert speaker.playout.n_underruns == 0


def test_hold_corrects_no_level_at_its_target() -> None:
    hold = ClockHold(0.1)
    assert [hold.update(0.1, CHUNK) for _ in range(10)] == [1.0] * 10
    assert 1 < hold.update(0.2, CHUNK) < 1 + MAX_CORRECTION
    for _ in range(10_000):
        fast = hold.update(5.0, CHUNK)
    assert fast == pytest.approx(1 + MAX_CORRECTION)
    hold.restart()
    assert hold.update(0.1, CHUNK) == 1.0


def test_a_constant_offset_is_corrected_at_a_twentieth_a_second() -> None:
    hold = ClockHold(0.1)
    for _ in range(2000):
        speed = hold.update(0.12, CHUNK)
    assert speed == pytest.approx(1 + 0.02 / 20, rel=1e-6)


def test_a_level_returns_over_20_s_without_overshoot() -> None:
    """Smoothing of 5 s and correction of 20 s are critically damped: (1 + t / 10) exp(-t / 10)."""
    hold, offset, offsets = ClockHold(0.1), 0.04, []
    for _ in range(round(100 / CHUNK)):
        offsets.append(offset)
        offset -= (hold.update(0.1 + offset, CHUNK) - 1) * CHUNK
    t = CHUNK * np.arange(len(offsets))
    expected = 0.04 * (1 + t / 10) * np.exp(-t / 10)
    assert np.abs(offsets - expected).max() < 0.03 * 0.04
    assert min(offsets) > -1e-4


def test_the_stated_bounds() -> None:
    """As docs/explanation/live-timing.md states them: 0.3 %, which is 5 cents, and rings of 4 s."""
    assert MAX_CORRECTION == 0.003
    assert 1200 * np.log2(1 + MAX_CORRECTION) == pytest.approx(5, abs=0.3)
    playout = Playout(RATE, 48000, 0.08, CHUNK)
    assert playout._ring.capacity == 4 * 48000
