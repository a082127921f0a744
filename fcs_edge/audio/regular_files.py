"""Regular files, opened so that nothing can make the reader wait for ever."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import NamedTuple

_HASHED_AT_ONCE = 1 << 18

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FileState(NamedTuple):
    """Which file it is, and whether it is as it was."""

    device: int
    number: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """Return the state that a call of `os.stat` found."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def open_regular(path: str) -> int:
    """Return a descriptor of a regular file, or of the one that a link leads to.

    A pipe is not opened at all: its writer would take part, or the call would wait for one.

    Raises
    ------
    OSError
        It cannot be opened, or is something else.
    """
    _refuse_others(os.stat(path).st_mode)
    # What stands there may have changed by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _refuse_others(os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def other_kind(mode: int) -> str | None:
    """Return what a path leads to that is no regular file, or None: "is a named pipe, no file"."""
    if stat.S_ISREG(mode):
        return None
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "of an unknown kind")
    return f"is {kind}, no file"


def _refuse_others(mode: int) -> None:
    if kind := other_kind(mode):
        raise OSError(errno.EINVAL, kind)


def sha256_of(descriptor: int, first: int, size: int) -> str:
    """Return the SHA-256 of bytes of an open file, in hexadecimal; its position stays.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    digest, at, end = hashlib.sha256(), first, first + size
    while at < end and (data := os.pread(descriptor, min(_HASHED_AT_ONCE, end - at), at)):
        digest.update(data)
        at += len(data)
    return digest.hexdigest()
