"""Rows in and out of the buffers that carry a stream's past."""

from fcs_edge.kernels._jit import kernel
from fcs_edge.kernels._types import F32


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
def keep_last(buffer: F32, rows: int, kept: int) -> None:
    """``buffer[:, :kept] = buffer[:, rows : rows + kept]``: the last rows become the past.

    `buffer` is (groups, kept + at least rows, columns). Copies upwards, so the two ranges
    may overlap.
    """
    for g in range(buffer.shape[0]):
        for m in range(kept):
            for n in range(buffer.shape[2]):
                buffer[g, m, n] = buffer[g, m + rows, n]
