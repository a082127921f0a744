"""Matrix products over packed weights, compiled for one set of instructions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba.np.numpy_support import carray

from fcs_edge.kernels import activations
from fcs_edge.kernels._jit import kernel
from fcs_edge.kernels._types import F32, I8
from fcs_edge.kernels.instructions import DEPTH, Instructions
from fcs_edge.kernels.packing import BLOCK, DEPTH_MULTIPLE
from fcs_edge.kernels.panels import DOTS, float_panel, integer_panel, stack

_DEPTH = 256
"""Products of floats summed in one go: sums of sums round less than one long sum."""

_ROWS = 32
"""Rows whose quantised activations are held at once: a weight is read once for all of them."""

_HELD = _ROWS * BLOCK
_WIDEST = 64
"""Outputs of the widest panel."""

Kernel = Callable[..., None]


@dataclass(frozen=True)
class Kernels:
    """The products of one set of instructions, each by the outputs of a panel, widest first."""

    floats: dict[int, Kernel]
    int8: dict[int, Kernel]
    int4: dict[int, Kernel]


@cache
def kernels(using: Instructions) -> Kernels:
    """Return the kernels for a set of instructions; each is compiled when first called."""
    lanes, wide = using.integer_lanes, using.integer_vectors
    dot = DOTS.index(using.dot)
    return Kernels(
        {n * using.lanes: linear_float(using.lanes, n) for n in (using.float_vectors, 1)},
        {n * lanes: linear_integer(lanes, n, dot, 8) for n in (wide, 1)},
        {n * lanes: linear_integer(lanes, n, dot, 4) for n in (wide, 1)},
    )


def linear_float(lanes: int, vectors: int) -> Kernel:
    """Return the kernel for panels of lanes * vectors outputs."""
    width = lanes * vectors

    @kernel
    def linear_float(x: F32, step: int, packed: Any, bias: F32, out: F32, column: int) -> None:
        """``out[m, column + n] = bias[n] + sum_k x[m * step + k] * weight[n, k]``.

        packed is ``pack_float`` of the weight, float32 or float16 in uint16. Every output is
        summed in the same order, whatever rows stand beside it: grouping rows into calls
        changes no bit.
        """
        panels, depth = packed.shape[:2]
        rows, stride = out.shape
        tile = carray(stack(np.float32, _WIDEST), _WIDEST)
        for m in range(rows):
            for n in range(bias.size):
                out[m, column + n] = bias[n]
        for p in range(panels):
            n0 = column + p * width
            used = min(width, bias.size - p * width)
            for k in range(0, depth, _DEPTH):
                some = min(_DEPTH, depth - k)
                w0 = (p * depth + k) * width
                m = 0
                while m < rows:
                    x0 = m * step + k
                    o0 = m * stride + n0
                    if used < width:
                        # Outputs past the last one have no room in `out`.
                        tile[:width] = np.float32(0)
                        float_panel(
                            1, lanes, vectors, x, x0, step, packed, w0, width, some, tile, 0, 0
                        )
                        for n in range(used):
                            out[m, n0 + n] += tile[n]
                        m += 1
                    elif rows - m >= 4:
                        float_panel(
                            4, lanes, vectors, x, x0, step, packed, w0, width, some, out, o0, stride
                        )
                        m += 4
                    else:
                        float_panel(
                            1, lanes, vectors, x, x0, step, packed, w0, width, some, out, o0, stride
                        )
                        m += 1

    return linear_float


def linear_integer(lanes: int, vectors: int, dot: int, bits: int) -> Kernel:
    """Return the kernel for panels of lanes * vectors outputs, 8-bit or 4-bit weights."""
    width = lanes * vectors
    lane_depth = DEPTH[DOTS[dot]]
    split = DOTS[dot] == "sdot"
    # Numbers that an activation takes in q, and their type.
    parts = 2 if split else 1
    pitch, held = BLOCK * parts, _HELD * parts
    element = np.int8 if split else np.int16

    @kernel
    def linear_integer(
        x: F32,
        step: int,
        packed: I8,
        scale: F32,
        bias: F32,
        depth: int,
        group: int,
        out: F32,
        column: int,
    ) -> None:
        """``out[m, column + n] = bias[n] + r[m] sum_g scale[g, n] sum_{k in g} q[m, k] w[n, k]``.

        ``r[m] = max_k |x[m * step + k]| / 2039`` and ``q[m, k] = round(x[m * step + k] / r[m])``.
        packed is ``pack_int8`` or ``pack_int4`` of w; scale is (groups, panels * width), group
        the inputs that share one: all of them, or a divisor of `BLOCK`.
        """
        rows, stride = out.shape
        outputs = scale.shape[1]
        padded = (depth + DEPTH_MULTIPLE - 1) // DEPTH_MULTIPLE * DEPTH_MULTIPLE
        q = carray(stack(element, held), held)
        tile = carray(stack(np.float32, _WIDEST), _WIDEST)
        row_scale = carray(stack(np.float32, _ROWS), _ROWS)
        inverse = carray(stack(np.float32, _ROWS), _ROWS)
        x_bits = x.view(np.int32)
        for first in range(0, rows, _ROWS):
            count = min(_ROWS, rows - first)
            for m in range(count):
                x0 = (first + m) * step
                top = activations.largest(x_bits[x0 : x0 + depth])
                row_scale[m] = activations.scale(top)
                inverse[m] = activations.inverse_scale(top)
                for n in range(bias.size):
                    out[first + m, column + n] = bias[n]
            for start in range(0, padded, BLOCK):
                size = min(BLOCK, padded - start)
                some = min(BLOCK, depth - start)
                for m in range(count):
                    x0 = (first + m) * step + start
                    row = x[x0 : x0 + some]
                    held_row = q[m * pitch : m * pitch + size * parts]
                    held_row[some // 8 * 8 * parts :] = 0
                    if split:
                        activations.quantize_split(row, inverse[m], held_row)
                    else:
                        activations.quantize(row, inverse[m], held_row)
                for n0 in range(0, outputs, width):
                    used = min(width, bias.size - n0)
                    for k in range(0, size, group):
                        steps = min(group, size - k) // lane_depth
                        w0 = ((start * outputs + n0 * size) + k * width) * bits // 8
                        s0 = (start + k) // group * outputs + n0
                        m = 0
                        while m < count:
                            q0 = m * pitch + k * parts
                            o0 = (first + m) * stride + column + n0
                            if used < width:
                                # Outputs past the last one have no room in `out`.
                                tile[:width] = np.float32(0)
                                integer_panel(
                                    1,
                                    lanes,
                                    vectors,
                                    dot,
                                    bits,
                                    q,
                                    q0,
                                    pitch,
                                    packed,
                                    w0,
                                    steps,
                                    scale,
                                    s0,
                                    row_scale,
                                    m,
                                    tile,
                                    0,
                                    0,
                                )
                                for n in range(used):
                                    out[first + m, column + n0 + n] += tile[n]
                                m += 1
                            elif count - m >= 4:
                                integer_panel(
                                    4,
                                    lanes,
                                    vectors,
                                    dot,
                                    bits,
                                    q,
                                    q0,
                                    pitch,
                                    packed,
                                    w0,
                                    steps,
                                    scale,
                                    s0,
                                    row_scale,
                                    m,
                                    out,
                                    o0,
                                    stride,
                                )
                                m += 4
                            else:
                                integer_panel(
                                    1,
                                    lanes,
                                    vectors,
                                    dot,
                                    bits,
                                    q,
                                    q0,
                                    pitch,
                                    packed,
                                    w0,
                                    steps,
                                    scale,
                                    s0,
                                    row_scale,
                                    m,
                                    out,
                                    o0,
                                    stride,
                                )
                                m += 1

    return linear_integer
