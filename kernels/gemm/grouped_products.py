"""Matrix products of 8-bit weights with activations of 8 bits in groups of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32, I8, I16
from fcs_edge.kernels.gemm.epilogue import GELU, activate, start_sums
from fcs_edge.kernels.gemm.packing import BLOCK, DEPTH_MULTIPLE, GROUP
from fcs_edge.kernels.gemm.quantize_activations import quantize_rows_grouped
from fcs_edge.kernels.isa.instructions import DOTS
from fcs_edge.kernels.runtime._jit import factory, kernel

MOST_ROWS = 32
"""Rows whose quantised activations are held at once: a weight is read once for all of them."""

_GROUPS = BLOCK // GROUP
"""Groups in a block."""

_TILE = 4 * 64
"""Sums of four rows of the widest panel."""

_WIDE, _UNSIGNED, _SIGNED = -1, 0, 127
"""Numbers that 0 stands above the least activation: q in 16 bits as it is, or in 8 bits."""


def grouped_work(dot: int) -> int:
    """Return the bytes of workspace that `linear_grouped` needs for each row.

    It needs no more than those of `MOST_ROWS`.
    """
    return BLOCK * DOTS[dot].factor_bits // 8 + 8 * _GROUPS


@factory
def linear_grouped(lanes: int, vectors: int, dot: int) -> Callable[..., None]:
    """Return the kernel for panels of lanes * vectors outputs."""
    global GroupedPanel, IntegerRows, add_grouped_panel, carray, part, pointer, stack
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.grouped_microkernel import GroupedPanel
    from fcs_edge.kernels.gemm.panel_rows import add_grouped_panel
    from fcs_edge.kernels.gemm.panels import IntegerRows, part, pointer, stack

    width, which = lanes * vectors, DOTS[dot]
    wide = which.factor_bits == 16
    base = _WIDE if wide else _UNSIGNED if which.unsigned_weights else _SIGNED
    element: Any = np.int16 if wide else np.int8
    row_bytes, group_bytes = BLOCK * (2 if wide else 1), 4 * _GROUPS

    @kernel
    def linear_grouped(
        x: F32, step: int, packed: I8, sums: I16, scale: F32, bias: F32, depth: int,
        work: I8, out: F32, column: int, epilogue: int, first: int, last: int,
    ) -> None:  # fmt: skip
        """``y[m, n] = bias[n] + scale[n] sum_g r[m, g] sum_{k in g} q[m, k] w[n, k]``.

        ``r[m, g] = (max_{k in g}(x, 0) - min_{k in g}(x, 0)) / 253``, ``q[m, k] = round(x / r)``,
        x at m * step + k. y goes to column + n of out; packed, sums and scale hold w; g has
        `GROUP` inputs. The outputs are those of the panels from `first` to the one before `last`.
        work, (bytes,), is workspace: `grouped_work` of each row, or of `MOST_ROWS`.
        """
        n_first, n_last = first * width, min(last * width, bias.size)
        outputs = (bias.size + width - 1) // width * width
        padded = (depth + DEPTH_MULTIPLE - 1) // DEPTH_MULTIPLE * DEPTH_MULTIPLE
        held = min(out.shape[0], MOST_ROWS)
        q = carray(part(work, 0, element), held * BLOCK)
        row_scale = carray(part(work, held * row_bytes, np.float32), held * _GROUPS)
        scales_end = held * (row_bytes + group_bytes)
        offset = carray(part(work, scales_end, np.int32), held * _GROUPS)
        tile = carray(stack(np.float32, _TILE), _TILE)
        rows = IntegerRows(q, BLOCK, row_scale, offset, _GROUPS)
        for m in range(0, out.shape[0], MOST_ROWS):
            n_rows = min(MOST_ROWS, out.shape[0] - m)
            some_out = out[m : m + n_rows]
            start_sums(bias[n_first:n_last], epilogue, some_out, column + n_first)
            for start in range(0, padded, BLOCK):
                size, some = min(BLOCK, padded - start), min(BLOCK, depth - start)
                x0, s0, active = m * step + start, start // GROUP * outputs, n_first
                quantize_rows_grouped(
                    x[x0:], step, some, size, base, q, row_scale, offset, _GROUPS, n_rows
                )
                for n0 in range(n_first, n_last, width):
                    used, groups = min(width, bias.size - n0), (size + GROUP - 1) // GROUP
                    weight_at = pointer(packed, start * outputs + n0 * size)
                    sums_at, scale_at = pointer(sums, s0 + n0 * groups), pointer(scale, n0)
                    panel = GroupedPanel(weight_at, sums_at, scale_at, size)
                    add_grouped_panel(
                        lanes, vectors, dot, rows, panel, tile, used, some_out, column + n0
                    )
                    if epilogue == GELU and start + BLOCK >= padded:
                        active = activate(some_out, column, active, n0 + used, n_last)

    compiled: Callable[..., None] = linear_grouped
    return compiled
