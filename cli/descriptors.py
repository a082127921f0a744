"""Standard input, output and error as the command finds them: closed, full, of any encoding."""

from __future__ import annotations

import fcntl
import io
import os
import sys
from typing import Any


def open_closed() -> None:
    """Give each closed standard descriptor a place, so that no file that is opened later gets it.

    Input fails where it is read, and output where it is written. Messages are discarded.
    """
    for descriptor, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, flags)
    # Where a descriptor was closed at the start, Python has no file for it.
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))


def be_tolerant() -> None:
    """Discard messages that cannot be written; write as escapes what an encoding does not have."""
    if sys.stderr is sys.__stderr__:
        encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Discarding(2, "w", closefd=False)),
            encoding,
            errors="backslashreplace",
            line_buffering=True,
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def is_readable(descriptor: int) -> bool:
    """Return whether a descriptor is open for reading."""
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


class _Discarding(io.FileIO):
    """A file that takes what it cannot write."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)
