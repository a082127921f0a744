"""Signals that end live sound, at any moment of each other."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from fcs_edge.live.session import stop_on_signals
from fcs_edge.live.stop_flag import StopFlag


def test_the_second_signal_interrupts() -> None:
    flag = StopFlag()
    with stop_on_signals(flag.set, "what remains"):
        os.kill(os.getpid(), signal.SIGINT)
        assert flag.is_set()
        with pytest.raises(KeyboardInterrupt, match="what remains"):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_during_the_stop_does_not_break_it() -> None:
    """SIGTERM and SIGHUP come together where a session ends."""
    done = []

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        done.append("stopped")

    with stop_on_signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
    assert done == ["stopped"]


def test_a_signal_may_come_at_any_line_of_the_stop() -> None:
    """The lock of `threading.Event` would then be held, and the handler would wait forever."""

    class InTheMiddle(StopFlag):
        def __setattr__(self, name: str, value: object) -> None:
            if value is True:
                os.kill(os.getpid(), signal.SIGINT)
            super().__setattr__(name, value)

    flag = InTheMiddle()
    with stop_on_signals(flag.set):
        flag.set()
    assert flag.is_set()


def test_waiting() -> None:
    flag = StopFlag()
    assert not flag.wait(0.01)
    thread = threading.Timer(0.02, flag.set)
    thread.start()
    start = time.monotonic()
    assert flag.wait(600)
    assert time.monotonic() - start < 300
    assert flag.wait(600)
    thread.join()
