"""Meters and chunk times."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fcs_edge.live.statistics import ChunkTimes, Meter


def test_a_meter_rises_at_once_and_falls_by_20_db_a_second() -> None:
    meter = Meter()
    assert meter.peak_db == -math.inf
    meter.update(np.array([0.0, -1.0], np.float32), 0.08)
    assert meter.peak_db == 0
    for _ in range(25):
        meter.update(np.zeros(8, np.float32), 0.02)
    assert meter.peak_db == pytest.approx(-10)
    meter.update(np.full(8, 0.5, np.float32), 0.02)
    assert meter.peak_db == pytest.approx(20 * math.log10(0.5))


def test_chunk_times_hold_the_last_thousand() -> None:
    times = ChunkTimes()
    assert math.isnan(times.percentile_ms(50))
    for i in range(2500):
        times.add(1e-3 * i)
    assert times.percentile_ms(0) == 1500
    assert times.percentile_ms(100) == times.longest_ms == 2499
