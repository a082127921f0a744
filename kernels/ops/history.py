"""Rows in and out of the buffers that carry a stream's past."""

import numpy as np

from fcs_edge.kernels._types import F32, I64
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def write(x: F32, ring: F32, slot: int) -> None:
    """``ring[(slot + m) % size] = x[m]``; x (rows, columns), rows no more than the ring's size."""
    size = ring.shape[0]
    for m in range(x.shape[0]):
        to = slot + m
        if to >= size:
            to -= size
        # Not ring[to] = x[m]: that takes seconds to compile.
        for n in range(x.shape[1]):
            ring[to, n] = x[m, n]


@kernel
def follow(x: F32, kept: int, begun: I64, buffer: F32) -> None:
    """``buffer[g, kept + m, n] = x[m, g * columns + n]``: rows after those that are kept.

    Where begun, (1,), is 0, all rows before them are x[0], and it is 1 afterwards. `buffer` is
    (groups, kept + at least rows, columns).
    """
    groups, _, columns = buffer.shape
    for g in range(groups):
        n0 = g * columns
        if begun[0] == 0:
            for m in range(kept):
                for n in range(columns):
                    buffer[g, m, n] = x[0, n0 + n]
        for m in range(x.shape[0]):
            for n in range(columns):
                buffer[g, kept + m, n] = x[m, n0 + n]
    begun[0] = 1


@kernel
def copy(x: F32, out: F32) -> None:
    """``out[m] = x[m]``, and 0 in the rows that x, (rows, columns), does not have."""
    for m in range(out.shape[0]):
        for n in range(out.shape[1]):
            out[m, n] = x[m, n] if m < x.shape[0] else np.float32(0)


@kernel
def keep_last(buffer: F32, rows: int, kept: int) -> None:
    """``buffer[:, :kept] = buffer[:, rows : rows + kept]``: the last rows become the past.

    `buffer` is (groups, kept + at least rows, columns). Copies upwards, so the two ranges
    may overlap.
    """
    for g in range(buffer.shape[0]):
        for m in range(kept):
            for n in range(buffer.shape[2]):
                buffer[g, m, n] = buffer[g, m + rows, n]
