"""Matrix products over packed weights, compiled for one set of instructions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32, I8, U8
from fcs_edge.kernels.gemm import quantize_activations
from fcs_edge.kernels.gemm.packing import BLOCK, DEPTH_MULTIPLE
from fcs_edge.kernels.isa.instructions import DOTS, INT4_DOTS, SPLIT, Instructions
from fcs_edge.kernels.ops import vecmath
from fcs_edge.kernels.runtime._jit import factory, inline, kernel

_DEPTH = 1024
"""Products of floats summed in one go: sums of sums round less than one long sum, but reading
starts anew with each, which at 256 took 12 % of the time."""

_ROWS = 32
"""Rows whose quantised activations are held at once: a weight is read once for all of them."""

_HELD = _ROWS * BLOCK
_GROUPS = BLOCK // DEPTH_MULTIPLE
"""Most groups of 4-bit weights in a block."""

_HELD_GROUPS = _ROWS * _GROUPS
_TILE = 4 * 64
"""Sums of four rows of the widest panel."""

WRITE, GELU, ADD = 0, 1, 2
"""What is done with a product y: ``out = y``, ``out = gelu(y)``, ``out += y``."""

Kernel = Callable[..., None]


@dataclass(frozen=True)
class Kernels:
    """The products of one set of instructions, each by the outputs of a panel, widest first."""

    floats: dict[int, Kernel]
    halves: dict[int, Kernel]
    int8: dict[int, Kernel]
    int4: dict[int, Kernel]


@cache
def kernels(using: Instructions) -> Kernels:
    """Return the kernels for a set of instructions; each is compiled when first called."""
    lanes, lanes8, lanes4 = using.lanes, using.int8_lanes, using.int4_lanes
    dot8, dot4 = DOTS.index(using.int8_dot), INT4_DOTS.index(using.int4_dot)
    return Kernels(
        {n * lanes: linear_float(lanes, n, False) for n in (using.float_vectors, 1)},
        {n * lanes: linear_float(lanes, n, True) for n in (using.float_vectors, 1)},
        {n * lanes8: linear_int8(lanes8, n, dot8) for n in (using.int8_vectors, 1)},
        {n * lanes4: linear_int4(lanes4, n, dot4) for n in (using.int4_vectors, 1)},
    )


@factory
def linear_float(lanes: int, vectors: int, half: bool) -> Kernel:
    """Return the kernel for panels of lanes * vectors outputs, float16 where half is true."""
    global carray, float_panel, pointer, stack
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.panels import float_panel, pointer, stack

    width = lanes * vectors

    @kernel
    def linear_float(
        x: F32, step: int, packed: Any, bias: F32, out: F32, column: int, finish: int
    ) -> None:
        """``y[m, n] = bias[n] + sum_k x[m * step + k] * weight[n, k]``, to column + n of out.

        finish is one of `WRITE`, `GELU` and `ADD`. packed is ``pack_float`` of the weight,
        float32 or float16 in uint16. Every output is summed in the same order, whatever rows
        stand beside it: grouping rows into calls changes no bit.
        """
        panels, depth = packed.shape[:2]
        rows, columns = out.shape
        tile = carray(stack(np.float32, _TILE), _TILE)
        _start(bias, finish, out, column)
        for p in range(panels):
            n0 = p * width
            used = min(width, bias.size - n0)
            for k in range(0, depth, _DEPTH):
                some = min(_DEPTH, depth - k)
                w0 = (p * depth + k) * width
                m = 0
                while m < rows:
                    several = 4 if rows - m >= 4 else 1
                    x0 = m * step + k
                    to, stride = pointer(out, m * columns + column + n0), columns
                    if used < width:
                        tile[: several * width] = np.float32(0)
                        to, stride = pointer(tile, 0), width
                    if several == 4:
                        float_panel(
                            4, lanes, vectors,
                            x, x0, step, packed, w0, width, some, to, 0, stride,
                        )  # fmt: skip
                    else:
                        float_panel(
                            1, lanes, vectors,
                            x, x0, step, packed, w0, width, some, to, 0, stride,
                        )  # fmt: skip
                    if used < width:
                        _add(tile, width, used, out[m : m + several, column + n0 :])
                    m += several
            if finish == GELU:
                _gelu(out, column + n0, used)

    return linear_float


@factory
def linear_int8(lanes: int, vectors: int, dot: int) -> Kernel:
    """Return the kernel for panels of lanes * vectors outputs, weights of 8 bits."""
    global carray, int8_panel, pointer, stack
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.int8_microkernel import int8_panel
    from fcs_edge.kernels.gemm.panels import pointer, stack

    width = lanes * vectors
    split = DOTS[dot] in SPLIT
    # Numbers that an activation takes in q, and their type.
    parts = 2 if split else 1
    pitch, held = BLOCK * parts, _HELD * parts
    element = np.int8 if split else np.int16

    @kernel
    def linear_int8(
        x: F32,
        step: int,
        packed: I8,
        scale: F32,
        bias: F32,
        depth: int,
        out: F32,
        column: int,
        finish: int,
    ) -> None:
        """``y[m, n] = bias[n] + r[m] scale[n] sum_k q[m, k] w[n, k]``, to column + n of out.

        ``r[m] = max_k |x[m * step + k]| / 2039`` and ``q[m, k] = round(x[m * step + k] / r[m])``.
        finish is one of `WRITE`, `GELU` and `ADD`. packed is ``pack_int8`` of w; scale is
        (panels * width,).
        """
        outputs = scale.size
        padded = (depth + DEPTH_MULTIPLE - 1) // DEPTH_MULTIPLE * DEPTH_MULTIPLE
        q = carray(stack(element, held), held)
        tile = carray(stack(np.float32, _TILE), _TILE)
        row_scale = carray(stack(np.float32, _ROWS), _ROWS)
        offset = carray(stack(np.int32, _ROWS), _ROWS)
        inverse = carray(stack(np.float32, _ROWS), _ROWS)
        x_bits = x.view(np.int32)
        rows, columns = out.shape
        for first in range(0, rows, _ROWS):
            count = min(_ROWS, rows - first)
            for m in range(count):
                x0 = (first + m) * step
                top = quantize_activations.largest(x_bits[x0 : x0 + depth])
                row_scale[m] = quantize_activations.scale(top)
                inverse[m] = quantize_activations.inverse_scale(top)
            some_out = out[first : first + count]
            _start(bias, finish, some_out, column)
            for start in range(0, padded, BLOCK):
                size = min(BLOCK, padded - start)
                some = min(BLOCK, depth - start)
                for m in range(count):
                    x0 = (first + m) * step + start
                    row = x[x0 : x0 + some]
                    held_row = q[m * pitch : m * pitch + size]
                    held_row[some:] = 0
                    if split:
                        low = q[m * pitch + BLOCK : m * pitch + BLOCK + size]
                        low[some:] = 0
                        total = quantize_activations.quantize_split(row, inverse[m], held_row, low)
                        offset[m] = np.int32(-128) * total
                    else:
                        quantize_activations.quantize(row, inverse[m], held_row)
                for n0 in range(0, outputs, width):
                    used = min(width, bias.size - n0)
                    w0 = start * outputs + n0 * size
                    m = 0
                    while m < count:
                        several = 4 if count - m >= 4 else 1
                        q0, m0 = m * pitch, first + m
                        to, stride = pointer(out, m0 * columns + column + n0), columns
                        if used < width:
                            tile[: several * width] = np.float32(0)
                            to, stride = pointer(tile, 0), width
                        if several == 4:
                            int8_panel(
                                4, lanes, vectors, dot,
                                q, q0, pitch, packed, w0, size, scale, n0,
                                row_scale, offset, m, to, 0, stride,
                            )  # fmt: skip
                        else:
                            int8_panel(
                                1, lanes, vectors, dot,
                                q, q0, pitch, packed, w0, size, scale, n0,
                                row_scale, offset, m, to, 0, stride,
                            )  # fmt: skip
                        if used < width:
                            _add(tile, width, used, out[m0 : m0 + several, column + n0 :])
                        m += several
                    if finish == GELU and start + BLOCK >= padded:
                        _gelu(some_out, column + n0, used)

    return linear_int8


@factory
def linear_int4(lanes: int, vectors: int, dot: int) -> Kernel:
    """Return the kernel for panels of lanes * vectors outputs, weights of 4 bits."""
    global carray, int4_panel, pointer, stack
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.int4_microkernel import int4_panel
    from fcs_edge.kernels.gemm.panels import pointer, stack

    width = lanes * vectors

    @kernel
    def linear_int4(
        x: F32,
        step: int,
        packed: U8,
        scale: Any,
        bias: F32,
        depth: int,
        group: int,
        out: F32,
        column: int,
        finish: int,
    ) -> None:
        """``y[m, n] = bias[n] + sum_g r[m, g] s[g, n] sum_{k in g} q[m, k] w[n, k]``.

        y goes to column + n of out; finish is one of `WRITE`, `GELU` and `ADD`.
        ``r[m, g] = max_{k in g} |x[m * step + k]| / 127`` and ``q[m, k] = round(x[m * step + k] /
        r[m, g])``. packed is ``pack_int4`` of w; scale is s as ``[block, panel, group, n]``,
        float32 or float16 in uint16, in rows of width. group, the inputs that share one, is a
        multiple of `DEPTH_MULTIPLE` and a divisor of `BLOCK`.
        """
        outputs = (bias.size + width - 1) // width * width
        padded = (depth + DEPTH_MULTIPLE - 1) // DEPTH_MULTIPLE * DEPTH_MULTIPLE
        q = carray(stack(np.int8, _HELD), _HELD)
        tile = carray(stack(np.float32, _TILE), _TILE)
        row_scale = carray(stack(np.float32, _HELD_GROUPS), _HELD_GROUPS)
        offset = carray(stack(np.int32, _HELD_GROUPS), _HELD_GROUPS)
        rows, columns = out.shape
        for first in range(0, rows, _ROWS):
            count = min(_ROWS, rows - first)
            some_out = out[first : first + count]
            _start(bias, finish, some_out, column)
            for start in range(0, padded, BLOCK):
                size = min(BLOCK, padded - start)
                some = min(BLOCK, depth - start)
                for m in range(count):
                    x0 = (first + m) * step + start
                    held_row = q[m * BLOCK : m * BLOCK + size]
                    held_row[some:] = 0
                    r0 = m * _GROUPS
                    quantize_activations.quantize_groups(
                        x[x0 : x0 + some],
                        group,
                        held_row,
                        row_scale[r0 : r0 + _GROUPS],
                        offset[r0 : r0 + _GROUPS],
                    )
                for n0 in range(0, outputs, width):
                    used = min(width, bias.size - n0)
                    w0 = (start * outputs + n0 * size) // 2
                    s0 = start // group * outputs + n0 * ((size + group - 1) // group)
                    m = 0
                    while m < count:
                        several = 4 if count - m >= 4 else 1
                        q0, r0, m0 = m * BLOCK, m * _GROUPS, first + m
                        to, stride = pointer(out, m0 * columns + column + n0), columns
                        if used < width:
                            tile[: several * width] = np.float32(0)
                            to, stride = pointer(tile, 0), width
                        if several == 4:
                            int4_panel(
                                4, lanes, vectors, dot,
                                q, q0, BLOCK, row_scale, offset, r0, _GROUPS,
                                packed, w0, size, group, scale, s0, to, 0, stride,
                            )  # fmt: skip
                        else:
                            int4_panel(
                                1, lanes, vectors, dot,
                                q, q0, BLOCK, row_scale, offset, r0, _GROUPS,
                                packed, w0, size, group, scale, s0, to, 0, stride,
                            )  # fmt: skip
                        if used < width:
                            _add(tile, width, used, out[m0 : m0 + several, column + n0 :])
                        m += several
                    if finish == GELU and start + BLOCK >= padded:
                        _gelu(some_out, column + n0, used)

    return linear_int4


@inline
def _add(tile: F32, width: int, used: int, out: F32) -> None:
    """``out[m, n] += tile[m * width + n]`` for n < used: others have no place in `out`."""
    for m in range(out.shape[0]):
        for n in range(used):
            out[m, n] += tile[m * width + n]


@inline
def _start(bias: F32, finish: int, out: F32, column: int) -> None:
    """``out[m, column + n] = bias[n]``, or ``+=`` where the product is to be added."""
    for m in range(out.shape[0]):
        row = out[m, column : column + bias.size]
        if finish == ADD:
            for n in range(bias.size):
                row[n] += bias[n]
        else:
            for n in range(bias.size):
                row[n] = bias[n]


@inline
def _gelu(out: F32, column: int, used: int) -> None:
    """``out[m, n] = gelu(out[m, n])`` for `used` columns, while they are in the first cache."""
    for m in range(out.shape[0]):
        row = out[m, column : column + used]
        for n in range(row.size):
            row[n] = vecmath.gelu(row[n])
