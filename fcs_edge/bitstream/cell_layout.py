"""Groups of cells: how a protected ``.fcs`` file is laid out; see docs/reference/bitstream.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U16 = NDArray[np.uint16]

MAGIC = b"FCS\x1b"
MARK_BYTES = 2
"""Bytes at the start of each cell that say where it belongs."""
GROUP_HEAD_BYTES = 4
"""Count and CRC, before the data of a group."""

CODEWORD_BYTES = 255
MIN_CELL_BYTES, MAX_CELL_BYTES = 16, 255
MIN_CELLS, MAX_CELLS = 6, 128
MIN_PARITY, MAX_PARITY = 2, 127
MAX_GROUP_DATA = 12288
"""Most bytes of the file in a group: two minutes of 16-bit tokens."""
MAX_GROUP_BYTES = MAX_CELLS * MAX_CELL_BYTES

_LEAST_LEFT = 2
"""Parity bytes that remain at least after the loss of one cell: enough for one wrong byte."""
_MULTIPLIER = 0x9E37
_INVERSE = pow(_MULTIPLIER, -1, 1 << 16)


def _cell_words() -> U16:
    """Return a word of 16 bits for each place in a group: the states of a shift register."""
    words, state = [], 0x4643
    for _ in range(MAX_CELLS):
        words.append(state)
        state ^= state << 7 & 0xFFFF
        state ^= state >> 9
        state ^= state << 8 & 0xFFFF
    return np.array(words, np.uint16)


CELL_WORDS = _cell_words()


@dataclass(frozen=True)
class Layout:
    """The layout of one group.

    Attributes
    ----------
    cell_bytes : int
        Bytes of a cell, its mark included, 16..255.
    cells : int
        Cells of the group, 6..128.
    parity : int
        Parity bytes of each codeword, 2..127.
    group : int
        Number of the group, modulo 4.
    """

    cell_bytes: int
    cells: int
    parity: int
    group: int = 0

    @property
    def payload(self) -> int:
        """Bytes of a cell after its mark."""
        return self.cell_bytes - MARK_BYTES

    @property
    def size(self) -> int:
        """Bytes of the group in the file."""
        return self.cells * self.cell_bytes

    @property
    def n_bytes(self) -> int:
        """Bytes of the group without marks."""
        return self.cells * self.payload

    @property
    def codewords(self) -> int:
        """Codewords of the group: byte `i` of it belongs to codeword `i` modulo this."""
        return -(-self.n_bytes // CODEWORD_BYTES)

    @property
    def capacity(self) -> int:
        """Bytes of the protected file that the group can hold."""
        return self.n_bytes - self.codewords * self.parity - GROUP_HEAD_BYTES

    @property
    def is_valid(self) -> bool:
        """Whether a writer may choose this layout."""
        return (
            MIN_CELL_BYTES <= self.cell_bytes <= MAX_CELL_BYTES
            and MIN_CELLS <= self.cells <= MAX_CELLS
            and MIN_PARITY <= self.parity <= MAX_PARITY
            and self.capacity > 0
        )

    @property
    def mask(self) -> int:
        """The word of 16 bits that all marks of the group are combined with."""
        return (self.cells - 1 | self.parity << 7 | self.group << 14) * _MULTIPLIER & 0xFFFF

    @property
    def marks(self) -> U16:
        """The marks of the group's cells, (cells,) uint16."""
        marks: U16 = CELL_WORDS[: self.cells] ^ np.uint16(self.mask)
        return marks

    def parity_left(self, lost: int) -> int:
        """Return the parity bytes of a codeword that remain where so many cells are lost."""
        return self.parity + lost * self.payload // -self.codewords


def layout_of(cell_bytes: int, mask: int) -> Layout:
    """Return the layout that a mask of marks states; it may not be valid."""
    fields = mask * _INVERSE & 0xFFFF
    return Layout(cell_bytes, (fields & 0x7F) + 1, fields >> 7 & 0x7F, fields >> 14)


def choose_layout(n_data: int, budget: int, cell_bytes: int | None, group: int) -> Layout:
    """Return the layout of a group that a writer takes.

    It has as much parity as fits the budget. Of the sizes of cells, the one is taken that leaves
    the most parity after the loss of a tenth of the cells. A codeword can always correct a lost
    cell and one wrong byte: a short group takes more than its budget for that.

    Parameters
    ----------
    n_data : int
        Bytes of the protected file in the group, 1..12288.
    budget : int
        Bytes that the group may take.
    cell_bytes : int or None
        Bytes of a cell; None takes what suits the group best.
    group : int
        Number of the group.
    """
    while True:
        if cell_bytes is None:
            pairs = [(budget // cells, cells) for cells in range(MIN_CELLS, MAX_CELLS + 1)]
        else:
            pairs = [(cell_bytes, min(budget // cell_bytes, MAX_CELLS))]
        found = [_with_parity(size, cells, n_data, group % 4) for size, cells in pairs]
        valid = [layout for layout in found if _serves(layout, n_data)]
        if valid:
            return max(valid, key=lambda layout: (_left_of_tenth(layout), -layout.cells))
        budget += MIN_CELL_BYTES


def _with_parity(cell_bytes: int, cells: int, n_data: int, group: int) -> Layout:
    bare = Layout(cell_bytes, cells, 0, group)
    if not (cells and bare.payload > 0):
        return bare
    parity = min(MAX_PARITY, (bare.capacity - n_data) // bare.codewords)
    return Layout(cell_bytes, cells, parity, group)


def most_data(cell_bytes: int | None, share: float) -> int:
    """Return the most bytes of data that a group of a file has, for a size of cells."""
    if cell_bytes is None:
        return MAX_GROUP_DATA
    bare = Layout(cell_bytes, MAX_CELLS, 0)
    least = Layout(cell_bytes, MAX_CELLS, _LEAST_LEFT - bare.parity_left(1))
    budget = int(MAX_CELLS * cell_bytes / (1 + share))
    return min(MAX_GROUP_DATA, least.capacity, budget)


def _serves(layout: Layout, n_data: int) -> bool:
    holds = layout.is_valid and layout.capacity >= n_data
    return holds and layout.parity_left(1) >= _LEAST_LEFT


def _left_of_tenth(layout: Layout) -> int:
    return layout.parity_left(max(1, (layout.cells + 5) // 10))
