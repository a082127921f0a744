"""Residual connections."""

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def add(x: F32, y: F32) -> None:
    """``x += y``; both (rows, columns)."""
    rows, columns = x.shape
    for m in range(rows):
        for n in range(columns):
            x[m, n] += y[m, n]


@kernel
def add_scaled(x: F32, y: F32, gamma: F32) -> None:
    """``x += gamma * y``; x and y (rows, columns), gamma (columns,)."""
    rows, columns = x.shape
    for m in range(rows):
        for n in range(columns):
            x[m, n] = multiply_add(gamma[n], y[m, n], x[m, n])
