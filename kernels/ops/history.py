"""Rows of the past that a stream keeps: rings, and buffers in front of new rows."""

import numpy as np

from fcs_edge.kernels._types import F32, I64, Scalar
from fcs_edge.kernels.runtime._jit import inline, kernel


@inline
def wrap(slot: int, size: int) -> int:
    """``slot % size`` for 0 <= slot < 2 size: the one rule by which a ring of rows wraps."""
    return slot - size if slot >= size else slot


@inline
def advance(cursor: I64, rows: int, size: int) -> Scalar:
    """``cursor[0] = (cursor[0] + rows) % size``, rows <= size; return the slot before."""
    slot = cursor[0]
    cursor[0] = wrap(slot + rows, size)
    return slot


@kernel
def write(x: F32, ring: F32, slot: int) -> None:
    """``ring[(slot + m) % size] = x[m]``; x (rows, columns), rows no more than the ring's size."""
    size = ring.shape[0]
    for m in range(x.shape[0]):
        to = wrap(slot + m, size)
        # Not ring[to] = x[m]: that takes seconds to compile.
        for n in range(x.shape[1]):
            ring[to, n] = x[m, n]


@kernel
def append(x: F32, n_past: int, primed: I64, buffer: F32) -> None:
    """``buffer[g, n_past + m, n] = x[m, g * columns + n]``: new rows after those of the past.

    Where primed, (1,), is 0, all rows of the past become x[0], and primed becomes 1. `buffer` is
    (groups, n_past + at least rows, columns).
    """
    groups, _, columns = buffer.shape
    for g in range(groups):
        n0 = g * columns
        if primed[0] == 0:
            for m in range(n_past):
                for n in range(columns):
                    buffer[g, m, n] = x[0, n0 + n]
        for m in range(x.shape[0]):
            for n in range(columns):
                buffer[g, n_past + m, n] = x[m, n0 + n]
    primed[0] = 1


@kernel
def duplicate(cursor: I64, out: I64) -> None:
    """``out = cursor``; both have the same size."""
    for i in range(cursor.size):
        out[i] = cursor[i]


@kernel
def copy(x: F32, out: F32) -> None:
    """``out[m] = x[m]``, and 0 in the rows that x, (rows, columns), does not have."""
    for m in range(out.shape[0]):
        for n in range(out.shape[1]):
            out[m, n] = x[m, n] if m < x.shape[0] else np.float32(0)


@kernel
def keep_last(buffer: F32, rows: int, n_past: int) -> None:
    """``buffer[:, :n_past] = buffer[:, rows : rows + n_past]``: the last rows become the past.

    `buffer` is (groups, n_past + at least rows, columns). Copies upwards: the two ranges may
    overlap.
    """
    for g in range(buffer.shape[0]):
        for m in range(n_past):
            for n in range(buffer.shape[2]):
                buffer[g, m, n] = buffer[g, m + rows, n]
