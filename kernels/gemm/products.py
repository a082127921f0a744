"""Matrix products over packed weights, compiled for one set of instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm import grouped_products
from fcs_edge.kernels.gemm.epilogue import GELU, activate, add_tile, start_sums
from fcs_edge.kernels.gemm.packing import BLOCK, DEPTH_MULTIPLE
from fcs_edge.kernels.gemm.quantize_activations import row_scales
from fcs_edge.kernels.isa.instructions import DOTS, Dot, Instructions
from fcs_edge.kernels.runtime._jit import factory, kernel

_DEPTH = 1024
"""Products of floats summed in one go: sums of sums round less than one long sum.

Each sum starts reading anew; at 256 products this took 12 % of the time.
"""

MOST_ROWS = 32
"""Rows whose quantised activations are held at once: a weight is read once for all of them."""

_GROUPS = BLOCK // DEPTH_MULTIPLE
"""Most groups of 4-bit weights in a block."""

_PER_GROUP = 8
"""Bytes of a group's scale and offset."""

_TILE = 4 * 64
"""Sums of four rows of the widest panel."""

Kernel = Callable[..., None]


@dataclass(frozen=True)
class Kernels:
    """The products of one set of instructions, each by the outputs of a panel, widest first."""

    floats: dict[int, Kernel]
    halves: dict[int, Kernel]
    int8: dict[int, Kernel]
    int4: dict[int, Kernel]
    grouped: dict[int, Kernel]
    """Of int8 weights with activations of 8 bits."""


@cache
def kernels(using: Instructions) -> Kernels:
    """Return the kernels for a set of instructions; each is compiled when first called."""
    lanes, lanes8, lanes4 = using.lanes, using.int8_lanes, using.int4_lanes
    dot8, dot4 = using.int8_dot.number, using.int4_dot.number
    widths = using.float_vectors, 1
    return Kernels(
        {n * lanes: linear_float(lanes, n, False) for n in widths},
        {n * lanes: linear_float(lanes, n, True) for n in widths} if using.half else {},
        {n * lanes8: linear_integer(8, lanes8, n, dot8) for n in using.int8_panels},
        {n * lanes4: linear_integer(4, lanes4, n, dot4) for n in using.int4_panels},
        {a * n: grouped_products.linear_grouped(a, n, dot.number) for a, n, dot in grouped(using)},
    )


def grouped(using: Instructions) -> Iterator[tuple[int, int, Dot]]:
    """Return lanes, vectors and dot of the panels of `Kernels.grouped`, widest first."""
    lanes, vectors, dot = using.grouped
    return ((lanes, n, dot) for n in (vectors, 1))


@factory
def linear_float(lanes: int, vectors: int, half: bool) -> Kernel:
    """Return the kernel for panels of lanes * vectors outputs, float16 where half is true."""
    global Rows, carray, destination, float_rows, pointer, stack
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.panel_rows import destination, float_rows
    from fcs_edge.kernels.gemm.panels import Rows, pointer, stack

    width = lanes * vectors

    @kernel
    def linear_float(
        x: F32,
        step: int,
        packed: Any,
        bias: F32,
        out: F32,
        column: int,
        epilogue: int,
        first: int,
        last: int,
    ) -> None:
        """``y[m, n] = bias[n] + sum_k x[m * step + k] * weight[n, k]``, to column + n of out.

        epilogue is `WRITE`, `GELU` or `ADD`. packed is ``pack_float`` of the weight, float32 or
        float16 in uint16. Every output is summed in the same order, whatever rows stand beside
        it: the grouping of rows into calls changes no bit. The outputs are those of the panels
        from `first` to the one before `last`.
        """
        depth = packed.shape[1]
        rows = out.shape[0]
        tile = carray(stack(np.float32, _TILE), _TILE)
        start_sums(bias[first * width : last * width], epilogue, out, column + first * width)
        active, end = first * width, min(last * width, bias.size)
        for p in range(first, last):
            n0 = p * width
            used = min(width, bias.size - n0)
            for k in range(0, depth, _DEPTH):
                some = min(_DEPTH, depth - k)
                w0 = (p * depth + k) * width
                m = 0
                while m < rows:
                    several = 4 if rows - m >= 4 else 1
                    to = destination(out, m, column + n0, tile, width, used, several)
                    inputs = Rows(pointer(x, m * step + k), step)
                    panel = Rows(pointer(packed, w0), width)
                    float_rows(several, lanes, vectors, inputs, panel, some, to)
                    if used < width:
                        add_tile(tile, width, used, out[m : m + several, column + n0 :])
                    m += several
            if epilogue == GELU:
                active = activate(out, column, active, n0 + used, end)

    return linear_float


@factory
def linear_integer(bits: int, lanes: int, vectors: int, dot: int) -> Kernel:
    """Return the kernel for panels of lanes * vectors outputs, weights of 8 or 4 bits."""
    pitch, element = _activations(bits, dot)
    split = bits == 8 and DOTS[dot].split
    return _integer_kernel(bits, lanes, vectors, dot, split, pitch, element)


def _activations(bits: int, dot: int) -> tuple[int, Any]:
    """Return the numbers that a row of quantised activations takes in a block, and their type."""
    split = bits == 8 and DOTS[dot].split
    return BLOCK * (2 if split else 1), np.int8 if bits == 4 or split else np.int16


def integer_work(bits: int, dot: int) -> int:
    """Return the bytes of workspace that `linear_integer` needs for each row.

    It needs no more than those of `MOST_ROWS`.
    """
    pitch, element = _activations(bits, dot)
    row: int = pitch * np.dtype(element).itemsize
    return row + _PER_GROUP * (_GROUPS if bits == 4 else 1)


def _integer_kernel(
    bits: int, lanes: int, vectors: int, dot: int, split: bool, pitch: int, element: Any
) -> Kernel:
    """Return the kernel whose q is of a type, with so many numbers from row to row."""
    global IntegerPanel, IntegerRows, add_integer_panel, carray, part, pointer, quantize_block
    global stack
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.panel_rows import add_integer_panel, quantize_block
    from fcs_edge.kernels.gemm.panels import IntegerPanel, IntegerRows, part, pointer, stack

    width, per_byte, groups = lanes * vectors, 8 // bits, _GROUPS if bits == 4 else 1
    row_bytes, group_bytes = pitch * np.dtype(element).itemsize, 4 * groups

    @kernel
    def linear_integer(
        x: F32, step: int, packed: Any, scale: Any, bias: F32, depth: int, group: int,
        work: Any, out: F32, column: int, epilogue: int, first: int, last: int,
    ) -> None:  # fmt: skip
        """``y[m, n] = bias[n] + sum_g r[m, g] s[g, n] sum_{k in g} q[m, k] w[n, k]``.

        ``r[m, g] = max_{k in g} |x[m * step + k]| / top``, ``q[m, k] = round(x[m * step + k] /
        r[m, g])``. y goes to column + n of out; packed and scale hold w and s; g has group inputs.
        8 bits: top is 2039, group the padded depth. 4 bits: top is 127, group divides `BLOCK`.
        work, (bytes,) int8, is workspace: `integer_work` of each row, or of `MOST_ROWS`.
        The outputs are those of the panels from `first` to the one before `last`.
        """
        n_first, n_last = first * width, min(last * width, bias.size)
        outputs = (bias.size + width - 1) // width * width
        padded = (depth + DEPTH_MULTIPLE - 1) // DEPTH_MULTIPLE * DEPTH_MULTIPLE
        held = min(out.shape[0], MOST_ROWS)
        q = carray(part(work, 0, element), held * pitch)
        row_scale = carray(part(work, held * row_bytes, np.float32), held * groups)
        scales_end = held * (row_bytes + group_bytes)
        offset = carray(part(work, scales_end, np.int32), held * groups)
        tile = carray(stack(np.float32, _TILE), _TILE)
        inverse = carray(stack(np.float32, MOST_ROWS), MOST_ROWS)
        rows = IntegerRows(q, pitch, row_scale, offset, groups)
        for m in range(0, out.shape[0], MOST_ROWS):
            n_rows = min(MOST_ROWS, out.shape[0] - m)
            some_out = out[m : m + n_rows]
            if bits == 8:
                row_scales(x[m * step :], step, depth, row_scale, inverse, n_rows)
            start_sums(bias[n_first:n_last], epilogue, some_out, column + n_first)
            for start in range(0, padded, BLOCK):
                size, some = min(BLOCK, padded - start), min(BLOCK, depth - start)
                x0, s0, scales = m * step + start, start // group * outputs, -(-size // group)
                active = n_first
                quantize_block(bits, split, x[x0:], step, some, size, group, rows, inverse, n_rows)
                for n0 in range(n_first, n_last, width):
                    used, w0 = min(width, bias.size - n0), start * outputs + n0 * size
                    scale_at = pointer(scale, s0 + n0 * scales)
                    panel = IntegerPanel(pointer(packed, w0 // per_byte), scale_at, size, group)
                    add_integer_panel(
                        bits, lanes, vectors, dot, rows, panel, tile, used, some_out, column + n0
                    )
                    if epilogue == GELU and start + BLOCK >= padded:
                        active = activate(some_out, column, active, n0 + used, n_last)

    return linear_integer
