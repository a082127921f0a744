"""Keys of the terminal, without the return key."""

from __future__ import annotations

import sys
import time
from typing import Any


class TerminalKeys:
    """Reads single keys where standard input is a terminal."""

    def __init__(self) -> None:
        self._saved: Any = None

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

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)

    def read(self, seconds: float) -> str:
        """Wait at most `seconds` for a key; return it, or an empty string."""
        if self._saved is None:
            time.sleep(seconds)
            return ""
        import select

        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""
