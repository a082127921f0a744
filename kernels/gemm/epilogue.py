"""What happens to the sums of a matrix product before and after the microkernels.

A library holds each kernel of this module once: all products call it.
"""

from __future__ import annotations

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import vecmath
from fcs_edge.kernels.runtime._jit import inline, kernel

WRITE, GELU, ADD = 0, 1, 2
"""Epilogues of a product y: ``out = y``, ``out = gelu(y)``, ``out += y``."""

ACTIVATED = 64
"""Least outputs that are activated at once, but for the last ones: two vectors and more."""


@kernel
def start_sums(bias: F32, epilogue: int, out: F32, column: int) -> None:
    """``out[m, column + n] = bias[n]``, or ``+=`` for the epilogue `ADD`."""
    for m in range(out.shape[0]):
        row = out[m, column : column + bias.size]
        if epilogue == ADD:
            for n in range(bias.size):
                row[n] += bias[n]
        else:
            for n in range(bias.size):
                row[n] = bias[n]


@kernel
def add_tile(tile: F32, width: int, used: int, out: F32) -> None:
    """``out[m, n] += tile[m * width + n]`` for n < used: `out` has no further columns."""
    for m in range(out.shape[0]):
        for n in range(used):
            out[m, n] += tile[m * width + n]


@inline
def activate(out: F32, column: int, first: int, done: int, last: int) -> int:
    """Apply `gelu` to the columns from `first` to `done` where they are enough, or the last ones.

    Return the first column that is not activated.
    """
    if done - first >= ACTIVATED or done == last:
        apply_gelu(out, column + first, done - first)
        return done
    return first


@kernel
def apply_gelu(out: F32, column: int, used: int) -> None:
    """``out[m, n] = gelu(out[m, n])`` for `used` columns, while they are in a near cache."""
    for m in range(out.shape[0]):
        vecmath.gelu_row(out[m, column : column + used])
