"""The figures of the live panel."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fcs_edge.cli.ui.panel import latencies, times_text
from fcs_edge.live.statistics import ChunkTimes, Statistics
from fcs_edge.text import counted


def test_playback_holds_both_delays() -> None:
    """The queue before the speaker, and the device."""
    statistics = Statistics()
    statistics.times.add(0.002)
    loop = SimpleNamespace(
        microphone=SimpleNamespace(latency=0.035),
        speaker=SimpleNamespace(playout=SimpleNamespace(delay=0.1), latency=0.03),
        statistics=statistics,
    )
    parts = latencies(loop, SimpleNamespace(latency=0.08))  # type: ignore[arg-type]
    expected = {"capture": 0.035, "chunk": 0.08, "compute": 0.002, "playback": 0.13}
    assert parts == pytest.approx(expected | {"total": 0.247})


def test_numbers_and_nouns_agree() -> None:
    assert counted(1, "gap of the speaker") == "1 gap of the speaker"
    assert counted(2, "gap of the speaker") == "2 gaps of the speaker"
    assert counted(0, "time") == "0 times"


def test_times_before_the_first_chunk() -> None:
    times = ChunkTimes()
    assert times_text(times) == "no chunk yet"
    times.add(0.002)
    assert times_text(times) == "p50 2.0 p99 2.0 ms"
