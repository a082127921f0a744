"""Standard input that a signal ends, as its own end would: what has arrived is not lost."""

from __future__ import annotations

import array
import fcntl
import os
import select
import signal
import stat
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fcs_edge import signals

_BYTES = 1 << 16


class Ending:
    """Whether a signal has requested the end of the input.

    Attributes
    ----------
    requested : bool
        Whether one arrived.
    of_file : bool
        Whether one arrived, and the input is a file: its reader must end by itself.
    """

    requested = False
    of_file = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """End the input at the first signal; interrupt at once at the second."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self.of_file = _is_file(0)


@contextmanager
def ending_on_signals() -> Iterator[Ending]:
    """End standard input at the first SIGINT, SIGTERM or SIGHUP while the block runs.

    A pipe ends at once, whoever waits for it: a thread passes its bytes on until then. A file never
    makes its reader wait, so its reader looks at what this yields.
    """
    ending = Ending()
    with signals.handled(ending.on_signal):
        if _is_file(0):
            yield ending
        else:
            with _passed_on():
                yield ending


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


@contextmanager
def _passed_on() -> Iterator[None]:
    """Put a pipe in place of standard input, which a thread fills until a signal arrives."""
    original = os.dup(0)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    filled, filler = os.pipe()
    os.dup2(filled, 0)
    os.close(filled)
    # Python's own handlers run between two steps of the main thread, which may wait in a library.
    before = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    thread = threading.Thread(target=_pass_on, args=(original, wake, filler), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        # Without a reader, a thread that waits to write ends with an error.
        os.dup2(original, 0)
        os.write(waker, bytes([signal.SIGTERM]))
        thread.join()
        for descriptor in (original, wake, waker):
            os.close(descriptor)


def _pass_on(source: int, wake: int, target: int) -> None:
    """Copy bytes until the source ends, a signal's number arrives, or nobody reads."""
    try:
        while True:
            ready, _, _ = select.select([source, wake], [], [])
            if wake in ready and any(n in signals.ENDING for n in os.read(wake, _BYTES)):
                # What has arrived before the signal belongs to the input.
                waiting = _unread(source)
                while waiting > 0 and (data := os.read(source, waiting)):
                    _write(target, data)
                    waiting -= len(data)
                return
            if source in ready:
                if not (data := os.read(source, _BYTES)):
                    return
                _write(target, data)
    except OSError:
        return
    finally:
        os.close(target)


def _unread(source: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(source, termios.FIONREAD, count)
    return count[0]


def _write(target: int, data: bytes) -> None:
    """Write all bytes: a signal may shorten a write."""
    while data:
        data = data[os.write(target, data) :]
