"""Finds the cells of a protected ``.fcs`` file in bytes of which some are wrong or missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.cell_layout import (
    CELL_WORDS,
    MARK_BYTES,
    MAX_CELLS,
    U16,
    Layout,
    layout_of,
)

INTACT, DOUBTFUL, MISSING = range(3)
"""States of a cell: its mark is right; wrong, but cells around it are in place; it is not there."""

I32 = NDArray[np.int32]

_TOLERATED_BITS = 2
"""Wrong bits of a mark at its place: random bytes pass in 1 of 480 cases."""
_UNFIT = 4
"""Cost of a cell whose mark does not fit, in wrong bits."""
_FEWER_BYTES, _MORE_BYTES, _PARTS_OF_CELLS = 1, 6, 3
"""Costs of bytes that are cut out or put in, and of bytes that are not whole cells."""
_LEAST_VOTES = 3
_NOISE = 8
"""Times as many votes for one layout that make another one noise."""
_MOST_SHIFTS = 48

_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16)
_ONES = _ONES.sum(axis=1, dtype=np.uint8)
"""Ones in each word."""


def _places(words: U16) -> NDArray[np.int16]:
    """Return a table from a word to its index in `words`, -1 for others."""
    table = np.full(1 << 16, -1, np.int16)
    table[words] = np.arange(words.size)
    return table


_CELL_OF = _places(CELL_WORDS)
_PAIR_OF = _places(CELL_WORDS[1:] ^ CELL_WORDS[:-1])


@dataclass(frozen=True)
class FoundGroup:
    """A group in a window of bytes.

    Attributes
    ----------
    layout : Layout
        The layout that its marks state.
    starts : (cells,) ndarray of int32
        Where each cell begins; -1 where it is missing.
    states : (cells,) ndarray of uint8
        `INTACT`, `DOUBTFUL` or `MISSING`.
    end : int
        Where the next group is expected.
    """

    layout: Layout
    starts: I32
    states: NDArray[np.uint8]
    end: int


def words_of(data: bytes | bytearray) -> U16:
    """Return the little-endian word of 16 bits at each byte."""
    octets = np.frombuffer(data, np.uint8).astype(np.uint16)
    words: U16 = octets[:-1] | octets[1:] << np.uint16(8)
    return words


def find_layout(words: U16, sizes: Iterable[int]) -> Layout | None:
    """Return the layout of the first group, by a vote of neighbouring cells; None without one.

    The marks of two neighbours differ by a word that tells their places. Their mask is then known,
    and each such pair votes for the layout that the mask states.

    Parameters
    ----------
    words : (n,) ndarray of uint16
        The word at each byte.
    sizes : iterable of int
        Sizes of cells to try.
    """
    found: list[tuple[int, int, Layout]] = []
    most = 0
    for size in sizes:
        if words.size <= size:
            continue
        cells = _PAIR_OF[words[size:] ^ words[:-size]]
        places = np.flatnonzero(cells >= 0)
        masks = words[places] ^ CELL_WORDS[cells[places]]
        values, inverse, votes = np.unique(masks, return_inverse=True, return_counts=True)
        for index in np.flatnonzero(votes >= _LEAST_VOTES):
            layout = layout_of(size, int(values[index]))
            own = places[inverse == index]
            if layout.is_valid and int(cells[own].max()) + 1 < layout.cells:
                found.append((own.size, int(np.sort(own)[_LEAST_VOTES - 1]), layout))
                most = max(most, own.size)
    firm = [item for item in found if item[0] * _NOISE >= most]
    return min(firm, key=lambda item: item[1])[2] if firm else None


def place_cells(words: U16, layout: Layout, expected: int) -> FoundGroup:
    """Return where the cells of a group are, as the cheapest explanation of the marks.

    A shift is where the group would begin if a cell is where it is. Cells in place share one; bytes
    that were cut out or put in change it. A search over cells and shifts (Viterbi, 1967) weighs
    wrong bits of marks against changes of the shift.

    Parameters
    ----------
    words : (n,) ndarray of uint16
        The word at each byte.
    layout : Layout
        The group's layout.
    expected : int
        Where it begins if nothing before it was cut out or put in.
    """
    shifts = _likely_shifts(words, layout, expected)
    starts = np.arange(layout.cells)[:, None] * layout.cell_bytes + shifts
    inside = (starts >= 0) & (starts + layout.cell_bytes <= words.size + 1)
    at = words[np.where(inside, starts, 0)] if words.size else np.zeros(starts.shape, np.uint16)
    wrong = np.where(inside, _ONES[at ^ layout.marks[:, None]], _UNFIT)
    fits = inside & (wrong <= _TOLERATED_BITS)
    costs = np.where(fits, wrong, _UNFIT).astype(np.int32)
    path = _cheapest(costs, _changes(shifts, layout), _changes(shifts, layout, expected))
    rows = np.arange(layout.cells)
    return _placed(layout, shifts[path], fits[rows, path], words.size + 1)


def _likely_shifts(words: U16, layout: Layout, expected: int) -> I32:
    """Return shifts that several marks agree on, or one that differs by whole cells."""
    cells = _CELL_OF[words ^ np.uint16(layout.mask)]
    places = np.flatnonzero((cells >= 0) & (cells < layout.cells))
    shifts = places - cells[places].astype(np.int64) * layout.cell_bytes
    values, votes = np.unique(shifts, return_counts=True)
    repeated = values[votes >= 2]
    strong = np.append(repeated, expected)
    whole = ((values[:, None] - strong) % layout.cell_bytes == 0).any(axis=1)
    near = abs(values - expected) <= MAX_CELLS * layout.cell_bytes
    ranked = np.where((votes >= 2) | (whole & near), votes, 0)
    best = np.argsort(-ranked, kind="stable")[:_MOST_SHIFTS]
    return np.unique(np.append(values[best[ranked[best] > 0]], expected)).astype(np.int32)


def _changes(shifts: I32, layout: Layout, start: int | None = None) -> I32:
    """Return the cost of each change of the shift: (from, to), or (to,) from `start`."""
    change = shifts - (shifts[:, None] if start is None else start)
    cost = np.where(change < 0, _FEWER_BYTES, _MORE_BYTES)
    cost = cost + np.where(change % layout.cell_bytes, _PARTS_OF_CELLS, 0)
    return np.where(change, cost, 0).astype(np.int32)


def _cheapest(costs: I32, changes: I32, first: I32) -> NDArray[np.intp]:
    """Return the column of each row on the path of the least cost."""
    total = costs[0] + first
    came = np.zeros(costs.shape, np.intp)
    for row in range(1, len(costs)):
        through = total[:, None] + changes
        came[row] = through.argmin(axis=0)
        total = through.min(axis=0) + costs[row]
    path = np.zeros(len(costs), np.intp)
    path[-1] = total.argmin()
    for row in range(len(costs) - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path


def _placed(layout: Layout, shifts: I32, fits: NDArray[np.bool_], n_bytes: int) -> FoundGroup:
    """Return the group of a path; a cell that does not fit is in place if both sides agree."""
    rows = np.arange(layout.cells)
    good = np.flatnonzero(fits)
    if not good.size:
        good = rows[:1]
    before = good[np.maximum(np.searchsorted(good, rows, side="right") - 1, 0)]
    after = good[np.minimum(np.searchsorted(good, rows), good.size - 1)]
    starts = shifts[before] + rows * layout.cell_bytes
    ends = np.minimum(starts + layout.cell_bytes, n_bytes)
    there = fits | (
        (shifts[before] == shifts[after]) & (starts >= 0) & (starts + MARK_BYTES < ends)
    )
    states = np.where(fits, INTACT, np.where(there, DOUBTFUL, MISSING)).astype(np.uint8)
    last = int(good[-1])
    end = int(shifts[last]) + layout.size
    return FoundGroup(layout, np.where(there, starts, -1).astype(np.int32), states, end)
