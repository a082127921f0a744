"""Seeded noise beside the features of each row: the same bits on every CPU."""

import numpy as np

from fcs_edge.kernels._types import F32, I64, Scalar
from fcs_edge.kernels.runtime._jit import inline, kernel

_MASK = 0xFFFFFFFF
_SEED = 0x9E3779B9
_FIRST, _SECOND = 0x85EBCA6B - (1 << 32), 0xC2B2AE35 - (1 << 32)
"""The factors of MurmurHash3's finaliser modulo 2^32, below 0: no product leaves an int64."""
_HALF = 1 << 23
_UNIT = np.float32(2.0**-23)


@inline
def value(index: int) -> Scalar:
    """``(hash >> 8) * 2^-23 - 1``, exact, in [-1, 1); hash is that of ``index + seed``.

    All arithmetic is modulo 2^32: ``h ^= h >> 16; h *= 0x85EBCA6B; h ^= h >> 13;
    h *= 0xC2B2AE35; h ^= h >> 16``.
    """
    h = (index + _SEED) & _MASK
    h ^= h >> 16
    h = (h * _FIRST) & _MASK
    h ^= h >> 13
    h = (h * _SECOND) & _MASK
    h ^= h >> 16
    return np.float32((h >> 8) - _HALF) * _UNIT


@kernel
def append(x: F32, n_past: int, number: I64, buffer: F32) -> None:
    """``buffer[0, n_past + m] = x[m], noise of row number[0] + m``; the number grows by the rows.

    The noise of row r in column c is ``value(r * channels + c)``, channels those that x (rows,
    columns) lacks of the buffer, (1, n_past + at least rows, columns + channels). r is modulo 2^32.
    """
    rows, columns = x.shape
    channels = buffer.shape[2] - columns
    for m in range(rows):
        for n in range(columns):
            buffer[0, n_past + m, n] = x[m, n]
        first = ((number[0] + m) & _MASK) * channels
        for c in range(channels):
            buffer[0, n_past + m, columns + c] = value(first + c)
    number[0] = (number[0] + rows) & _MASK
