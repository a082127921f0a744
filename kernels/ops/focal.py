"""Element-wise steps of focal modulation."""

import numpy as np

from fcs_edge.kernels._types import F32, F64
from fcs_edge.kernels.ops import vecmath
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def aggregate(convolved: F32, gates: F32, level: int, context: F32, total: F32) -> None:
    """``context = gelu(convolved); total += context * gates[:, level]``.

    convolved, context and total are (rows, width); gates (rows, levels). Level 0 starts the
    sum anew.
    """
    rows, width = convolved.shape
    for m in range(rows):
        gate = gates[m, level]
        for n in range(width):
            context[m, n] = vecmath.gelu(convolved[m, n])
        if level == 0:
            for n in range(width):
                total[m, n] = context[m, n] * gate
        else:
            for n in range(width):
                total[m, n] = vecmath.multiply_add(context[m, n], gate, total[m, n])


@kernel
def divide(x: F32, divisor: np.float32) -> None:
    """``x /= divisor``; x (rows, width)."""
    rows, width = x.shape
    for m in range(rows):
        for n in range(width):
            x[m, n] /= divisor


@kernel
def modulate(x: F32, query: F32) -> None:
    """``x *= query``; both (rows, width)."""
    rows, width = x.shape
    for m in range(rows):
        for n in range(width):
            x[m, n] *= query[m, n]


@kernel
def add_rows(x: F32, sums: F64) -> None:
    """Add ``sums += sum_m x[m]``, row by row in float64; x (rows, width), sums (width,)."""
    rows, width = x.shape
    for m in range(rows):
        for n in range(width):
            sums[n] += np.float64(x[m, n])


@kernel
def global_context(sums: F64, rows: int, out: F32) -> None:
    """``out = gelu(sums / rows)``; both (width,)."""
    for n in range(out.size):
        out[n] = vecmath.gelu(np.float32(sums[n] / rows))


@kernel
def aggregate_row(context: F32, gates: F32, level: int, total: F32) -> None:
    """``total += context * gates[:, level]``; one context (width,) for all rows of total.

    total is (rows, width); gates (rows, levels). Level 0 starts the sum anew.
    """
    rows, width = total.shape
    for m in range(rows):
        gate = gates[m, level]
        if level == 0:
            for n in range(width):
                total[m, n] = context[n] * gate
        else:
            for n in range(width):
                total[m, n] = vecmath.multiply_add(context[n], gate, total[m, n])
