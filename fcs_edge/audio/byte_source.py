"""Bytes of a file or a pipe, in order."""

from __future__ import annotations

import io
import os
import select
from typing import Any, BinaryIO

_SKIP_BYTES = 1 << 16
_AHEAD_BYTES = 1 << 16


class ByteSource:
    """Bytes that are read once and in order; a file can be read again from any place.

    Parameters
    ----------
    file : binary file
        The bytes, from the current position.
    size : int or None
        The bytes in all, of a file that can seek. None for a pipe.
    """

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        self._file, self.size = file, size
        self._start = file.tell() if size is not None else 0
        self._ahead = b""
        self.position = 0

    def peek(self, n: int) -> bytes:
        """Return the next bytes without reading them: `n`, or fewer at the end."""
        if len(self._ahead) < n:
            self._ahead += self._file.read(n - len(self._ahead))
        return self._ahead[:n]

    def read(self, n: int) -> bytes:
        """Return the next `n` bytes, or fewer at the end."""
        data = self.peek(n)
        self._ahead = self._ahead[n:]
        self.position += len(data)
        return data

    def read_some(self, n: int) -> bytes:
        """Return the bytes that have arrived, at most `n`; wait for one. Empty at the end."""
        if self._ahead:
            return self.read(min(n, len(self._ahead)))
        data: bytes = getattr(self._file, "read1", self._file.read)(n)
        self.position += len(data)
        return data

    def is_ready(self) -> bool:
        """Return whether a pipe's bytes, or its end, have arrived."""
        try:
            return bool(self._ahead or select.select([self._file], [], [], 0)[0])
        except (OSError, ValueError):
            return False

    def skip(self, n: int) -> bool:
        """Move ahead; return whether there were so many bytes."""
        if self.size is not None:
            if self.position + n > self.size:
                return False
            self.seek(self.position + n)
            return True
        while n > 0:
            data = self.read(min(n, _SKIP_BYTES))
            if not data:
                return False
            n -= len(data)
        return True

    def seek(self, position: int) -> None:
        """Move to a position of a file, counted from where the source began."""
        self._ahead = b""
        self._file.seek(self._start + position)
        self.position = position


class FileBytes:
    """The bytes of a file, read where they are needed, without a copy of the whole.

    A mapped file that becomes shorter ends the process; here its bytes are then missing.

    Parameters
    ----------
    descriptor : int
        The open file. Its position stays.
    first : int
        The position in the file that is 0 here.
    size : int, optional
        How many bytes there are. Absent: those up to the file's end.
    """

    def __init__(self, descriptor: int, first: int = 0, size: int | None = None) -> None:
        self._descriptor, self._first = descriptor, first
        self._size = os.fstat(descriptor).st_size - first if size is None else size
        self._start, self._data = 0, b""

    def __len__(self) -> int:
        """Return the size that the file had at first."""
        return self._size

    def __getitem__(self, place: slice) -> bytes:
        """Return the bytes of a slice from one position to another; fewer after the end."""
        start, end, _ = place.indices(self._size)
        if not self._start <= start <= end <= self._start + len(self._data):
            n = min(max(end - start, _AHEAD_BYTES), self._size - start)
            data = os.pread(self._descriptor, n, self._first + start)
            self._start, self._data = start, data
        return self._data[start - self._start : end - self._start]


class FilePart(io.RawIOBase):
    """A part of an open regular file, as a file that has its own position.

    Nothing is raised for a decoder that calls it from C: `fault` holds what went wrong.

    Parameters
    ----------
    descriptor : int
        The open file. Its position stays.
    first, size : int
        Where the part begins, and its bytes. What the file does not hold is missing.
    """

    def __init__(self, descriptor: int, first: int, size: int) -> None:
        self._descriptor, self._first = descriptor, first
        self._at = 0
        there = os.fstat(descriptor).st_size - first
        self.size = max(min(size, there), 0)
        self.fault: BaseException | None = None
        self.ending: Any = None
        """What a reader of sound found out about the end: it reads all bytes for that."""

    def bytes(self) -> FileBytes:
        """Return the bytes of the part, read where they are needed."""
        return FileBytes(self._descriptor, self._first, self.size)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; stay where that is before the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset >= 0:
            self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; return the number of bytes, less at the end alone."""
        n, room = 0, min(len(buffer), self.size - self._at)
        try:
            while n < room:
                data = os.pread(self._descriptor, room - n, self._first + self._at)
                if not data:
                    break
                buffer[n : n + len(data)] = data
                n += len(data)
                self._at += len(data)
        except BaseException as error:
            self.fault = error
        return n
