"""Standard input, output and error as the command finds them: closed, full, of any encoding."""

from __future__ import annotations

import fcntl
import io
import os
import sys
from typing import BinaryIO, TextIO

from fcs_edge.files import DiscardingFile, named


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
    if sys.stdin is None:
        # Python has no file for a descriptor that was closed at the start.
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))


def be_tolerant() -> None:
    """Discard messages that cannot be written, and name standard output in its errors.

    What an encoding does not have is written as escapes.
    """
    if sys.stderr is sys.__stderr__:
        messages = io.BufferedWriter(DiscardingFile(2, "w", closefd=False))
        sys.stderr = _text(messages, sys.stderr)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(named(1, "standard output", close=False), sys.stdout)
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())


def _text(file: BinaryIO, like: TextIO | None) -> io.TextIOWrapper:
    encoding = "utf-8" if like is None else like.encoding
    return io.TextIOWrapper(file, encoding, errors="backslashreplace", line_buffering=True)


def ignore_forced_colour() -> None:
    """Write escape codes to terminals only, whatever the environment demands of a log file."""
    os.environ.pop("FORCE_COLOR", None)
    if os.environ.get("TTY_COMPATIBLE") == "1":
        del os.environ["TTY_COMPATIBLE"]


def is_readable(descriptor: int) -> bool:
    """Return whether a descriptor is open for reading."""
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY
