"""A request to stop that a signal handler may set."""

from __future__ import annotations

import time

_STEP_SECONDS = 0.05


class StopFlag:
    """Like `threading.Event`, without its lock.

    A signal interrupts code that may hold that lock, and its handler would wait for it forever.
    """

    def __init__(self) -> None:
        self._stopped = False

    def set(self) -> None:
        """Request the stop; from any thread or signal handler."""
        self._stopped = True

    def is_set(self) -> bool:
        """Return whether the stop was requested."""
        return self._stopped

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for the request; return whether it was made."""
        deadline = time.monotonic() + seconds
        while not self._stopped and (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(_STEP_SECONDS, remaining))
        return self._stopped
