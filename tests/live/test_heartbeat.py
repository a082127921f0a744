"""The time since a callback was called, with a simulated clock."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fcs_edge.live import devices
from fcs_edge.live.devices import Heartbeat
from fcs_edge.live.opened import SUSPENDED_SECONDS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test moves: its `now`."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(devices, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def checked(heartbeat: Heartbeat, clock: SimpleNamespace, seconds: float) -> float:
    """Check ten times a second; return the last silence."""
    for _ in range(round(10 * seconds)):
        clock.now += 0.1
        silence = heartbeat.silence
    return silence


def test_a_callback_that_stops_is_noticed(clock: SimpleNamespace) -> None:
    heartbeat = Heartbeat()
    assert checked(heartbeat, clock, 0.5) == pytest.approx(0.5)
    heartbeat.beat()
    assert checked(heartbeat, clock, 0.9) < SUSPENDED_SECONDS
    assert checked(heartbeat, clock, 2) > SUSPENDED_SECONDS


def test_a_process_that_was_stopped_is_forgiven(clock: SimpleNamespace) -> None:
    heartbeat = Heartbeat()
    checked(heartbeat, clock, 0.5)
    clock.now += 5
    assert heartbeat.silence == 0
    assert checked(heartbeat, clock, 0.5) == pytest.approx(0.5)
