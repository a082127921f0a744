"""Protected ``.fcs`` files: Reed-Solomon parity around the bytes of a file."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from fcs_edge.bitstream.cell_layout import (
    GROUP_HEAD_BYTES,
    MAGIC,
    MARK_BYTES,
    MAX_CELL_BYTES,
    MIN_CELL_BYTES,
    Layout,
    choose_layout,
    most_data,
)
from fcs_edge.bitstream.crc import crc_bytes
from fcs_edge.bitstream.protected_reader import ProtectedReader, Readable, Repairs, protected
from fcs_edge.bitstream.reed_solomon import add_parity, library

__all__ = ["ProtectedReader", "ProtectedWriter", "Readable", "Repairs", "protected"]

MIN_SHARE, MAX_SHARE = 0.05, 1.0


class ProtectedWriter:
    """Adds parity to the bytes of a ``.fcs`` file, in constant memory.

    A group of bytes is written when the bytes of two are there, and the rest when the writer is
    closed: up to 12288 bytes, so a file of that size is one group.

    Parameters
    ----------
    file : binary file
        The output. The writer flushes it, and never closes it.
    share : float
        Bytes to add for each byte of the file, 0.05..1. Marks, heads and magic count too.
    cell_bytes : int, optional
        Bytes of a cell, 16..255; by default, what suits the first group best.

    Raises
    ------
    ValueError
        If a number is out of range.
    BitstreamError
        If the library of Reed-Solomon codes is not installed.
    """

    def __init__(self, file: BinaryIO, share: float, *, cell_bytes: int | None = None) -> None:
        if not MIN_SHARE <= share <= MAX_SHARE:
            raise ValueError(f"share must be {MIN_SHARE}..{MAX_SHARE}, not {share}")
        if cell_bytes is not None and not MIN_CELL_BYTES <= cell_bytes <= MAX_CELL_BYTES:
            raise ValueError(
                f"cell_bytes must be {MIN_CELL_BYTES}..{MAX_CELL_BYTES}, not {cell_bytes}"
            )
        library()
        self._file = file
        self._share = share
        self._cell_bytes = cell_bytes
        self._group = 0
        self._closed = False
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """Append bytes of the file; return their number."""
        if self._closed:
            raise ValueError("the protected file is closed")
        self._waiting += data
        while len(self._waiting) > (most := most_data(self._cell_bytes, self._share)):
            self._write_group(most // 2)
        return len(data)

    def flush(self) -> None:
        """Flush the groups that are complete; bytes that wait for their group stay."""
        self._file.flush()

    def close(self) -> None:
        """Write the last group. A file without bytes stays empty."""
        if self._closed:
            return
        if self._waiting:
            self._write_group(len(self._waiting))
        self._file.flush()
        self._closed = True

    def _write_group(self, n_data: int) -> None:
        data = bytes(self._waiting[:n_data])
        del self._waiting[:n_data]
        magic = b"" if self._group else MAGIC
        budget = int(n_data * (1 + self._share)) - len(magic)
        layout = choose_layout(n_data, budget, self._cell_bytes, self._group)
        self._file.write(magic + _group_bytes(data, layout))
        self._cell_bytes = layout.cell_bytes
        self._group += 1


def _group_bytes(data: bytes, layout: Layout) -> bytes:
    """Return the bytes of a group: for each cell, its mark and its share of data and parity."""
    count = len(data).to_bytes(2, "little")
    head = count + crc_bytes(count + data)
    filled = (head + data).ljust(layout.capacity + GROUP_HEAD_BYTES, b"\0")
    group = add_parity(np.frombuffer(filled, np.uint8), layout).reshape(layout.cells, -1)
    cells = np.zeros((layout.cells, layout.cell_bytes), np.uint8)
    cells[:, MARK_BYTES:] = group
    cells[:, :MARK_BYTES] = layout.marks.astype("<u2").view(np.uint8).reshape(-1, 2)
    return cells.tobytes()
