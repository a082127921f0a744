"""The end of sound with a duration whose device falls silent, without a device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fcs_edge.live.session import SILENT_SECONDS, SilenceGuard
from fcs_edge.live.statistics import Statistics


class FakeLoop:
    """What can be stopped."""

    def __init__(self) -> None:
        self.statistics, self.stopped = Statistics(), False

    def stop(self) -> None:
        """Stop."""
        self.stopped = True


def device(kind: str, silence: float) -> Any:
    name = {"input": "microphone", "output": "speaker"}[kind]
    facts = SimpleNamespace(name="USB")
    return SimpleNamespace(kind=kind, name=name, device=facts, silence=silence)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("input", "microphone USB: no sound arrived for 10 s"),
        ("output", "speaker USB: it played nothing for 10 s"),
    ],
)
def test_a_silent_device_ends_a_duration(kind: str, text: str) -> None:
    loop = FakeLoop()
    opened: Any = None
    guard = SilenceGuard(loop, lambda: opened, enabled=True)
    guard.check()
    opened = device(kind, SILENT_SECONDS - 0.1)
    guard.check()
    assert not loop.stopped
    opened.silence = SILENT_SECONDS + 0.1
    guard.check()
    assert loop.stopped
    assert text in guard.warning
    assert "--duration" in guard.warning
    assert "--reconnect" in guard.warning


def test_without_a_duration_a_silent_device_is_waited_for() -> None:
    loop = FakeLoop()
    guard = SilenceGuard(loop, lambda: device("output", 60), enabled=False)
    guard.check()
    assert not loop.stopped
    assert not guard.warning


def test_a_device_that_falls_silent_after_the_end_changes_nothing() -> None:
    loop = FakeLoop()
    loop.stop()
    guard = SilenceGuard(loop, lambda: device("output", 60), enabled=True)
    guard.check()
    assert not guard.warning
