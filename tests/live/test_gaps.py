"""Gaps that a device does not report, with simulated devices."""

from __future__ import annotations

import numpy as np
import pytest

from fcs_edge.live.gaps import GAP_SECONDS, GapMeter

RATE, BLOCK = 48000, 480


class SimulatedDevice:
    """A device whose clock is off by ppm; each call comes up to `late` seconds late."""

    def __init__(self, ppm: float = 150, late: float = 0.03) -> None:
        self.meter = GapMeter(RATE)
        self._clock, self._late = 1 + ppm * 1e-6, late
        self._random = np.random.default_rng(1)
        self._now, self._n_frames = 1000.0, 0

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * RATE / BLOCK)):
            self._now += BLOCK / RATE * self._clock
            self._n_frames += BLOCK
            self.meter.update(self._now + self._late * self._random.random() ** 4, self._n_frames)

    def pause(self, seconds: float) -> None:
        """Stand still: the frames stay behind the clock."""
        self._now += seconds


@pytest.mark.parametrize("ppm", [-300, 0, 300])
def test_clocks_that_differ_and_late_calls_are_no_gaps(ppm: float) -> None:
    device = SimulatedDevice(ppm)
    device.run(600)
    assert device.meter.n == 0


@pytest.mark.parametrize("seconds", [0.0022, 0.0039, 0.0088, 0.2, 5.0])
def test_each_gap_is_measured(seconds: float) -> None:
    """The shortest two of a long run, and others."""
    device = SimulatedDevice()
    for _ in range(3):
        device.run(7.3)
        device.pause(seconds)
    device.run(4)
    assert device.meter.n == 3
    assert device.meter.seconds == pytest.approx(3 * seconds, abs=0.002)
    assert device.meter.longest == pytest.approx(seconds, abs=0.001)


def test_a_gap_soon_after_the_start_counts() -> None:
    """The first second sets the level; another one is ignored."""
    device = SimulatedDevice()
    device.run(3.5)
    device.pause(0.0088)
    device.run(4)
    assert device.meter.n == 1


def test_a_shorter_one_does_not_count() -> None:
    device = SimulatedDevice(ppm=0, late=0)
    device.run(5)
    device.pause(0.9 * GAP_SECONDS)
    device.run(5)
    assert device.meter.n == 0


def test_a_call_beyond_the_buffer_that_loses_nothing_is_no_gap() -> None:
    """A microphone whose system keeps the frames brings them later."""
    device = SimulatedDevice()
    device.run(5)
    before = device._now
    device.pause(0.6)
    for _ in range(60):
        device._now += 1e-4
        device._n_frames += BLOCK
        device.meter.update(device._now, device._n_frames)
    device._now = before + 0.6
    device.run(5)
    assert device.meter.n == 0


def test_what_comes_before_a_restart_does_not_count() -> None:
    device = SimulatedDevice()
    device.run(5)
    device.pause(2)
    device.meter.restart()
    device.run(5)
    assert device.meter.n == 0
