"""What several test files call."""

from __future__ import annotations

import io
import sys
from typing import Any

from fcs_edge.bitstream_reader import Event, Tokens

COMMAND = [sys.executable, "-m", "fcs_edge.cli"]
"""The command, as a process of its own."""


class Recorded(io.RawIOBase):
    """A file that keeps what each write brings, as whoever reads a pipe may meet it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.writes.append(bytes(data))
        return len(data)


def merged(events: list[Event]) -> list[Any]:
    """Events in a form that can be compared, neighbouring tokens joined."""
    out: list[Any] = []
    for event in events:
        if not isinstance(event, Tokens):
            out.append(event)
        elif out and isinstance(out[-1], list):
            out[-1] += event.tokens.tolist()
        else:
            out.append(event.tokens.tolist())
    return out
