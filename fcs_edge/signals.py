"""Signals that end a command. One that the caller ignores, as nohup does, stays ignored."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a request to end, and the end of the terminal or connection."""

_LATER_SECONDS = 0.01
"""After this time a signal that could not be acted on comes again."""

Handler = Callable[[int, FrameType | None], None]


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived: the command ends, and removes what is not complete.

    Attributes
    ----------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def handled(handler: Handler, numbers: Sequence[int] = ENDING) -> Iterator[None]:
    """Call `handler` on signals while the block runs, but for those that the caller ignores.

    Parameters
    ----------
    handler : callable
        Takes the signal's number and the frame that it interrupts.
    numbers : sequence of int
        The signals. In a thread other than the main one, none is handled.
    """
    before = []
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            current = signal.getsignal(number)
            # None is a handler that is not Python's: it could not be restored.
            if current not in (signal.SIG_IGN, None):
                before.append((number, current))
                signal.signal(number, handler)
    try:
        yield
    finally:
        for number, current in before:
            signal.signal(number, current)


@contextmanager
def unwound() -> Iterator[None]:
    """Raise `Terminated` on the first SIGTERM or SIGHUP in the block; a second one ends at once."""
    numbers = (signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        if _is_finalizer(frame):
            again = threading.Timer(_LATER_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        # Both come together when a session ends: the other one must not stop the cleaning up.
        for other in numbers:
            signal.signal(other, signal.SIG_DFL if other == number else signal.SIG_IGN)
        raise Terminated(number)

    with handled(stop, numbers):
        yield


def _is_finalizer(frame: FrameType | None) -> bool:
    """Return whether a signal interrupts a ``__del__``: Python drops what is raised there."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def end_by(number: int) -> None:
    """End this process by a signal, so that its parent sees which one: a shell shows 128 + n."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
