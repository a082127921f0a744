"""Keys of the terminal, without the return key."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any


class TerminalKeys:
    """Reads single keys where standard input is a terminal."""

    def __init__(self) -> None:
        self._saved: Any = None
        self._gone = False

    def __enter__(self) -> TerminalKeys:
        """Deliver each key at once and without echo."""
        if sys.stdin.isatty():
            import termios
            import tty

            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal."""
        if self._saved is not None:
            import termios

            # A terminal that was closed meanwhile has no state.
            with suppress(termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)

    def read(self, seconds: float) -> str:
        """Wait at most `seconds` for a key; return it, or an empty string."""
        if self._saved is None or self._gone:
            time.sleep(seconds)
            return ""
        import select

        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        if not ready:
            return ""
        try:
            key = sys.stdin.read(1)
        except OSError:
            key = ""
        # No key and no wait: the terminal was closed, and its signal is ignored.
        self._gone = not key
        return key
