"""Signals that end a command."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from fcs_edge.signals import ENDING, Terminated, handled, unwound


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    """Restore what another program of this process may have set."""
    before = [(n, signal.signal(n, signal.SIG_DFL)) for n in ENDING]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_is_handled_in_the_block_only(number: int) -> None:
    found = []
    with handled(lambda n, frame: found.append(n)):
        send(number)
    assert found == [number]
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("number", ENDING)
def test_what_the_caller_ignores_stays_ignored(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)
    with handled(lambda n, frame: pytest.fail("not ignored")), unwound():
        send(number)
        assert signal.getsignal(number) == signal.SIG_IGN
    assert signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_is_unwound(number: int) -> None:
    """The other signal of a session that ends does not stop that; the same one ends at once."""
    cleaned = []

    def work() -> None:
        try:
            send(number)
            pytest.fail("no exception")
        finally:
            send(signal.SIGTERM + signal.SIGHUP - number)
            cleaned.append(signal.getsignal(number))

    with pytest.raises(Terminated) as caught, unwound():
        work()
    assert caught.value.number == number
    assert cleaned == [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_threads_leave_signals_alone() -> None:
    seen = []

    def work() -> None:
        with unwound():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


class Finalized:
    """Gets a signal where Python drops exceptions."""

    def __del__(self) -> None:
        send(signal.SIGTERM)
        time.sleep(0)


def test_a_signal_in_a_finalizer_is_not_lost() -> None:
    def work() -> None:
        item = Finalized()
        del item
        time.sleep(5)

    with pytest.raises(Terminated), unwound():
        work()
