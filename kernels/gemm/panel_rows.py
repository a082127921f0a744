"""Loops over the rows of one panel: they call the microkernels, four rows at a time or one.

Like the microkernels, this module needs Numba; factories import it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm.epilogue import add_tile
from fcs_edge.kernels.gemm.grouped_microkernel import grouped_panel
from fcs_edge.kernels.gemm.int4_microkernel import int4_panel
from fcs_edge.kernels.gemm.int8_microkernel import int8_panel
from fcs_edge.kernels.gemm.panels import IntegerRows, Rows, float_panel, pointer
from fcs_edge.kernels.gemm.quantize_activations import quantize_rows_int4, quantize_rows_int8
from fcs_edge.kernels.runtime._jit import inline


@inline
def float_rows(
    rows: int, lanes: int, vectors: int, x: Any, weight: Any, depth: int, out: Any
) -> None:
    """`float_panel` of 4 rows or of 1; lanes and vectors are constants of the caller."""
    if rows == 4:
        float_panel(4, lanes, vectors, x, weight, depth, out)
    else:
        float_panel(1, lanes, vectors, x, weight, depth, out)


@inline
def destination(
    out: F32, row: int, column: int, tile: F32, width: int, used: int, several: int
) -> Any:
    """Return the `Rows` of sums: of out, or of a cleared tile where the panel is wider than out."""
    columns = out.shape[1]
    start, pitch = pointer(out, row * columns + column), columns
    if used < width:
        tile[: several * width] = np.float32(0)
        start, pitch = pointer(tile, 0), width
    return Rows(start, pitch)


@inline
def quantize_block(
    bits: int,
    split: bool,
    x: F32,
    step: int,
    depth: int,
    size: int,
    group: int,
    rows: Any,
    inverse: F32,
    count: int,
) -> None:
    """Quantise count rows of x, depth numbers of each, to `IntegerRows` of size numbers."""
    if bits == 8:
        quantize_rows_int8(
            x, step, depth, size, split, rows.q, rows.pitch, inverse, rows.offset, count
        )
    else:
        quantize_rows_int4(
            x, step, depth, size, group, rows.q, rows.scale, rows.offset, rows.groups, count
        )


@inline
def _add_rows(
    bits: int, rows: int, lanes: int, vectors: int, dot: int, x: Any, panel: Any, out: Any
) -> None:
    """Add a panel's product with 4 rows or 1 to out; bits, lanes, vectors, dot are constants."""
    if bits == 8:
        if rows == 4:
            int8_panel(4, lanes, vectors, dot, x, panel, out)
        else:
            int8_panel(1, lanes, vectors, dot, x, panel, out)
    elif rows == 4:
        int4_panel(4, lanes, vectors, dot, x, panel, out)
    else:
        int4_panel(1, lanes, vectors, dot, x, panel, out)


@inline
def add_integer_panel(
    bits: int,
    lanes: int,
    vectors: int,
    dot: int,
    x: Any,
    panel: Any,
    tile: F32,
    used: int,
    out: F32,
    column: int,
) -> None:
    """Add a panel's product with all rows to out from column on; the first four are constants."""
    width, m = lanes * vectors, 0
    while m < out.shape[0]:
        several = 4 if out.shape[0] - m >= 4 else 1
        to = destination(out, m, column, tile, width, used, several)
        q, r = pointer(x.q, m * x.pitch), m * x.groups
        rows = IntegerRows(q, x.pitch, pointer(x.scale, r), pointer(x.offset, r), x.groups)
        _add_rows(bits, several, lanes, vectors, dot, rows, panel, to)
        if used < width:
            add_tile(tile, width, used, out[m : m + several, column:])
        m += several


@inline
def add_grouped_panel(
    lanes: int,
    vectors: int,
    dot: int,
    x: Any,
    panel: Any,
    tile: F32,
    used: int,
    out: F32,
    column: int,
) -> None:
    """Do as `add_integer_panel` with a `GroupedPanel`."""
    width, m = lanes * vectors, 0
    while m < out.shape[0]:
        several = 4 if out.shape[0] - m >= 4 else 1
        to = destination(out, m, column, tile, width, used, several)
        q, r = pointer(x.q, m * x.pitch), m * x.groups
        rows = IntegerRows(q, x.pitch, pointer(x.scale, r), pointer(x.offset, r), x.groups)
        if several == 4:
            grouped_panel(4, lanes, vectors, dot, rows, panel, to)
        else:
            grouped_panel(1, lanes, vectors, dot, rows, panel, to)
        if used < width:
            add_tile(tile, width, used, out[m : m + several, column:])
        m += several
