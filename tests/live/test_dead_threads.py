"""Threads that end before their time: each one ends the command with its own error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fcs_edge.live import devices
from fcs_edge.live.devices import Device, DeviceFormat, DeviceLostError
from fcs_edge.live.microphone import Microphone
from fcs_edge.live.session import Worker, watch


class FakeStream:
    """A stream of PortAudio whose callback the test calls."""

    def __init__(self, callback: Callable[..., None], **_: object) -> None:
        self.callback, self.active, self.latency = callback, True, 0.0

    def start(self) -> None:
        """Start nothing."""


class AbortError(Exception):
    """What ends a stream."""


@pytest.fixture
def microphone(monkeypatch: pytest.MonkeyPatch) -> Microphone:
    """A microphone of two channels on a fake PortAudio."""
    fake = SimpleNamespace(
        InputStream=FakeStream, CallbackAbort=AbortError, PortAudioError=AbortError
    )
    monkeypatch.setattr(devices, "library", lambda: fake)
    monkeypatch.setattr(devices, "input_format", lambda *_: DeviceFormat(16000, 2))
    return Microphone(Device(0, "mic", "ALSA", 2, 0, 16000, True), 16000, "low")


def deliver(microphone: Microphone, samples: Any) -> None:
    status = SimpleNamespace(input_overflow=False)
    microphone._stream.callback(samples, len(samples), None, status)


def test_an_error_in_a_callback_is_what_the_worker_sees(microphone: Microphone) -> None:
    """Not that the device is gone."""
    microphone.check()
    with pytest.raises(AbortError):
        deliver(microphone, np.zeros((4, 3), np.float32))
    microphone._stream.active = False
    with pytest.raises(ValueError, match=r"shape|broadcast|output"):
        microphone.check()


def test_a_microphone_beyond_patience_is_gone(
    microphone: Microphone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has three times the patience for its first call."""
    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr(devices, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def wait(seconds: float) -> None:
        for _ in range(round(10 * seconds)):
            clock.now += 0.1
            microphone.check()

    wait(60)
    microphone.patience = 5.0
    deliver(microphone, np.zeros((4, 2), np.float32))
    wait(4.8)
    deliver(microphone, np.zeros((4, 2), np.float32))
    wait(4.8)
    with pytest.raises(DeviceLostError, match="nothing from it for 5 s"):
        wait(0.5)


@pytest.mark.parametrize("dies", [True, False])
def test_a_thread_beside_the_worker_that_dies_ends_it(dies: bool) -> None:
    stopped = threading.Event()

    def work() -> None:
        assert stopped.wait(30)

    beside = Worker(lambda: 1 / 0 if dies else stopped.wait(30))
    stop_after = time.monotonic() + (30 if dies else 0.2)
    error: type[BaseException] | None = None
    try:
        watch(
            *(Worker(work), lambda seconds: time.sleep(0.01) or "", lambda: None, stopped.set),
            deadline=stop_after,
            beside=[beside],
        )
    except ZeroDivisionError:
        error = ZeroDivisionError
    assert error is (ZeroDivisionError if dies else None)
    assert stopped.is_set()


def test_a_worker_that_dies_raises() -> None:
    worker = Worker(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        watch(worker, lambda seconds: "", lambda: None, lambda: None)
