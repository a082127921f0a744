"""The figures of the live panel."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fcs_edge.cli.ui.panel import latencies
from fcs_edge.live.statistics import Statistics


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
