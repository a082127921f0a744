"""Reed-Solomon codewords of a group: parity by a library, checks by tables."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.cell_layout import CODEWORD_BYTES, Layout
from fcs_edge.bitstream.cell_search import DOUBTFUL, MISSING
from fcs_edge.errors import BitstreamError

U8 = NDArray[np.uint8]
_Bools = NDArray[np.bool_]

_DENSE = 0.3
"""Share of wrong bytes from which a cell counts as lost."""
_MOST_FAILURES = 16
"""Codewords in a row that fail before a pass over a group ends."""
_FIRST_FAILURES = 96
_BYTES_OF_A_FAILURE = 512


def _powers() -> tuple[U8, NDArray[np.int64]]:
    """Return powers of 2 in the field of 256 elements with polynomial 0x11D, and logarithms."""
    powers, logs = np.zeros(CODEWORD_BYTES, np.uint8), np.zeros(256, np.int64)
    value = 1
    for exponent in range(CODEWORD_BYTES):
        powers[exponent], logs[value] = value, exponent
        value = value << 1 ^ (0x11D if value & 0x80 else 0)
    return powers, logs


_POWERS, _LOGS = _powers()


def library() -> Any:
    """Return the library reedsolo.

    Raises
    ------
    BitstreamError
        It is not installed.
    """
    if not has_library():
        raise BitstreamError("protection needs the package reedsolo: pip install reedsolo")
    import reedsolo

    return reedsolo


def has_library() -> bool:
    """Return whether the library reedsolo is installed."""
    try:
        import reedsolo  # noqa: F401
    except ImportError:
        return False
    return True


def _coder(parity: int) -> Any:
    """Return the library's coder of so many bytes of parity."""
    library()
    return _new_coder(parity)


@lru_cache(maxsize=4)
def _new_coder(parity: int) -> Any:
    return library().RSCodec(parity)


def add_parity(data: U8, layout: Layout) -> U8:
    """Return the bytes of a group: its data, and the parity of each codeword.

    Parameters
    ----------
    data : (n_bytes - codewords * parity,) ndarray of uint8
        The data, from the group's first byte.
    layout : Layout
        The group's layout.
    """
    coder = _coder(layout.parity)
    step = layout.codewords
    group = np.zeros(layout.n_bytes, np.uint8)
    group[: data.size] = data
    for q in range(step):
        own = group[q::step]
        own[-layout.parity :] = list(coder.encode(own[: -layout.parity].tobytes()))[
            -layout.parity :
        ]
    return group


def wrong_codewords(group: U8, layout: Layout) -> list[int]:
    """Return the codewords whose syndromes are not all zero.

    Syndrome `j` is the sum of byte `i` of `n` times 2 to the power `j (n - 1 - i)`.
    """
    wrong = []
    for q in range(layout.codewords):
        own = group[q :: layout.codewords]
        exponents = np.arange(own.size - 1, -1, -1)
        used = np.flatnonzero(own)
        angle = np.outer(np.arange(layout.parity), exponents[used]) + _LOGS[own[used]]
        if np.bitwise_xor.reduce(_POWERS[angle % CODEWORD_BYTES], axis=1).any():
            wrong.append(q)
    return wrong


class Patience:
    """How many codewords may fail: what hostile bytes may cost grows with their number."""

    def __init__(self) -> None:
        self._left = float(_FIRST_FAILURES)

    def grow(self, n_bytes: int) -> None:
        """Add what so many bytes are worth."""
        self._left += n_bytes / _BYTES_OF_A_FAILURE

    def fail(self) -> None:
        """Count a failure."""
        self._left -= 1

    @property
    def is_over(self) -> bool:
        """Whether no more may fail."""
        return self._left < 1


def correct(group: U8, states: U8, layout: Layout, patience: Patience) -> list[int]:
    """Correct the bytes of a group in place; return the codewords that cannot be corrected.

    Cells that are missing or doubtful are erasures at first. What fails then is tried with the
    doubtful cells as bytes that may be right, and at last without the cells that held many errors.
    Without the library all bytes stay as they are.

    Parameters
    ----------
    group : (n_bytes,) ndarray of uint8
        The cells' bytes without marks.
    states : (cells,) ndarray of uint8
        `INTACT`, `DOUBTFUL` or `MISSING`.
    layout : Layout
        The group's layout.
    patience : Patience
        How many attempts may fail.
    """
    open_ones = wrong_codewords(group, layout)
    if not open_ones or patience.is_over or not has_library():
        return open_ones
    coder = _coder(layout.parity)
    cell_of = np.arange(layout.n_bytes) // layout.payload
    checked, changed = np.zeros((2, layout.cells), np.int64)
    for erased in _erasures(states, checked, changed):
        failures = 0
        for q in list(open_ones):
            own, cells = group[q :: layout.codewords], cell_of[q :: layout.codewords]
            fixed = _decode(coder, own, np.flatnonzero(erased[cells]), layout.parity)
            if fixed is None:
                failures += 1
                patience.fail()
                if patience.is_over or failures == _MOST_FAILURES:
                    break
                continue
            failures = 0
            np.add.at(checked, cells, 1)
            np.add.at(changed, cells[fixed != own], 1)
            own[:] = fixed
            open_ones.remove(q)
        if not open_ones or patience.is_over:
            break
    return open_ones


def _erasures(
    states: U8, checked: NDArray[np.int64], changed: NDArray[np.int64]
) -> Iterator[_Bools]:
    """Yield the cells to count as lost, one pass after the other."""
    yield states >= DOUBTFUL
    if (states == DOUBTFUL).any():
        yield states == MISSING
    if checked.any():
        dense = changed >= np.maximum(_DENSE * checked, 1)
        yield (states == MISSING) | (dense & (checked > 0))


def _decode(coder: Any, own: U8, erased: NDArray[np.intp], parity: int) -> U8 | None:
    """Return the corrected codeword; None where that is not possible."""
    if erased.size > parity:
        return None
    try:
        _, whole, _ = coder.decode(bytearray(own), erase_pos=erased.tolist())
    except (library().ReedSolomonError, ZeroDivisionError, IndexError):
        return None
    return np.frombuffer(bytes(whole), np.uint8)
